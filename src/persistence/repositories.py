"""What is asked of the database, by name."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from advanced_alchemy.base import AdvancedDeclarativeBase
from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from advanced_alchemy.types import GUID
from sqlalchemy import (
    CTE,
    ColumnElement,
    Row,
    ScalarSelect,
    bindparam,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import aliased

from .statements import ACCOUNT, API_TOKEN, CONVERSATION, LEASE, MESSAGE, OWN_TEAM, SIGN_IN, Clock
from .tables import (
    DEFAULT_PROJECT,
    Account,
    ApiToken,
    Approval,
    AuditEntry,
    Conversation,
    Document,
    EventRow,
    Membership,
    Memory,
    Message,
    OwnAgent,
    OwnTeam,
    Permission,
    Project,
    Revision,
    Run,
    SignIn,
    ToolServer,
)

Entity = TypeVar("Entity", bound=AdvancedDeclarativeBase)


def count_in(
    entity: type[Conversation | Revision | Document | Memory | ToolServer], *which: ColumnElement[bool]
) -> ScalarSelect[int]:
    """How many of these a project has, within a query for it."""
    return select(func.count()).where(entity.project_id == Project.id, *which).correlate(Project).scalar_subquery()


def path_to(last: ColumnElement[UUID | None], conversation: ColumnElement[UUID], longest: ColumnElement[int]) -> CTE:
    """The branch that ends with a message, with how far each is from it."""
    columns = (MESSAGE.c.id, MESSAGE.c.parent_id, MESSAGE.c.role, MESSAGE.c.content)
    end = select(*columns, literal(1).label("distance"))
    path = end.where(MESSAGE.c.id == last, MESSAGE.c.conversation_id == conversation).cte("path", recursive=True)
    before = select(*columns, path.c.distance + 1).join(path, MESSAGE.c.id == path.c.parent_id)
    return path.union_all(before.where(path.c.distance < longest))


# Made once: every start of a run asks this, and to put it together costs as much as to execute it.
LEAF = select(CONVERSATION.c.leaf_id).where(CONVERSATION.c.id == bindparam("id")).scalar_subquery()
PATH = path_to(func.coalesce(bindparam("last", type_=GUID), LEAF), bindparam("id", type_=GUID), bindparam("newest"))
WITH_MESSAGES = (
    select(CONVERSATION.c.title, CONVERSATION.c.team, CONVERSATION.c.project_id, PATH.c.id, PATH.c.role, PATH.c.content)
    .outerjoin(PATH, true())
    .where(CONVERSATION.c.id == bindparam("id"), CONVERSATION.c.deleted_at.is_(None))
    .order_by(PATH.c.distance.desc())
)

# So is this: every run asks it.
GIVEN = select(
    Project.instructions,
    count_in(Memory),
    count_in(Document, Document.status == "ready"),
    count_in(ToolServer),
).where(Project.id == bindparam("id"), Project.deleted_at.is_(None))

LATER = aliased(Revision)
IS_LATEST = ~exists().where(
    LATER.project_id == Revision.project_id, LATER.path == Revision.path, LATER.id > Revision.id
)
HOLDINGS = select(
    count_in(Conversation, Conversation.deleted_at.is_(None)),
    count_in(Revision, IS_LATEST, Revision.after.is_not(None)),
    count_in(Document),
    count_in(Memory),
    count_in(ToolServer),
).where(Project.id == bindparam("id"))


def in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # hours beyond the first or the last year
        return datetime.min.replace(tzinfo=UTC) if moment.year == 1 else datetime.max.replace(tzinfo=UTC)


class Repository(SQLAlchemyAsyncRepository[Entity]):
    """The database's own errors come through: wrapped, one that was lost could not be told from a wrong statement."""

    session: AsyncSession

    def __init__(self, *, session: AsyncSession | async_scoped_session[AsyncSession], **options: Any) -> None:
        super().__init__(session=session, wrap_exceptions=False, **options)


