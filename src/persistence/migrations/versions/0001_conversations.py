"""Conversations, messages, runs and their events."""

import sqlalchemy as sa
from advanced_alchemy.types import GUID, DateTimeUTC
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "conversation",
        sa.Column("id", GUID(), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("team", sa.String(100), nullable=False),
        sa.Column("active_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("deleted_at", DateTimeUTC(timezone=True)),
        *audit_columns(),
        sa.PrimaryKeyConstraint("id", name="pk_conversation"),
    )
    op.create_index("ix_conversation_active_at", "conversation", ["active_at"])
    op.create_table(
        "message",
        sa.Column("id", GUID(), nullable=False),
        conversation_column(),
        sa.Column("run_id", GUID()),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("agent_name", sa.String(100)),
        *audit_columns(),
        sa.PrimaryKeyConstraint("id", name="pk_message"),
    )
    op.create_index("ix_message_conversation_id", "message", ["conversation_id"])
    op.create_table(
        "run",
        sa.Column("id", GUID(), nullable=False),
        conversation_column(),
        sa.Column("user_message_id", GUID(), sa.ForeignKey("message.id", ondelete="CASCADE"), nullable=False),
        sa.Column("message_id", GUID(), sa.ForeignKey("message.id", ondelete="CASCADE"), nullable=False),
        sa.Column("team", sa.String(100), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("ended_at", DateTimeUTC(timezone=True)),
        *audit_columns(),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_index("ix_run_conversation_id", "run", ["conversation_id"])
    op.create_index("ix_run_user_message_id", "run", ["user_message_id"])
    op.create_index("ix_run_message_id", "run", ["message_id"])
    op.create_index("ix_run_status", "run", ["status"])
    running = sa.text("status = 'running'")
    op.create_index(
        "ix_run_one_running",
        "run",
        ["conversation_id"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )
    op.create_table(
        "event",
        sa.Column("run_id", GUID(), sa.ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(20), nullable=False),
        sa.Column("turn", sa.SmallInteger()),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq", name="pk_event"),
        sqlite_with_rowid=False,
    )


def audit_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("created_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("updated_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("sa_orm_sentinel", sa.Integer()),
    )


def conversation_column() -> sa.Column[object]:
    return sa.Column("conversation_id", GUID(), sa.ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False)


def downgrade() -> None:
    for table in ("event", "run", "message", "conversation"):
        op.drop_table(table)
