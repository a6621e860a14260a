"""Messages become a tree, and runs are leased by the process that works on them."""

import sqlalchemy as sa
from advanced_alchemy.types import GUID
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# A reply follows the message that it answers, and a person's message whatever came before it.
PARENTS = (
    """UPDATE message SET parent_id = (SELECT run.user_message_id FROM run WHERE run.message_id = message.id)
       WHERE role = 'assistant'""",
    """UPDATE message SET parent_id = (
           SELECT before.id FROM message AS before
           WHERE before.conversation_id = message.conversation_id AND before.id < message.id
           ORDER BY before.id DESC LIMIT 1)
       WHERE role = 'user'""",
    """UPDATE conversation SET leaf_id = (
           SELECT message.id FROM message WHERE message.conversation_id = conversation.id
           ORDER BY message.id DESC LIMIT 1)""",
)


def upgrade() -> None:
    op.add_column("conversation", sa.Column("leaf_id", GUID()))
    op.add_column("message", sa.Column("parent_id", GUID()))
    op.add_column("message", sa.Column("status", sa.String(20), nullable=False, server_default=""))
    op.create_index("ix_message_parent_id", "message", ["parent_id"])
    left = sa.text("status <> ''")
    op.create_index("ix_message_left", "message", ["status"], sqlite_where=left, postgresql_where=left)
    op.add_column("run", sa.Column("owner", GUID()))
    op.add_column("run", sa.Column("leased_until", sa.Double(), nullable=False, server_default="0"))
    op.add_column("run", sa.Column("fence", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("run", sa.Column("stopping", sa.Boolean(), nullable=False, server_default=sa.false()))
    for statement in PARENTS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index("ix_message_left", "message")
    op.drop_index("ix_message_parent_id", "message")
    for table, columns in (
        ("run", ("stopping", "fence", "leased_until", "owner")),
        ("message", ("status", "parent_id")),
        ("conversation", ("leaf_id",)),
    ):
        for column in columns:
            op.drop_column(table, column)