class Conversations(Repository[Conversation]):
    model_type = Conversation

    async def find(self, id: UUID) -> Conversation | None:
        return await self.get_one_or_none(Conversation.id == id, Conversation.deleted_at.is_(None))

    async def with_messages(self, id: UUID, limit: int, last: UUID | None = None) -> list[Row[Any]]:
        """Title, team, project, and a message's id, role and content, for the newest of a branch, oldest first.

        `last` is the branch's last message; None: that of the branch that is shown. One row without a message (all
        None) when there is none; no row when there is no such conversation.
        """
        return list(await self.session.execute(WITH_MESSAGES, {"id": id, "last": last, "newest": limit}))

    async def newest(
        self, limit: int, before: datetime | None = None, project: UUID | None = None
    ) -> Sequence[Conversation]:
        query = select(Conversation).where(Conversation.deleted_at.is_(None))
        if project is not None:
            query = query.where(Conversation.project_id == project)
        if before is not None:
            query = query.where(Conversation.active_at < in_utc(before))
        return (await self.session.scalars(query.order_by(Conversation.active_at.desc()).limit(limit))).all()

    async def rename(self, id: UUID, title: str) -> bool:
        return await self._change(id, Conversation.deleted_at.is_(None), title=title)

    async def show(self, id: UUID, leaf_id: UUID) -> bool:
        """Another branch."""
        return await self._change(id, Conversation.deleted_at.is_(None), leaf_id=leaf_id)

    async def discard(self, id: UUID) -> bool:
        return await self._change(id, Conversation.deleted_at.is_(None), deleted_at=datetime.now(UTC))

    async def restore(self, id: UUID) -> bool:
        return await self._change(id, Conversation.deleted_at.is_not(None), deleted_at=None)

    async def purge(self, discarded_before: datetime) -> int:
        result = await self.session.execute(
            delete(Conversation).where(Conversation.deleted_at < discarded_before).returning(Conversation.id)
        )
        return len(result.all())

    async def _change(self, id: UUID, state: object, **values: object) -> bool:
        result = await self.session.execute(
            update(Conversation).where(Conversation.id == id, state).values(**values).returning(Conversation.id)  # type: ignore[arg-type]
        )
        return result.first() is not None


class Given(NamedTuple):
    """What a run is told of its project, in one answer: further questions are asked only where there is something."""

    instructions: str
    memories: int
    documents: int
    servers: int


class Holdings(NamedTuple):
    """How much there is in a project."""

    conversations: int
    files: int
    documents: int
    memories: int
    servers: int


class Projects(Repository[Project]):
    model_type = Project

    async def discarded(self, before: datetime) -> Sequence[UUID]:
        return (await self.session.scalars(select(Project.id).where(Project.deleted_at < before))).all()

    async def find(self, id: UUID) -> Project | None:
        return await self.get_one_or_none(Project.id == id, Project.deleted_at.is_(None))

    async def by_name(self, first: UUID = DEFAULT_PROJECT) -> Sequence[Project]:
        query = select(Project).where(Project.deleted_at.is_(None))
        return (await self.session.scalars(query.order_by(Project.id != first, Project.name))).all()

    async def is_home(self, id: UUID) -> bool:
        """Whether it is what somebody has from the start."""
        return await self.session.scalar(select(Account.id).where(Account.home_id == id)) is not None

    async def owners(self, projects: Sequence[Project], but: UUID) -> dict[UUID, str]:
        """Whose these are, by the id of each that is not `but`'s."""
        others = {project.owner_id for project in projects} - {but}
        if not others:
            return {}
        rows = await self.session.execute(select(Account.id, Account.name).where(Account.id.in_(others)))
        names: dict[UUID, str] = dict(rows.all())
        return {project.id: names[project.owner_id] for project in projects if project.owner_id in names}

    async def change(self, id: UUID, **values: str) -> bool:
        result = await self.session.execute(
            update(Project).where(Project.id == id, Project.deleted_at.is_(None)).values(**values).returning(Project.id)
        )
        return result.first() is not None

    async def discard(self, id: UUID) -> None:
        """With its conversations, so that nobody goes on in them. The common moment tells which to bring back."""
        at = datetime.now(UTC)
        of_project = (Conversation.project_id == id, Conversation.deleted_at.is_(None))
        await self.session.execute(update(Conversation).where(*of_project).values(deleted_at=at))
        await self.session.execute(update(Project).where(Project.id == id).values(deleted_at=at))

    async def restore(self, id: UUID) -> bool:
        at = await self.session.scalar(select(Project.deleted_at).where(Project.id == id))
        if at is None:
            return False
        of_project = (Conversation.project_id == id, Conversation.deleted_at == at)
        await self.session.execute(update(Conversation).where(*of_project).values(deleted_at=None))
        await self.session.execute(update(Project).where(Project.id == id).values(deleted_at=None))
        return True

    async def holdings(self, id: UUID) -> Holdings:
        return Holdings(*(await self.session.execute(HOLDINGS, {"id": id})).one())

    async def given(self, id: UUID) -> Given | None:
        row = (await self.session.execute(GIVEN, {"id": id})).one_or_none()
        return Given(*row) if row else None


