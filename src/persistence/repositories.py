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
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from .statements import API_TOKEN, CONVERSATION, LEASE, MESSAGE, Clock
from .tables import (
    DEFAULT_PROJECT,
    ApiToken,
    Conversation,
    Document,
    EventRow,
    Memory,
    Message,
    OwnAgent,
    OwnTeam,
    Project,
    Revision,
    Run,
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

    def __init__(self, *, session: AsyncSession, **options: Any) -> None:
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

    async def by_name(self) -> Sequence[Project]:
        """The first one is the default project."""
        query = select(Project).where(Project.deleted_at.is_(None))
        return (await self.session.scalars(query.order_by(Project.id != DEFAULT_PROJECT, Project.name))).all()

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


class OwnAgents(Repository[OwnAgent]):
    model_type = OwnAgent

    async def by_name(self) -> Sequence[OwnAgent]:
        return (await self.session.scalars(select(OwnAgent).order_by(OwnAgent.name))).all()

    async def by_id(self) -> dict[str, OwnAgent]:
        return {str(agent.id): agent for agent in await self.by_name()}


class OwnTeams(Repository[OwnTeam]):
    model_type = OwnTeam

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


class KnownToken(NamedTuple):
    id: UUID
    scope: str
    last_used_at: datetime | None


# Made once: every request with a token asks this.
KNOWN_TOKEN = select(API_TOKEN.c.id, API_TOKEN.c.scope, API_TOKEN.c.last_used_at).where(
    API_TOKEN.c.hash == bindparam("hash")
)


class ApiTokens(Repository[ApiToken]):
    model_type = ApiToken

    async def known(self, hash: str) -> KnownToken | None:
        row = (await self.session.execute(KNOWN_TOKEN, {"hash": hash})).one_or_none()
        return KnownToken(*row) if row else None

    async def newest(self) -> Sequence[ApiToken]:
        return (await self.session.scalars(select(ApiToken).order_by(ApiToken.id.desc()))).all()
