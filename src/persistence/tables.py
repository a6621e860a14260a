"""What is kept: conversations, their messages, the runs that wrote them, and every event of every run."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import AdvancedDeclarativeBase, CommonTableAttributes, UUIDv7AuditBase
from advanced_alchemy.types import GUID, DateTimeUTC
from sqlalchemy import ForeignKey, Index, SmallInteger, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

DEFAULT_PROJECT = UUID("00000000-0000-7000-8000-000000000001")  # made by the migration, so that there always is one


class Project(UUIDv7AuditBase):
    """What conversations have in common: instructions for agents, files, documents and memories."""

    __tablename__ = "project"

    name: Mapped[str] = mapped_column(String(200))
    instructions: Mapped[str] = mapped_column(Text, default="")
    team: Mapped[str] = mapped_column(String(100), default="assistant")
    deleted_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class Memory(UUIDv7AuditBase):
    """Something worth knowing in later runs, told by a run (`run_id`) or written by a person."""

    __tablename__ = "memory"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    run_id: Mapped[UUID | None] = mapped_column(GUID, default=None)
    content: Mapped[str] = mapped_column(Text)


class Conversation(UUIDv7AuditBase):
    """`active_at` is when its last message came in; a deleted one can be brought back until it is purged."""

    __tablename__ = "conversation"

    # SQLite can only add a foreign key to a table that is in use if the column may be empty. It never is.
    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), index=True, nullable=True, default=DEFAULT_PROJECT
    )
    title: Mapped[str] = mapped_column(String(200), default="")
    team: Mapped[str] = mapped_column(String(100), default="assistant")
    active_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), index=True)
    deleted_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class Message(UUIDv7AuditBase):
    """Ids are UUIDv7, so that their order is the order in which a conversation's messages were made."""

    __tablename__ = "message"

    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversation.id", ondelete="CASCADE"), index=True)
    run_id: Mapped[UUID | None] = mapped_column(GUID, default=None)
    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str] = mapped_column(Text, default="")
    agent_name: Mapped[str | None] = mapped_column(String(100), default=None)


class Run(UUIDv7AuditBase):
    __tablename__ = "run"
    # The database itself keeps two runs from writing into one conversation at the same time.
    __table_args__ = (
        Index(
            "ix_run_one_running",
            "conversation_id",
            unique=True,
            sqlite_where=text("status = 'running'"),
            postgresql_where=text("status = 'running'"),
        ),
    )

    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversation.id", ondelete="CASCADE"), index=True)
    user_message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id", ondelete="CASCADE"), index=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id", ondelete="CASCADE"), index=True)
    team: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default="running", index=True)
    ended_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class EventRow(CommonTableAttributes, AdvancedDeclarativeBase):
    """One event as it goes over the wire: `payload` is its JSON. Clustered by run, since it is only read that way."""

    __tablename__ = "event"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(20))
    turn: Mapped[int | None] = mapped_column(SmallInteger, default=None)
    payload: Mapped[str] = mapped_column(Text)