class Remembered(NamedTuple):
    """A memory, and where it comes from: all None where a person wrote it, or where the conversation is gone."""

    memory: Memory
    conversation_id: UUID | None
    title: str | None
    message_id: UUID | None


class Memories(Repository[Memory]):
    model_type = Memory

    async def of_project(self, project_id: UUID, limit: int) -> Sequence[Memory]:
        """The newest, the newest first."""
        query = select(Memory).where(Memory.project_id == project_id)
        return (await self.session.scalars(query.order_by(Memory.id.desc()).limit(limit))).all()

    async def find(self, project_id: UUID, id: UUID) -> Memory | None:
        return await self.get_one_or_none(Memory.id == id, Memory.project_id == project_id)

    async def with_sources(self, project_id: UUID, limit: int) -> list[Remembered]:
        """The newest, the newest first."""
        alive = (Conversation.id == Run.conversation_id) & Conversation.deleted_at.is_(None)
        query = (
            select(Memory, Conversation.id.label("conversation_id"), Conversation.title, Run.message_id)
            .outerjoin(Run, Run.id == Memory.run_id)
            .outerjoin(Conversation, alive)
            .where(Memory.project_id == project_id)
            .order_by(Memory.id.desc())
        )
        return [Remembered(*row) for row in await self.session.execute(query.limit(limit))]


class ToolServers(Repository[ToolServer]):
    model_type = ToolServer

    async def of_project(self, project_id: UUID) -> Sequence[ToolServer]:
        query = select(ToolServer).where(ToolServer.project_id == project_id)
        return (await self.session.scalars(query.order_by(ToolServer.name))).all()

    async def find(self, project_id: UUID, id: UUID) -> ToolServer | None:
        return await self.get_one_or_none(ToolServer.id == id, ToolServer.project_id == project_id)

    async def asks(self, project_id: UUID, name: str, tool: str) -> bool:
        """Whether a person has to be asked before this tool is used; of a server that is not there, too."""
        permitted = exists().where(Permission.tool_server_id == ToolServer.id, Permission.tool == tool)
        free = select(ToolServer.id).where(
            ToolServer.project_id == project_id, ToolServer.name == name, or_(~ToolServer.asks, permitted)
        )
        return (await self.session.scalars(free)).first() is None

    async def permit(self, project_id: UUID, name: str, tool: str) -> None:
        """Nobody is asked about this tool any more. A server that was removed meanwhile is let be."""
        query = select(ToolServer).where(ToolServer.project_id == project_id, ToolServer.name == name)
        server = (await self.session.scalars(query.with_for_update())).one_or_none()
        if server and await self.asks(project_id, name, tool):
            self.session.add(Permission(tool_server_id=server.id, tool=tool))

    async def permissions(self, project_id: UUID) -> dict[UUID, list[Permission]]:
        """By server, in the order of their tools' names."""
        query = select(Permission).join(ToolServer).where(ToolServer.project_id == project_id)
        found: dict[UUID, list[Permission]] = {}
        for permission in await self.session.scalars(query.order_by(Permission.tool)):
            found.setdefault(permission.tool_server_id, []).append(permission)
        return found

    async def withdraw(self, server: ToolServer, permission_id: UUID) -> str | None:
        """The tool that is asked about again; None if nobody had allowed it any more."""
        given = (Permission.id == permission_id, Permission.tool_server_id == server.id)
        return (await self.session.scalars(delete(Permission).where(*given).returning(Permission.tool))).one_or_none()


