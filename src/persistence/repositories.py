"""What is asked of the database, by name."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import ColumnElement, Row, ScalarSelect, bindparam, delete, exists, func, select, update
from sqlalchemy.orm import aliased

from .statements import CONVERSATION, MESSAGE
from .tables import (
    DEFAULT_PROJECT,
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

LAST_ID = UUID(int=2**128 - 1)


def count_in(
    entity: type[Conversation | Revision | Document | Memory | ToolServer], *which: ColumnElement[bool]
) -> ScalarSelect[int]:
    """How many of these a project has, within a query for it."""
    return select(func.count()).where(entity.project_id == Project.id, *which).correlate(Project).scalar_subquery()


# Made once: every start of a run asks this, and to put it together costs as much as to execute it.
WITH_MESSAGES = (
    select(CONVERSATION.c.title, CONVERSATION.c.team, CONVERSATION.c.project_id, MESSAGE.c.role, MESSAGE.c.content)
    .outerjoin(MESSAGE, (MESSAGE.c.conversation_id == CONVERSATION.c.id) & (MESSAGE.c.id <= bindparam("until")))
    .where(CONVERSATION.c.id == bindparam("id"), CONVERSATION.c.deleted_at.is_(None))
    .order_by(MESSAGE.c.id.desc())
    .limit(bindparam("newest"))
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
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Conversations(SQLAlchemyAsyncRepository[Conversation]):
    model_type = Conversation

    async def find(self, id: UUID) -> Conversation | None:
        return await self.get_one_or_none(Conversation.id == id, Conversation.deleted_at.is_(None))

    async def with_messages(self, id: UUID, limit: int, until: UUID | None = None) -> list[Row[Any]]:
        """Title, team, project, and a message's role and content, for each of the newest messages, oldest first.

        One row without a message (both None) for an empty conversation; no row when there is no such conversation.
        """
        values = {"id": id, "until": until or LAST_ID, "newest": limit}
        return list(reversed((await self.session.execute(WITH_MESSAGES, values)).all()))

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


class Projects(SQLAlchemyAsyncRepository[Project]):
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


class Memories(SQLAlchemyAsyncRepository[Memory]):
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


class ToolServers(SQLAlchemyAsyncRepository[ToolServer]):
    model_type = ToolServer

    async def of_project(self, project_id: UUID) -> Sequence[ToolServer]:
        query = select(ToolServer).where(ToolServer.project_id == project_id)
        return (await self.session.scalars(query.order_by(ToolServer.name))).all()

    async def find(self, project_id: UUID, id: UUID) -> ToolServer | None:
        return await self.get_one_or_none(ToolServer.id == id, ToolServer.project_id == project_id)


class OwnAgents(SQLAlchemyAsyncRepository[OwnAgent]):
    model_type = OwnAgent

    async def by_name(self) -> Sequence[OwnAgent]:
        return (await self.session.scalars(select(OwnAgent).order_by(OwnAgent.name))).all()

    async def by_id(self) -> dict[str, OwnAgent]:
        return {str(agent.id): agent for agent in await self.by_name()}


class OwnTeams(SQLAlchemyAsyncRepository[OwnTeam]):
    model_type = OwnTeam

    async def by_title(self) -> Sequence[OwnTeam]:
        return (await self.session.scalars(select(OwnTeam).order_by(OwnTeam.title))).all()


class Messages(SQLAlchemyAsyncRepository[Message]):
    model_type = Message

    async def of_conversation(self, conversation_id: UUID, *, limit: int, before: UUID | None = None) -> list[Message]:
        """The newest `limit` messages, oldest first, before one."""
        query = select(Message).where(Message.conversation_id == conversation_id)
        if before is not None:
            query = query.where(Message.id < before)
        rows = await self.session.scalars(query.order_by(Message.id.desc()).limit(limit))
        return list(reversed(rows.all()))

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
        """Role and text of the messages up to this one, oldest first, without those that stayed empty."""
        query = select(Message.role, Message.content).where(
            Message.conversation_id == message.conversation_id, Message.id <= message.id, Message.content != ""
        )
        rows = await self.session.execute(query.order_by(Message.id.desc()).limit(limit))
        return [(role, content) for role, content in reversed(rows.all())]

    async def is_in(self, conversation_id: UUID, id: UUID) -> bool:
        return await self.exists(Message.id == id, Message.conversation_id == conversation_id)


class Runs(SQLAlchemyAsyncRepository[Run]):
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

    async def unfinished(self) -> Sequence[Run]:
        return (await self.session.scalars(select(Run).where(Run.status == "running").order_by(Run.id))).all()

    async def of_messages(self, message_ids: Sequence[UUID]) -> dict[UUID, Run]:
        """The runs that wrote these messages, by message."""
        rows = await self.session.scalars(select(Run).where(Run.message_id.in_(message_ids)))
        return {run.message_id: run for run in rows}


class Events(SQLAlchemyAsyncRepository[EventRow]):
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
