"""Owns the runs: they belong to the application and to nobody's request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy import Executable
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from uuid_utils.compat import uuid7

from ..agents.context import Context
from ..agents.events import (
    AgentComplete,
    AgentStart,
    Complete,
    Error,
    Event,
    FinalMessage,
    Interaction,
    Progress,
    Start,
)
from ..agents.model import Message, Model, ModelError
from ..agents.team import Task, Team
from ..agents.teams import DEFAULT
from ..errors import Busy, NotFound, StorageUnavailable, TooManyRuns
from ..persistence import tables
from ..persistence.repositories import Conversations, Runs
from ..persistence.statements import (
    ADD_CONVERSATION,
    ADD_MESSAGE,
    ADD_RUN,
    FINISH_MESSAGE,
    FINISH_RUN,
    TOUCH_CONVERSATION,
    Row,
    Write,
)
from .history import view_of
from .journal import Journal, Sessions, now
from .pace import Paces, Watched
from .teams import Teams
from .view import RunView, Status

log = logging.getLogger(__name__)

TITLE_LENGTH = 60
MEND_PAUSE = 2.0  # seconds between attempts to end the runs that a lost database left open
HISTORY_LIMIT = 1000  # messages that a model is given at most

INTERRUPTED = Error(
    message="The server was stopped while this reply was being written. What had arrived is kept.",
    code="interrupted",
    retryable=True,
)
DATABASE_LOST = Error(
    message="The database was away for too long, so this reply ended early. What was shown is kept.",
    code="database_unavailable",
    retryable=True,
)
INTERNAL = Error(
    message="Something went wrong in riverrun itself; its log tells more. Try again.", code="internal", retryable=True
)


class Started(NamedTuple):
    run_id: UUID
    conversation_id: UUID
    user_message_id: UUID
    message_id: UUID
    title: str


class Contexts(Protocol):
    """Where a run gets what its project gives it; whatever is opened for that is closed when it is left."""

    def open(self, project_id: UUID, run_id: UUID) -> AbstractAsyncContextManager[Context]: ...


class Known(NamedTuple):
    title: str
    team: str
    project_id: UUID
    history: list[Message]


class Work:
    """A run under way: its task, and whether it was told to end."""

    def __init__(self, started: Started, project_id: UUID, created_at: datetime) -> None:
        self.started = started
        self.project_id = project_id
        self.created_at = created_at
        self.view = RunView(started.run_id, started.message_id)
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.stop: Error | Status | None = None

    def end(self, reason: Error | Status) -> None:
        """The first reason counts. A run that is already writing its last events is let be."""
        if self.stop is not None:
            return
        self.stop = reason
        if self.task is not None and self.begun:  # a task that has not begun would vanish without a word
            self.task.cancel()


class Runner:
    """`limit`: runs at the same time. `message_limit`: characters. `grace`: seconds which a shutdown gives to runs."""

    def __init__(
        self,
        journal: Journal,
        sessions: Sessions,
        teams: Teams,
        contexts: Contexts,
        model: Model,
        *,
        limit: int,
        message_limit: int,
        grace: float,
    ) -> None:
        self.journal = journal
        self.teams = teams
        self.model = model
        self.message_limit = message_limit
        self._sessions = sessions
        self._contexts = contexts
        self._paces = Paces(sessions)
        self._limit = limit
        self._grace = grace
        self._works: dict[UUID, Work] = {}
        self._conversations: dict[UUID, UUID] = {}
        self._orphans: set[UUID] = set()
        self._mending: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Mends what a killed process left behind, then works until this is left, when runs get their time to end."""
        await self.recover(INTERRUPTED)
        try:
            yield
        finally:
            if self._mending is not None:
                self._mending.cancel()
            await self._settle()

    # Starting

    async def start(
        self,
        content: str,
        team: str | None = None,
        conversation_id: UUID | None = None,
        project_id: UUID = tables.DEFAULT_PROJECT,
        *,
        parent_id: UUID | None = None,
        history: Sequence[Message] = (),
    ) -> Started:
        """A person's message, the reply's place and a run, saved at once. No conversation: a new one of the project.

        `parent_id` is the message that this one follows, if not the last one. `history` are messages that came
        before and are not known here; its `system` messages hold for this run alone.

        One read and one write, for starts come in crowds. Raises NotFound, Busy, TooManyRuns, Invalid or
        StorageUnavailable.
        """
        at = now()
        if conversation_id is None:
            title, chosen, known_history = title_of(content), await self.teams.find(team or DEFAULT), []
            conversation_id = uuid7()
            conversation = conversation_row(conversation_id, title, chosen.name, at, project_id)
            rows: dict[Executable, list[Row]] = {ADD_CONVERSATION: [conversation]}
        else:
            known = await self._read(conversation_id, until=parent_id)
            title, known_history, project_id = known.title or title_of(content), known.history, known.project_id
            chosen = await self.teams.find(team or known.team)
            touched = {"conversation": conversation_id, "new_title": title, "new_team": chosen.name, "now": at}
            rows = {TOUCH_CONVERSATION: [touched]}
        earlier = [message for message in history if message.role in ("user", "assistant")]
        rows[ADD_MESSAGE] = [message_row(uuid7(), conversation_id, said.role, said.content, at) for said in earlier]
        started = Started(uuid7(), conversation_id, uuid7(), uuid7(), title)
        rows[ADD_MESSAGE].append(message_row(started.user_message_id, conversation_id, "user", content, at))
        task = Task(
            messages=in_turns([*known_history, *earlier, Message(role="user", content=content)]),
            model=self.model,
            context=Context(instructions=joined(said.content for said in history if said.role == "system")),
        )
        await self._start(started, project_id, rows, chosen, task, at)
        return started

    async def retry(self, run: tables.Run) -> Started:
        """A further reply to the message that a finished run answered."""
        if run.status == "running":
            raise Busy("This reply is still being written.")
        known = await self._read(run.conversation_id, until=run.user_message_id)
        started = Started(uuid7(), run.conversation_id, run.user_message_id, uuid7(), known.title)
        task = Task(messages=in_turns(known.history), model=self.model)
        team = await self.teams.find(run.team)
        await self._start(started, known.project_id, {ADD_MESSAGE: []}, team, task, now())
        return started

    async def _read(self, conversation_id: UUID, until: UUID | None = None) -> "Known":
        """The conversation so far, without replies that stayed empty."""
        async with self._sessions() as session:
            rows = await Conversations(session=session).with_messages(conversation_id, HISTORY_LIMIT, until)
        if not rows:
            raise NotFound("There is no such conversation; it may have been deleted.")
        history = [
            Message(role="assistant" if role == "assistant" else "user", content=content)
            for role, content in ((row.role, row.content) for row in rows)
            if content
        ]
        return Known(rows[0].title, rows[0].team, rows[0].project_id, history)

    async def _start(
        self,
        started: Started,
        project_id: UUID,
        rows: dict[Executable, list[Row]],
        team: Team,
        task: Task,
        at: datetime,
    ) -> None:
        if started.conversation_id in self._conversations:
            raise Busy("A reply is still being written here. Wait for it, or stop it first.")
        if len(self._works) >= self._limit:
            raise TooManyRuns("The server is working on as many runs as it may. Try again in a moment.")
        self.journal.check()
        work = Work(started, project_id, at)
        self._works[started.run_id] = work
        self._conversations[started.conversation_id] = started.run_id
        rows[ADD_MESSAGE].append(
            message_row(started.message_id, started.conversation_id, "assistant", "", at, run_id=started.run_id)
        )
        rows[ADD_RUN] = [
            {
                "id": started.run_id,
                "conversation_id": started.conversation_id,
                "user_message_id": started.user_message_id,
                "message_id": started.message_id,
                "team": team.name,
                "model": self.model.name[:200],
            }
        ]
        start = Start(
            conversation_id=started.conversation_id,
            user_message_id=started.user_message_id,
            message_id=started.message_id,
            team=team.name,
            model=self.model.name,
        )
        self.journal.open(started.run_id)
        try:
            await self.journal.commit(started.run_id, [start], rows)
        except BaseException as refusal:
            self._forget(work)
            if isinstance(refusal, IntegrityError):
                if "FOREIGN KEY" in str(refusal).upper():
                    raise NotFound("This conversation does not exist any more.") from refusal
                raise Busy("A reply is still being written here. Wait for it, or stop it first.") from refusal
            raise
        work.view.apply(start)
        work.task = asyncio.create_task(self._work(work, team, task), name=f"run {started.run_id}")

    @property
    def working_count(self) -> int:
        return len(self._works)

    # Working

    async def _work(self, work: Work, team: Team, task: Task) -> None:
        status: Status = "complete"
        error: Error | None = None
        work.begun = True
        try:
            if work.stop is not None:
                raise asyncio.CancelledError
            await self._tell(work, team, task)
        except asyncio.CancelledError:
            status, error = ("failed", work.stop) if isinstance(work.stop, Error) else ("cancelled", None)
        except ModelError as failure:
            status, error = "failed", Error(message=failure.message, code=failure.code, retryable=failure.retryable)
        except (StorageUnavailable, SQLAlchemyError, OSError):
            log.warning("Run %s lost its database", work.started.run_id)
            status, error = "failed", DATABASE_LOST
        except Exception:
            log.exception("Run %s failed", work.started.run_id)
            status, error = "failed", INTERNAL
        work.stop = work.stop or status  # from here on nothing can end it in another way
        try:
            await self._finish(work.view, work.started, work.created_at, status, error)
        except (StorageUnavailable, SQLAlchemyError):
            self._adopt(work.started.run_id)
        finally:
            self._forget(work)

    async def _tell(self, work: Work, team: Team, task: Task) -> None:
        """What the team does, event by event, with what the project gives it."""
        watched = Watched(await self._paces.of(team.name))
        async with self._contexts.open(work.project_id, work.started.run_id) as context:
            troubles = list(context.troubles)
            context = replace(context, instructions=joined([context.instructions, task.context.instructions]))
            async with aclosing(team.run(replace(task, context=context))) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        event = watched.passed(event)
                    await self._append(work, event)
                    while troubles and isinstance(event, AgentStart):
                        await self._append(work, thought(event, troubles.pop(0)))
        watched.ended()

    async def _append(self, work: Work, event: Event) -> None:
        work.view.apply(await self.journal.append(work.started.run_id, event))

    async def _finish(
        self, view: RunView, started: Started, created_at: datetime, status: Status, error: Error | None
    ) -> None:
        """Closes what is open, tells the error, and completes: in one transaction with the message's text."""
        at = now()
        reason = "cancelled" if status == "cancelled" else "error"
        events: list[Event] = [
            AgentComplete(
                agent=turn.agent,
                turn=turn.number,
                content=turn.text,
                duration_ms=round((at - turn.started_at).total_seconds() * 1000),
                finish_reason=reason,
            )
            for turn in reversed(view.turns.values())
            if turn.open
        ]
        if error is not None:
            events.append(error)
        answer = view.answer
        agent_name = answer.agent if answer else None
        message = FinalMessage(
            id=started.message_id,
            role="assistant",
            content=view.content,
            agent_name=agent_name,
            created_at=created_at,
        )
        assert status != "running"
        events.append(Complete(status=status, message=message, code_changes=view.code_changes, usage=view.total_usage))
        rows: Write = {
            FINISH_MESSAGE: [
                {"message": started.message_id, "new_content": view.content, "new_agent": agent_name, "now": at}
            ],
            FINISH_RUN: [{"run": started.run_id, "new_status": status, "now": at}],
        }
        await self.journal.commit(started.run_id, events, rows)

    def _forget(self, work: Work) -> None:
        self._works.pop(work.started.run_id, None)
        if self._conversations.get(work.started.conversation_id) == work.started.run_id:
            del self._conversations[work.started.conversation_id]

    # Ending

    def cancel(self, run_id: UUID) -> bool:
        """Stops a run; its end follows as events. False when it is not at work here."""
        work = self._works.get(run_id)
        if work is None:
            return False
        work.end("cancelled")
        return True

    async def _settle(self) -> None:
        tasks = {work.task for work in self._works.values() if work.task}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._grace)
        for work in list(self._works.values()):
            work.end(INTERRUPTED)
        if late:
            await asyncio.wait(late)

    # Mending

    async def recover(self, error: Error, only: set[UUID] | None = None) -> None:
        """Ends the runs that nobody works on any more: what they wrote is kept, and they can be tried again.

        Raises StorageUnavailable.
        """
        try:
            async with self._sessions() as session:
                runs = [run for run in await Runs(session=session).unfinished() if only is None or run.id in only]
        except (SQLAlchemyError, OSError) as failure:
            raise StorageUnavailable from failure
        for run in runs:
            try:
                await self._end_left(run, error)
            except StorageUnavailable:
                raise
            except Exception:  # one run that cannot be ended must not keep the others, or the server, from working
                log.exception("Run %s cannot be ended", run.id)
        if runs:
            log.warning("%d runs were left unfinished and are now marked as such", len(runs))

    async def _end_left(self, run: tables.Run, error: Error) -> None:
        view = await view_of(run, self.journal)
        self.journal.open(run.id, view.seq)
        started = Started(run.id, run.conversation_id, run.user_message_id, run.message_id, title="")
        await self._finish(view, started, run.created_at, "failed", error)

    def _adopt(self, run_id: UUID) -> None:
        """A run whose end could not be saved is ended as soon as the database is back."""
        self._orphans.add(run_id)
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend(), name="mend")

    async def _mend(self) -> None:
        while self._orphans:
            await asyncio.sleep(MEND_PAUSE)
            orphans = set(self._orphans)
            try:
                await self.recover(DATABASE_LOST, only=orphans)
            except StorageUnavailable:
                continue
            self._orphans -= orphans