class OwnAgents(Repository[OwnAgent]):
    model_type = OwnAgent

    async def by_name(self) -> Sequence[OwnAgent]:
        return (await self.session.scalars(select(OwnAgent).order_by(OwnAgent.name))).all()

    async def by_id(self) -> dict[str, OwnAgent]:
        return {str(agent.id): agent for agent in await self.by_name()}


class OwnTeams(Repository[OwnTeam]):
    model_type = OwnTeam

    async def names(self) -> Sequence[str]:
        """Of everybody's: programs know a team by its name."""
        return (await self.session.scalars(select(OWN_TEAM.c.name))).all()

    async def by_title(self) -> Sequence[OwnTeam]:
        return (await self.session.scalars(select(OwnTeam).order_by(OwnTeam.title))).all()


class Messages(Repository[Message]):
    model_type = Message

    async def find(self, id: UUID) -> Message | None:
        """A message that had its turn, unless its conversation was deleted."""
        alive = (Conversation.id == Message.conversation_id) & Conversation.deleted_at.is_(None)
        query = select(Message).join(Conversation, alive).where(Message.id == id, Message.status == "")
        return (await self.session.scalars(query)).one_or_none()

    async def links(self, conversation_id: UUID) -> Sequence[tuple[UUID, UUID | None]]:
        """All messages with their parents, in the order in which they were made."""
        query = select(Message.id, Message.parent_id).where(
            Message.conversation_id == conversation_id, Message.status == ""
        )
        return [(row.id, row.parent_id) for row in await self.session.execute(query.order_by(Message.id))]

    async def of_ids(self, ids: Sequence[UUID]) -> list[Message]:
        """In the order of the ids."""
        found = {row.id: row for row in await self.session.scalars(select(Message).where(Message.id.in_(ids)))}
        return [found[message_id] for message_id in ids if message_id in found]

    async def left_in(self, conversation_id: UUID) -> Sequence[Message]:
        """What was sent while a reply was being written and has not had its turn, oldest first."""
        query = select(Message).where(Message.conversation_id == conversation_id, Message.status != "")
        return (await self.session.scalars(query.order_by(Message.id))).all()

    async def conversations_left(self) -> Sequence[UUID]:
        """Conversations in which a message waits and no reply is being written."""
        working = exists().where(Run.conversation_id == Message.conversation_id, Run.status == "running")
        alive = (Conversation.id == Message.conversation_id) & Conversation.deleted_at.is_(None)
        query = select(Message.conversation_id).join(Conversation, alive).where(Message.status != "", ~working)
        return (await self.session.scalars(query.distinct())).all()

    async def pending(self, process: UUID) -> Sequence[tuple[UUID, UUID, str]]:
        """Run, message and content of what people add to the runs of a process."""
        query = (
            select(Run.id, Message.id, Message.content)
            .join(Run, Run.message_id == Message.parent_id)
            .where(Message.status == "pending", Run.owner == process, Run.status == "running")
            .order_by(Message.id)
        )
        return (await self.session.execute(query)).all()

    async def withdraw(self, conversation_id: UUID, id: UUID) -> bool:
        """Takes back what has not had its turn."""
        waiting = (Message.id == id, Message.conversation_id == conversation_id, Message.status != "")
        return (await self.session.execute(delete(Message).where(*waiting).returning(Message.id))).first() is not None

    async def replies(self, content: str, latest: int) -> Sequence[Message]:
        """Replies of this text in the latest conversations, the newest ones first and not more than a few."""
        conversations = select(Conversation.id).where(Conversation.deleted_at.is_(None))
        query = select(Message).where(
            Message.conversation_id.in_(conversations.order_by(Conversation.active_at.desc()).limit(latest)),
            Message.role == "assistant",
            Message.content == content,
        )
        return (await self.session.scalars(query.order_by(Message.id.desc()).limit(20))).all()

    async def path_to(self, message: Message, limit: int) -> list[tuple[str, str]]:
        """Role and text of the branch up to this message, oldest first, without instructions and what stayed empty."""
        values = {"id": message.conversation_id, "last": message.id, "newest": limit}
        rows = await self.session.execute(WITH_MESSAGES, values)
        return [(row.role, row.content) for row in rows if row.content and row.role != "system"]

    async def is_in(self, conversation_id: UUID, id: UUID) -> bool:
        return await self.exists(Message.id == id, Message.conversation_id == conversation_id)


