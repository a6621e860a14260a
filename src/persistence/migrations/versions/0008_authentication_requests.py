"""Those who went to the OpenID Connect provider and are not back yet."""

import sqlalchemy as sa
from advanced_alchemy.types import GUID, DateTimeUTC
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "authentication_request",
        sa.Column("id", GUID(), nullable=False),
        sa.Column("created_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("updated_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("sa_orm_sentinel", sa.Integer()),
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("verifier", sa.String(64), nullable=False),
        sa.Column("next", sa.Text(), nullable=False),
        sa.Column("invitation", sa.String(64), nullable=False),
        sa.Column("sets_up", sa.Boolean(), nullable=False),
        sa.Column("address", sa.String(60), nullable=False),
        sa.Column("expires_at", DateTimeUTC(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_authentication_request"),
    )
    op.create_index("ix_authentication_request_state", "authentication_request", ["state"], unique=True)
    op.create_index("ix_authentication_request_address", "authentication_request", ["address"])


def downgrade() -> None:
    op.drop_table("authentication_request")
