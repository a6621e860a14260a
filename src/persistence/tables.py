"""What is kept: projects and all that is theirs, conversations, the runs that wrote them, every event of every run."""

from datetime import datetime
from uuid import UUID

from advanced_alchemy.base import AdvancedDeclarativeBase, CommonTableAttributes, UUIDv7AuditBase
from advanced_alchemy.types import GUID, DateTimeUTC
from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from .keyring import Sealed

MEMORY_LIMIT = 2_000  # characters
# Made by the migrations, so that there always is one of each. The account is that of the one person who uses riverrun
# without signing in, and becomes the first one where people do.
DEFAULT_PROJECT = UUID("00000000-0000-7000-8000-000000000001")
FIRST_ACCOUNT = UUID("00000000-0000-7000-8000-000000000002")


class Account(UUIDv7AuditBase):
    """A person. `name` is what they sign in with, in small letters; the first account has none until it is set up.

    `role` is `member` or `admin`. `password` is an Argon2 hash, or empty: nobody can sign in with one. `issuer` and
    `subject` name a person of an OpenID Connect provider. `home_id` is the project that cannot be deleted.
    """

    __tablename__ = "account"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    name: Mapped[str] = mapped_column(String(60), unique=True)
    role: Mapped[str] = mapped_column(String(10), default="member")
    password: Mapped[str] = mapped_column(String(200), default="")
    issuer: Mapped[str | None] = mapped_column(String(300), default=None)
    subject: Mapped[str | None] = mapped_column(String(300), default=None)
    home_id: Mapped[UUID] = mapped_column(GUID)
    closed_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class SignIn(UUIDv7AuditBase):
    """A browser that somebody has signed in with. Only the SHA-256 of what its cookie says is kept."""

    __tablename__ = "sign_in"

    owner_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True, index=True)
    agent: Mapped[str] = mapped_column(String(300), default="")
    address: Mapped[str] = mapped_column(String(60), default="")
    seen_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))


class Invitation(UUIDv7AuditBase):
    """A link that is good for one use: for a new account of a role, or for a new password of `account_id`."""

    __tablename__ = "invitation"

    hash: Mapped[str] = mapped_column(String(64), unique=True, index=True)
    role: Mapped[str] = mapped_column(String(10), default="member")
    account_id: Mapped[UUID | None] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), default=None)
    expires_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))


class AuthenticationRequest(UUIDv7AuditBase):
    """Somebody who went to the OpenID Connect provider and is not back yet.

    `state` is the SHA-256 of what the browser's cookie says. `invitation` is the hash of the one that brought them, or
    empty; `sets_up`: they know the code of the first set-up.
    """

    __tablename__ = "authentication_request"

    state: Mapped[str] = mapped_column(String(64), unique=True, index=True)
    nonce: Mapped[str] = mapped_column(String(64))
    verifier: Mapped[str] = mapped_column(String(64))
    next: Mapped[str] = mapped_column(Text, default="")
    invitation: Mapped[str] = mapped_column(String(64), default="")
    sets_up: Mapped[bool] = mapped_column(default=False)
    address: Mapped[str] = mapped_column(String(60), default="", index=True)
    expires_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True))


class Membership(UUIDv7AuditBase):
    """Somebody with whom a project is shared, to read or (`may_write`) to work in it as well."""

    __tablename__ = "membership"
    __table_args__ = (UniqueConstraint("project_id", "account_id"),)

    project_id: Mapped[UUID] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"), index=True)
    may_write: Mapped[bool] = mapped_column(default=False)