class Runs(Repository[Run]):
    model_type = Run

    async def find(self, id: UUID) -> Run | None:
        """A run, unless its conversation was deleted."""
        query = select(Run).join(Conversation, Conversation.id == Run.conversation_id)
        return (await self.session.scalars(query.where(Run.id == id, Conversation.deleted_at.is_(None)))).one_or_none()

    async def running_in(self, conversation_id: UUID) -> Run | None:
        query = select(Run).where(Run.conversation_id == conversation_id, Run.status == "running")
        return (await self.session.scalars(query)).one_or_none()

    async def last_in(self, conversation_id: UUID) -> Run | None:
        query = select(Run).where(Run.conversation_id == conversation_id).order_by(Run.id.desc()).limit(1)
        return (await self.session.scalars(query)).one_or_none()

    async def tokens_of(self, account_id: UUID, since: datetime) -> int:
        """What somebody's runs have used that were begun since then and have ended."""
        query = select(func.sum(Run.tokens)).where(Run.account_id == account_id, Run.created_at >= since)
        return await self.session.scalar(query) or 0

    async def running_in_project(self, project_id: UUID) -> Sequence[UUID]:
        query = select(Run.id).join(Conversation, Conversation.id == Run.conversation_id)
        return (
            await self.session.scalars(query.where(Conversation.project_id == project_id, Run.status == "running"))
        ).all()

    async def left(self, process: UUID, *, alone: bool) -> Sequence[UUID]:
        """Runs on which nobody works: their lease is over, or this process had them and may have let them go.

        `alone`: no other process can be at work.
        """
        query = select(Run.id).where(Run.status == "running", is_left(process, alone)).order_by(Run.id)
        return (await self.session.scalars(query)).all()

    async def claim(self, id: UUID, process: UUID, *, alone: bool) -> Run | None:
        """Takes a run over, if it is left."""
        query = select(Run).where(Run.id == id, Run.status == "running", is_left(process, alone)).with_for_update()
        run = (await self.session.scalars(query)).one_or_none()
        if run is not None:
            change = update(Run).where(Run.id == id)
            values = {"owner": process, "fence": Run.fence + 1, "leased_until": Clock() + LEASE}
            await self.session.execute(change.values(values).execution_options(synchronize_session=False))
            await self.session.refresh(run)
        await self.session.commit()
        return run

    async def stopping(self, process: UUID) -> Sequence[UUID]:
        query = select(Run.id).where(Run.owner == process, Run.status == "running", Run.stopping)
        return (await self.session.scalars(query)).all()

    async def of_messages(self, message_ids: Sequence[UUID]) -> dict[UUID, Run]:
        """The runs that wrote these messages, by message."""
        rows = await self.session.scalars(select(Run).where(Run.message_id.in_(message_ids)))
        return {run.message_id: run for run in rows}


