"""What people are asked before a tool reaches outside the project, what they say, and what they allow always."""

import sqlalchemy as sa
from advanced_alchemy.types import GUID, DateTimeUTC
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "approval",
        sa.Column("run_id", GUID(), nullable=False),
        sa.Column("call_id", sa.String(40), nullable=False),
        sa.Column("server", sa.String(60), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("decision", sa.String(10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "call_id", name="pk_approval"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_approval_run_id_run", ondelete="CASCADE"),
    )
    op.create_table(
        "permission",
        sa.Column("id", GUID(), nullable=False),
        sa.Column("created_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("updated_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("sa_orm_sentinel", sa.Integer()),
        sa.Column("tool_server_id", GUID(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_permission"),
        sa.ForeignKeyConstraint(
            ["tool_server_id"],
            ["tool_server.id"],
            name="fk_permission_tool_server_id_tool_server",
            ondelete="CASCADE",
        ),
    )
    op.create_index("ix_permission_tool_server_id", "permission", ["tool_server_id"])
    op.add_column("tool_server", sa.Column("asks", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("run", sa.Column("attended", sa.Boolean(), nullable=False, server_default=sa.true()))


def downgrade() -> None:
    op.drop_column("run", "attended")
    op.drop_column("tool_server", "asks")
    op.drop_table("permission")
    op.drop_table("approval")