class AuditEntry(UUIDv7AuditBase):
    """What somebody did that administrators have to know of. `who` is a name as it was then, `about` to what."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index("ix_audit_entry_action", "action", "created_at"),)

    action: Mapped[str] = mapped_column(String(40))
    who: Mapped[str] = mapped_column(String(60), default="")
    about: Mapped[str] = mapped_column(String(300), default="")
    address: Mapped[str] = mapped_column(String(60), default="")


class Project(UUIDv7AuditBase):
    """What conversations have in common: instructions for agents, files, documents and memories."""

    __tablename__ = "project"

    owner_id: Mapped[UUID] = mapped_column(GUID, index=True, default=FIRST_ACCOUNT)
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


class Revision(UUIDv7AuditBase):
    """One change of one file of a project. Contents lie beside the files, under their SHA-256; None: there is no file.

    `author` is the agent's name, or empty for a person. `diff` is empty where a file is not text.
    """

    __tablename__ = "revision"
    __table_args__ = (Index("ix_revision_file", "project_id", "path", "id"),)

    project_id: Mapped[UUID] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    run_id: Mapped[UUID | None] = mapped_column(GUID, default=None)
    author: Mapped[str] = mapped_column(String(100), default="")
    path: Mapped[str] = mapped_column(String(500))
    change: Mapped[str] = mapped_column(String(20))
    before: Mapped[str | None] = mapped_column(String(64), default=None)
    after: Mapped[str | None] = mapped_column(String(64), default=None)
    diff: Mapped[str] = mapped_column(Text, default="")


class Document(UUIDv7AuditBase):
    """A source of knowledge. `status` is `reading`, `ready` or `failed`, and then `reason` is a sentence for a person.

    `embedded_by` names the model of its passages' embeddings; empty: they have none.
    """

    __tablename__ = "document"

    project_id: Mapped[UUID] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    size: Mapped[int]
    status: Mapped[str] = mapped_column(String(20), default="reading")
    reason: Mapped[str] = mapped_column(Text, default="")
    passages: Mapped[int] = mapped_column(default=0)
    embedded_by: Mapped[str] = mapped_column(String(200), default="")


class Passage(CommonTableAttributes, AdvancedDeclarativeBase):
    """A piece of a document. `heading` is the path of headings above it, outermost first, with ` › ` between.

    `embedding` is float32, of unit length. The full-text index over heading and text is the migration's: FTS5
    `passage_index` in SQLite, the generated column `words` in PostgreSQL. Numbered, since FTS5 joins by numbers.
    """

    __tablename__ = "passage"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    project_id: Mapped[UUID] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    document_id: Mapped[UUID] = mapped_column(ForeignKey("document.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    heading: Mapped[str] = mapped_column(Text, default="")
    text: Mapped[str] = mapped_column(Text)
    embedding: Mapped[bytes | None] = mapped_column(LargeBinary, default=None, deferred=True)


class ToolServer(UUIDv7AuditBase):
    """An MCP server of a project: `address` is a URL, or a command line that is started and spoken to through pipes.

    Either may hold a key, so it is sealed. `asks`: whether a person is asked before each use of its tools, but for
    those of which they have said “always”.
    """

    __tablename__ = "tool_server"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    project_id: Mapped[UUID] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(60))
    address: Mapped[Sealed] = mapped_column(Text)
    asks: Mapped[bool] = mapped_column(default=True)


class Permission(UUIDv7AuditBase):
    """A tool, by the name that its server gives it, which a person has allowed always."""

    __tablename__ = "permission"

    tool_server_id: Mapped[UUID] = mapped_column(ForeignKey("tool_server.id", ondelete="CASCADE"), index=True)
    tool: Mapped[str] = mapped_column(Text)


class OwnAgent(UUIDv7AuditBase):
    """An agent that somebody added in the page. `model` empty: the default one. `tools` are names of kits."""

    __tablename__ = "agent"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    owner_id: Mapped[UUID] = mapped_column(GUID, default=FIRST_ACCOUNT)
    name: Mapped[str] = mapped_column(String(60))
    role: Mapped[str] = mapped_column(String(200), default="")
    instructions: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(String(200), default="")
    tools: Mapped[list[str]] = mapped_column(JSON, default=list)


class OwnTeam(UUIDv7AuditBase):
    """A team that somebody added in the page: one member answers, several are asked by a coordinator.

    `members` are ids of agents, as text; one that was deleted is left out.
    """

    __tablename__ = "team"

    owner_id: Mapped[UUID] = mapped_column(GUID, index=True, default=FIRST_ACCOUNT)
    name: Mapped[str] = mapped_column(String(60), unique=True)
    title: Mapped[str] = mapped_column(String(60))
    description: Mapped[str] = mapped_column(String(200), default="")
    members: Mapped[list[str]] = mapped_column(JSON, default=list)


class Conversation(UUIDv7AuditBase):
    """`active_at` is when its last message came in; a deleted one can be brought back until it is purged.

    `leaf_id` is the last message of the branch that is shown.
    """

    __tablename__ = "conversation"

    # SQLite can only add a foreign key to a table that is in use if the column may be empty. It never is.
    project_id: Mapped[UUID] = mapped_column(
        ForeignKey("project.id", ondelete="CASCADE"), index=True, nullable=True, default=DEFAULT_PROJECT
    )
    title: Mapped[str] = mapped_column(String(200), default="")
    team: Mapped[str] = mapped_column(String(100), default="assistant")
    leaf_id: Mapped[UUID | None] = mapped_column(GUID, default=None)
    active_at: Mapped[datetime] = mapped_column(DateTimeUTC(timezone=True), index=True)
    deleted_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)


class Message(UUIDv7AuditBase):
    """Messages form a tree: `parent_id` is the one that this one follows, and those that follow the same are branches.

    Ids are UUIDv7, so that their order is the order in which a conversation's messages were made. What was sent while a
    run was at work has a `status`: `pending` until an agent takes it in, or `waiting` until its turn comes; its parent
    is the reply that was being written.
    """

    __tablename__ = "message"
    __table_args__ = (
        Index("ix_message_left", "status", sqlite_where=text("status <> ''"), postgresql_where=text("status <> ''")),
    )

    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversation.id", ondelete="CASCADE"), index=True)
    parent_id: Mapped[UUID | None] = mapped_column(GUID, index=True, default=None)
    status: Mapped[str] = mapped_column(String(20), default="")
    run_id: Mapped[UUID | None] = mapped_column(GUID, default=None)
    role: Mapped[str] = mapped_column(String(20))
    content: Mapped[str] = mapped_column(Text, default="")
    agent_name: Mapped[str | None] = mapped_column(String(100), default=None)


class Run(UUIDv7AuditBase):
    """`account_id` is who asked for it. `owner` is the process that works on it, until `leased_until` (seconds since
    1970 by the database's clock).

    `fence` counts the processes that have had it: events of an earlier one cannot be committed any more. `stopping`
    tells the owner that somebody has pressed Stop. `attended`: whether there is anybody who can be asked something.
    `tokens` are what it has used, once it has ended.
    """

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
        Index("ix_run_account_id", "account_id", "created_at"),
    )

    conversation_id: Mapped[UUID] = mapped_column(ForeignKey("conversation.id", ondelete="CASCADE"), index=True)
    user_message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id", ondelete="CASCADE"), index=True)
    message_id: Mapped[UUID] = mapped_column(ForeignKey("message.id", ondelete="CASCADE"), index=True)
    account_id: Mapped[UUID] = mapped_column(GUID, default=FIRST_ACCOUNT)
    team: Mapped[str] = mapped_column(String(100))
    model: Mapped[str] = mapped_column(String(200))
    status: Mapped[str] = mapped_column(String(20), default="running", index=True)
    ended_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
    owner: Mapped[UUID | None] = mapped_column(GUID, default=None)
    leased_until: Mapped[float] = mapped_column(Double, default=0.0)
    fence: Mapped[int] = mapped_column(default=1)
    stopping: Mapped[bool] = mapped_column(default=False)
    attended: Mapped[bool] = mapped_column(default=True)
    tokens: Mapped[int] = mapped_column(default=0)


class Approval(CommonTableAttributes, AdvancedDeclarativeBase):
    """What a person is asked before a tool is called, and what they say: `decision` is empty until they do."""

    __tablename__ = "approval"

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    call_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    server: Mapped[str] = mapped_column(String(60))
    tool: Mapped[str] = mapped_column(Text)
    decision: Mapped[str] = mapped_column(String(10), default="")
    reason: Mapped[str] = mapped_column(Text, default="")


class EventRow(CommonTableAttributes, AdvancedDeclarativeBase):
    """One event as it goes over the wire: `payload` is its JSON. Clustered by run, since it is only read that way."""

    __tablename__ = "event"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[UUID] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[str] = mapped_column(String(20))
    turn: Mapped[int | None] = mapped_column(SmallInteger, default=None)
    payload: Mapped[str] = mapped_column(Text)


class ApiToken(UUIDv7AuditBase):
    """A program's key to the interfaces for programs. Only the SHA-256 of a token is kept, and its first characters.

    `scope` is `read`, `chat` or `admin`. A token that is revoked is deleted.
    """

    __tablename__ = "api_token"
    __table_args__ = (UniqueConstraint("owner_id", "name"),)

    owner_id: Mapped[UUID] = mapped_column(GUID, default=FIRST_ACCOUNT)
    name: Mapped[str] = mapped_column(String(60))
    hash: Mapped[str] = mapped_column(String(64), unique=True, index=True)
    start: Mapped[str] = mapped_column(String(10))
    scope: Mapped[str] = mapped_column(String(10))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTimeUTC(timezone=True), default=None)