class Approvals(SQLAlchemyAsyncRepository[Approval]):
    model_type = Approval

    async def find(self, run_id: UUID, call_id: str) -> Approval | None:
        return await self.get_one_or_none(Approval.run_id == run_id, Approval.call_id == call_id)

    async def decide(self, run_id: UUID, call_id: str, decision: str, reason: str = "") -> Sequence[str]:
        """The calls of which this decides: none if that was done before, or their run has ended.

        What holds for more than one call holds for all that wait in the run for the same tool.
        """
        running = exists().where(Run.id == run_id, Run.status == "running")
        which: ColumnElement[bool] = Approval.call_id == call_id
        if decision in ("run", "always"):
            this, other = aliased(Approval), Approval
            same = exists().where(
                this.run_id == run_id,
                this.call_id == call_id,
                this.decision == "",
                this.server == other.server,
                this.tool == other.tool,
            )
            which = same
        change = (
            update(Approval)
            .where(Approval.run_id == run_id, Approval.decision == "", which, running)
            .values(decision=decision, reason=reason)
            .returning(Approval.call_id)
        )
        return (await self.session.scalars(change.execution_options(synchronize_session=False))).all()

    async def decided(self, process: UUID) -> Sequence[tuple[UUID, str, str, str]]:
        """Run, call, decision and reason of what was decided in runs of a process."""
        query = (
            select(Approval.run_id, Approval.call_id, Approval.decision, Approval.reason)
            .join(Run, Run.id == Approval.run_id)
            .where(Approval.decision != "", Run.owner == process, Run.status == "running")
        )
        return (await self.session.execute(query)).all()


def is_left(process: UUID, alone: bool) -> ColumnElement[bool]:
    return or_(Run.leased_until < Clock(), Run.owner == process, literal(alone))


