"""Revisions of files, documents with their passages, tool servers, and the agents and teams that people add."""

import sqlalchemy as sa
from advanced_alchemy.types import GUID, DateTimeUTC
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The index holds no text of its own; triggers keep it in step with the passages. Words are found in any of their forms.
FULL_TEXT_SQLITE = (
    """CREATE VIRTUAL TABLE passage_index USING fts5(
        heading, text, content='passage', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2')""",
    """CREATE TRIGGER passage_added AFTER INSERT ON passage BEGIN
        INSERT INTO passage_index (rowid, heading, text) VALUES (new.id, new.heading, new.text); END""",
    """CREATE TRIGGER passage_removed AFTER DELETE ON passage BEGIN
        INSERT INTO passage_index (passage_index, rowid, heading, text)
        VALUES ('delete', old.id, old.heading, old.text); END""",
)
FULL_TEXT_POSTGRESQL = (
    """ALTER TABLE passage ADD COLUMN words tsvector GENERATED ALWAYS AS (
        setweight(to_tsvector('english', heading), 'A') || to_tsvector('english', text)) STORED""",
    "CREATE INDEX ix_passage_words ON passage USING gin (words)",
)


def upgrade() -> None:
    op.create_table(
        "revision",
        *own(),
        in_project(),
        sa.Column("run_id", GUID()),
        sa.Column("author", sa.String(100), nullable=False),
        sa.Column("path", sa.String(500), nullable=False),
        sa.Column("change", sa.String(20), nullable=False),
        sa.Column("before", sa.String(64)),
        sa.Column("after", sa.String(64)),
        sa.Column("diff", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
    )
    op.create_index("ix_revision_file", "revision", ["project_id", "path", "id"])
    op.create_table(
        "document",
        *own(),
        in_project(),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("passages", sa.Integer(), nullable=False),
        sa.Column("embedded_by", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_document"),
    )
    op.create_index("ix_document_project_id", "document", ["project_id"])
    op.create_table(
        "passage",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, autoincrement=True),
        in_project(),
        sa.Column("document_id", GUID(), sa.ForeignKey("document.id", ondelete="CASCADE"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("heading", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("embedding", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("id", name="pk_passage"),
    )
    op.create_index("ix_passage_project_id", "passage", ["project_id"])
    op.create_index("ix_passage_document_id", "passage", ["document_id"])
    for statement in FULL_TEXT_SQLITE if op.get_bind().dialect.name == "sqlite" else FULL_TEXT_POSTGRESQL:
        op.execute(statement)
    op.create_table(
        "tool_server",
        *own(),
        in_project(),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tool_server"),
        sa.UniqueConstraint("project_id", "name", name="uq_tool_server_project_id"),
    )
    op.create_index("ix_tool_server_project_id", "tool_server", ["project_id"])
    op.create_table(
        "agent",
        *own(),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("role", sa.String(200), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("tools", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_agent"),
        sa.UniqueConstraint("name", name="uq_agent_name"),
    )
    op.create_table(
        "team",
        *own(),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("title", sa.String(60), nullable=False),
        sa.Column("description", sa.String(200), nullable=False),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_team"),
        sa.UniqueConstraint("name", name="uq_team_name"),
    )


def own() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("id", GUID(), nullable=False),
        sa.Column("created_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("updated_at", DateTimeUTC(timezone=True), nullable=False),
        sa.Column("sa_orm_sentinel", sa.Integer()),
    )


def in_project() -> sa.Column[object]:
    return sa.Column("project_id", GUID(), sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE passage_index")
    for table in ("team", "agent", "tool_server", "passage", "document", "revision"):
        op.drop_table(table)
