"""Projects and their memories; every conversation belongs to one."""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from advanced_alchemy.types import GUID, DateTimeUTC
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DEFAULT_PROJECT = UUID("00000000-0000-7000-8000-000000000001")


def upgrade() -> None:
    project = op.create_table(
        "project",
        sa.Column("id", GUID(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("team", sa.String(100), nullable=False),
        sa.Column("deleted_at", DateTimeUTC(timezone=True)),
        *audit_columns(),
        sa.PrimaryKeyConstraint("id", name="pk_project"),
    )
    at = datetime.now(UTC)
    first = {"id": DEFAULT_PROJECT, "name": "Default project", "instructions": "", "team": "assistant"}
    op.bulk_insert(project, [first | {"created_at": at, "updated_at": at}])
    op.create_table(
        "memory",
        sa.Column("id", GUID(), nullable=False),
        sa.Column("project_id", GUID(), sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
        sa.Column("run_id", GUID()),
        sa.Column("content", sa.Text(), nullable=False),
        *audit_columns(),
        sa.PrimaryKeyConstraint("id", name="pk_memory"),
    )
    op.create_index("ix_memory_project_id", "memory", ["project_id"])
    add_project_to_conversations()
    op.create_index("ix_conversation_project_id", "conversation", ["project_id"])
    conversation = sa.table("conversation", sa.column("project_id", GUID()))
    op.execute(conversation.update().values(project_id=DEFAULT_PROJECT))


def add_project_to_conversations() -> None:
    """In place: to build the table anew, as batches do on SQLite, would delete all messages with the old one."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ALTER TABLE conversation ADD COLUMN project_id BLOB REFERENCES project (id) ON DELETE CASCADE")
        return
    op.add_column("conversation", sa.Column("project_id", GUID()))
    op.create_foreign_key(
        "fk_conversation_project_id_project", "conversation", "project", ["project_id"], ["id"], ondelete="CASCADE"
    )


def audit_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("created_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("updated_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("sa_orm_sentinel", sa.Integer()),
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.drop_index("ix_conversation_project_id", "conversation")
        op.execute("ALTER TABLE conversation DROP COLUMN project_id")
    else:
        op.drop_column("conversation", "project_id")
    for table in ("memory", "project"):
        op.drop_table(table)
