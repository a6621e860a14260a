"""Accounts, and whose everything is: what there was belongs to the first one."""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from advanced_alchemy.types import GUID, DateTimeUTC
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DEFAULT_PROJECT = UUID("00000000-0000-7000-8000-000000000001")
FIRST_ACCOUNT = UUID("00000000-0000-7000-8000-000000000002")
OWNED = ("project", "agent", "team", "api_token")


def upgrade() -> None:
    account = op.create_table(
        "account",
        *own(),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        sa.Column("password", sa.String(200), nullable=False),
        sa.Column("issuer", sa.String(300)),
        sa.Column("subject", sa.String(300)),
        sa.Column("home_id", GUID(), nullable=False),
        sa.Column("closed_at", DateTimeUTC(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_account"),
        sa.UniqueConstraint("name", name="uq_account_name"),
        sa.UniqueConstraint("issuer", "subject", name="uq_account_issuer"),
    )
    at = datetime.now(UTC)
    first = {"id": FIRST_ACCOUNT, "name": "", "role": "admin", "password": "", "home_id": DEFAULT_PROJECT}
    op.bulk_insert(account, [first | {"created_at": at, "updated_at": at}])
    op.create_table(
        "sign_in",
        *own(),
        of_account("owner_id"),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("agent", sa.String(300), nullable=False),
        sa.Column("address", sa.String(60), nullable=False),
        sa.Column("seen_at", DateTimeUTC(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sign_in"),
    )
    op.create_index("ix_sign_in_owner_id", "sign_in", ["owner_id"])
    op.create_index("ix_sign_in_hash", "sign_in", ["hash"], unique=True)
    op.create_table(
        "invitation",
        *own(),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("role", sa.String(10), nullable=False),
        of_account("account_id", nullable=True),
        sa.Column("expires_at", DateTimeUTC(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_invitation"),
    )
    op.create_index("ix_invitation_hash", "invitation", ["hash"], unique=True)
    op.create_table(
        "membership",
        *own(),
        sa.Column("project_id", GUID(), sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
        of_account("account_id"),
        sa.Column("may_write", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_membership"),
        sa.UniqueConstraint("project_id", "account_id", name="uq_membership_project_id"),
    )
    op.create_index("ix_membership_account_id", "membership", ["account_id"])
    op.create_table(
        "audit_entry",
        *own(),
        sa.Column("action", sa.String(40), nullable=False),
        sa.Column("who", sa.String(60), nullable=False),
        sa.Column("about", sa.String(300), nullable=False),
        sa.Column("address", sa.String(60), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_entry"),
    )
    op.create_index("ix_audit_entry_action", "audit_entry", ["action", "created_at"])
    for table in OWNED:
        op.add_column(table, sa.Column("owner_id", GUID(), nullable=False, server_default=first_account()))
    op.add_column("run", sa.Column("account_id", GUID(), nullable=False, server_default=first_account()))
    op.add_column("run", sa.Column("tokens", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_run_account_id", "run", ["account_id", "created_at"])
    for table in ("project", "team"):
        op.create_index(f"ix_{table}_owner_id", table, ["owner_id"])
    op.drop_index("ix_api_token_name", "api_token")
    with op.batch_alter_table("api_token") as tokens:
        tokens.create_unique_constraint("uq_api_token_owner_id", ["owner_id", "name"])
    with op.batch_alter_table("agent") as agents:
        agents.drop_constraint("uq_agent_name", type_="unique")
        agents.create_unique_constraint("uq_agent_owner_id", ["owner_id", "name"])


def first_account() -> sa.TextClause:
    """As each database writes it down."""
    if op.get_bind().dialect.name == "sqlite":
        return sa.text(f"X'{FIRST_ACCOUNT.hex}'")
    return sa.text(f"'{FIRST_ACCOUNT}'")


def own() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("id", GUID(), nullable=False),
        sa.Column("created_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("updated_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("sa_orm_sentinel", sa.Integer()),
    )


def of_account(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, GUID(), sa.ForeignKey("account.id", ondelete="CASCADE"), nullable=nullable)


def downgrade() -> None:
    with op.batch_alter_table("agent") as agents:
        agents.drop_constraint("uq_agent_owner_id", type_="unique")
        agents.create_unique_constraint("uq_agent_name", ["name"])
    with op.batch_alter_table("api_token") as tokens:
        tokens.drop_constraint("uq_api_token_owner_id", type_="unique")
    op.create_index("ix_api_token_name", "api_token", ["name"], unique=True)
    for table in ("project", "team"):
        op.drop_index(f"ix_{table}_owner_id", table)
    op.drop_index("ix_run_account_id", "run")
    op.drop_column("run", "tokens")
    op.drop_column("run", "account_id")
    for table in OWNED:
        op.drop_column(table, "owner_id")
    for table in ("audit_entry", "membership", "invitation", "sign_in", "account"):
        op.drop_table(table)