def in_turns(messages: Sequence[Message]) -> list[Message]:
    """One message a turn, as many models insist: two questions become one, and of two replies the later counts."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1].role == message.role:
            before = turns.pop()
            if message.role == "user":
                message = Message(role="user", content=f"{before.content}\n\n{message.content}")
        turns.append(message)
    return turns


def joined(texts: Iterable[str]) -> str:
    return "\n\n".join(text for text in texts if text)


def thought(begun: AgentStart, content: str) -> Interaction:
    return Interaction(agent=begun.agent, turn=begun.turn, kind="thought", content=content)


def conversation_row(id: UUID, title: str, team: str, at: datetime, project_id: UUID = tables.DEFAULT_PROJECT) -> Row:
    return {
        "id": id,
        "project_id": project_id,
        "title": title,
        "team": team,
        "active_at": at,
        "created_at": at,
    }


def message_row(
    id: UUID, conversation_id: UUID, role: str, content: str, at: datetime, run_id: UUID | None = None
) -> Row:
    return {
        "id": id,
        "conversation_id": conversation_id,
        "run_id": run_id,
        "role": role,
        "content": content,
        "created_at": at,
    }


def title_of(content: str) -> str:
    """The first line of what was asked, cut at a word."""
    line = next((line.strip(" #*>`") for line in content.splitlines() if line.strip(" #*>`")), "")
    if len(line) <= TITLE_LENGTH:
        return line
    return line[:TITLE_LENGTH].rsplit(" ", 1)[0] + "…"