class Events(Repository[EventRow]):
    """The log. Payloads are the events' JSON."""

    model_type = EventRow

    async def after(self, run_id: UUID, seq: int, limit: int) -> list[tuple[int, str]]:
        query = (
            select(EventRow.seq, EventRow.payload)
            .where(EventRow.run_id == run_id, EventRow.seq > seq)
            .order_by(EventRow.seq)
            .limit(limit)
        )
        return [(row.seq, row.payload) for row in await self.session.execute(query)]

    async def head(self, run_id: UUID) -> int:
        """The `seq` of the last event, 0 before the first."""
        return await self.session.scalar(select(func.max(EventRow.seq)).where(EventRow.run_id == run_id)) or 0

    async def heads(self, run_ids: Sequence[UUID]) -> dict[UUID, int]:
        query = select(EventRow.run_id, func.max(EventRow.seq)).where(EventRow.run_id.in_(run_ids))
        return dict((await self.session.execute(query.group_by(EventRow.run_id))).all())

    async def has_ended(self, run_id: UUID) -> bool:
        query = select(EventRow.seq).where(EventRow.run_id == run_id, EventRow.type == "complete")
        return await self.session.scalar(query) is not None

    async def chunks(self, run_id: UUID) -> Sequence[str]:
        query = select(EventRow.payload).where(EventRow.run_id == run_id, EventRow.type == "agent_chunk")
        return (await self.session.scalars(query.order_by(EventRow.seq))).all()

    async def runs_with_loose_chunks(self, ended_before: datetime, limit: int) -> Sequence[UUID]:
        """Runs of which some turn has more than one chunk."""
        loose = (
            select(EventRow.run_id)
            .join(Run, Run.id == EventRow.run_id)
            .where(Run.ended_at < ended_before, EventRow.type == "agent_chunk")
            .group_by(EventRow.run_id, EventRow.turn)
            .having(func.count() > 1)
        )
        return (await self.session.scalars(loose.distinct().limit(limit))).all()

    async def courses(self, team: str, limit: int) -> list[tuple[Sequence[str], datetime, datetime]]:
        """Progress, beginning and end of a team's latest complete runs, the earliest first."""
        latest = select(Run).where(Run.team == team, Run.status == "complete", Run.ended_at.is_not(None))
        runs = (await self.session.scalars(latest.order_by(Run.id.desc()).limit(limit))).all()
        told: dict[UUID, list[str]] = {run.id: [] for run in reversed(runs)}
        query = select(EventRow.run_id, EventRow.payload).where(EventRow.run_id.in_(told), EventRow.type == "progress")
        for row in await self.session.execute(query.order_by(EventRow.run_id, EventRow.seq)):
            told[row.run_id].append(row.payload)
        return [(told[run.id], run.created_at, run.ended_at) for run in reversed(runs) if run.ended_at]

    async def history(self, run_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
        """Payloads of everything but the chunks: what finished messages show, without reading their text twice."""
        query = (
            select(EventRow.run_id, EventRow.payload)
            .where(EventRow.run_id.in_(run_ids), EventRow.type != "agent_chunk")
            .order_by(EventRow.run_id, EventRow.seq)
        )
        found: dict[UUID, list[str]] = {run_id: [] for run_id in run_ids}
        for row in await self.session.execute(query):
            found[row.run_id].append(row.payload)
        return found


class Known(NamedTuple):
    """Who brings a token or a cookie. `title` and `scope` are the token's, `seen_at` is when it came last."""

    id: UUID
    title: str
    scope: str
    seen_at: datetime | None
    account_id: UUID
    name: str
    role: str
    home_id: UUID


# Made once: every request asks one of these.
OF_ACCOUNT = (ACCOUNT.c.id.label("account_id"), ACCOUNT.c.name, ACCOUNT.c.role, ACCOUNT.c.home_id)
KNOWN_TOKEN = (
    select(API_TOKEN.c.id, API_TOKEN.c.name.label("title"), API_TOKEN.c.scope, API_TOKEN.c.last_used_at, *OF_ACCOUNT)
    .join(ACCOUNT, ACCOUNT.c.id == API_TOKEN.c.owner_id)
    .where(API_TOKEN.c.hash == bindparam("hash"), ACCOUNT.c.closed_at.is_(None))
)
KNOWN_SIGN_IN = (
    select(SIGN_IN.c.id, literal("").label("title"), literal("").label("scope"), SIGN_IN.c.seen_at, *OF_ACCOUNT)
    .join(ACCOUNT, ACCOUNT.c.id == SIGN_IN.c.owner_id)
    .where(SIGN_IN.c.hash == bindparam("hash"), ACCOUNT.c.closed_at.is_(None))
)


class ApiTokens(Repository[ApiToken]):
    model_type = ApiToken

    async def known(self, hash: str) -> Known | None:
        row = (await self.session.execute(KNOWN_TOKEN, {"hash": hash})).one_or_none()
        return Known(*row) if row else None

    async def newest(self) -> Sequence[ApiToken]:
        return (await self.session.scalars(select(ApiToken).order_by(ApiToken.id.desc()))).all()


class SignIns(SQLAlchemyAsyncRepository[SignIn]):
    model_type = SignIn

    async def known(self, hash: str) -> Known | None:
        row = (await self.session.execute(KNOWN_SIGN_IN, {"hash": hash})).one_or_none()
        return Known(*row) if row else None


class Member(NamedTuple):
    id: UUID
    name: str
    may_write: bool


class Memberships(SQLAlchemyAsyncRepository[Membership]):
    """Of projects that were found: with whom they are shared."""

    model_type = Membership

    async def of_project(self, project_id: UUID) -> list[Member]:
        query = select(Membership.id, Account.name, Membership.may_write).join(
            Account, Account.id == Membership.account_id
        )
        rows = await self.session.execute(query.where(Membership.project_id == project_id).order_by(Account.name))
        return [Member(*row) for row in rows]

    async def may_write(self, project_id: UUID, account_id: UUID) -> bool:
        return await self.exists(project_id=project_id, account_id=account_id, may_write=True)

    async def share(self, project_id: UUID, account_id: UUID, *, may_write: bool) -> None:
        membership = await self.get_one_or_none(project_id=project_id, account_id=account_id)
        if membership is None:
            self.session.add(Membership(project_id=project_id, account_id=account_id, may_write=may_write))
        else:
            membership.may_write = may_write
        await self.session.commit()

    async def end(self, project_id: UUID, id: UUID) -> str | None:
        """The name of whom it was shared with; None: there is no such membership of this project."""
        membership = await self.get_one_or_none(id=id, project_id=project_id)
        if membership is None:
            return None
        account = await self.session.get_one(Account, membership.account_id)
        await self.session.delete(membership)
        await self.session.commit()
        return account.name


def note(
    session: AsyncSession | async_scoped_session[AsyncSession],
    action: str,
    who: str,
    about: str = "",
    address: str = "",
) -> AuditEntry:
    """For the audit log; it stands or falls with the rest of the transaction."""
    entry = AuditEntry(action=action, who=who[:60], about=about[:300], address=address[:60])
    session.add(entry)
    return entry
