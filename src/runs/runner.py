"""Owns the runs: they belong to the application and to nobody's request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from msgspec.structs import asdict, replace
from sqlalchemy import Executable
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from uuid_utils.compat import uuid7

from ..agents.consent import Verdict
from ..agents.context import Context
from ..agents.events import (
    NIL,
    SAID,
    AgentStart,
    Asked,
    CodeChange,
    Complete,
    Decided,
    Error,
    Event,
    FinalMessage,
    Interaction,
    Progress,
    Start,
    Word,
    approval_in,
)
from ..agents.inbox import Inbox, Said
from ..agents.model import Message, Model, ModelError
from ..agents.past import heard_in, pasts_of
from ..agents.team import Task, Team
from ..agents.teams import DEFAULT
from ..errors import (
    Busy,
    Ended,
    NotFound,
    NoTokensLeft,
    Restarting,
    RiverrunError,
    StorageUnavailable,
    TooManyOwnRuns,
    TooManyRuns,
)
from ..persistence import tables
from ..persistence.reach import Reach, keep_within, within_reach
from ..persistence.repositories import Approvals, Conversations, Messages, Projects, Runs, ToolServers, note
from ..persistence.statements import (
    ADD_APPROVAL,
    ADD_CONVERSATION,
    ADD_MESSAGE,
    ADD_RUN,
    FINISH_MESSAGE,
    FINISH_RUN,
    MOVE_REPLY,
    TAKE_MESSAGE,
    TOUCH_CONVERSATION,
    WAIT_FOR,
    Row,
    Write,
)
from ..persistence.writer import passing_as_unavailable
from .consent import RunConsent, verdict_of
from .journal import Journal, Sessions, now
from .leases import Leases
from .pace import Paces, Watched
from .rows import conversation_row, message_row, title_of, touch
from .teams import Teams
from .told import Told
from .turns import Known, in_turns, last_turn, said_before, split
from .view import Status, closing
from .work import Started, Work

log = logging.getLogger(__name__)

HISTORY_LIMIT = 1000  # messages that a model is given
PATIENCE = 600.0  # seconds
STRAGGLING = 5.0  # seconds in which a run that was told to end at a shutdown has to do so
MOST_OWNERS = 5  # processes that may die of one run before it is given up
FIRST = UUID(int=1)  # no message has this id: a branch that begins anew
RESUMED = "The server was restarted; going on from here"

INTERRUPTED = Error(
    message=f"The server was stopped {MOST_OWNERS} times while this reply was being written. What had arrived is kept.",
    code="interrupted",
    retryable=True,
)
INTERNAL = Error(
    message="Something went wrong in riverrun itself; its log tells more. Try again.", code="internal", retryable=True
)
OUT_OF_TIME = Error(
    message="This reply took longer than a run may take, so it was ended. What had arrived is kept.",
    code="time_limit",
    retryable=True,
)


class Contexts(Protocol):
    """Where a run gets what its project gives it; whatever is opened for that is closed when it is left."""

    def open(self, project_id: UUID, run_id: UUID) -> AbstractAsyncContextManager[Context]: ...


class Runner:
    """`limit`: runs at the same time, `limit_per_person`: of one person. `message_limit`: characters.

    `time_limit`: seconds for which a run may be at work in this process, without those in which it waits for a person;
    `tokens_per_day`: of one person, from midnight to midnight (UTC). 0 of either and of `limit_per_person`: any number.

    `grace`: seconds which a shutdown gives to runs. `patience`: seconds which a person has to say whether a tool may be
    used. `alone`: no other process works on this database.
    """

    def __init__(
        self,
        journal: Journal,
        sessions: Sessions,
        teams: Teams,
        contexts: Contexts,
        model: Model,
        *,
        limit: int,
        limit_per_person: int = 0,
        message_limit: int,
        time_limit: float = 0.0,
        tokens_per_day: int = 0,
        grace: float,
        patience: float = PATIENCE,
        alone: bool = True,
    ) -> None:
        self.journal = journal
        self.teams = teams
        self.model = model
        self.message_limit = message_limit
        self._sessions = sessions
        self._contexts = contexts
        self._paces = Paces(sessions)
        self._leases = Leases(sessions, journal)
        self._limit = limit
        self._limit_per_person = limit_per_person
        self._time_limit = time_limit
        self._tokens_per_day = tokens_per_day
        self._grace = grace
        self._patience = patience
        self._alone = alone
        self._works: dict[UUID, Work] = {}
        self._conversations: dict[UUID, UUID] = {}
        self._taking = asyncio.Lock()  # two who look at once would both take what is left
        self._closing = False

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Goes on with what a killed process left behind, then works until this is left, when runs get time to end."""
        await self._take_over(alone=self._alone)
        watching = asyncio.create_task(self._watch(), name="leases")
        try:
            yield
        finally:
            await self.settle()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            await self._leases.release()

    # Starting

    async def start(
        self,
        content: str,
        team: str | None = None,
        conversation_id: UUID | None = None,
        project_id: UUID = tables.DEFAULT_PROJECT,
        *,
        parent_id: UUID | None = NIL,
        model: str = "",
        history: Sequence[Message] = (),
        attended: bool = True,
        reach: Reach | None = None,
    ) -> Started:
        """A person's message, the reply's place and a run, saved at once.

        No conversation: a new one of the project. `parent_id`: the message that this one follows, None for a first one;
        NIL: the last of the branch that is shown. `model` empty: the default. `history`: messages that came between
        and are not known here; what is said in the role of the system are instructions for this turn.
        `attended`: whether there is anybody who can be asked whether a tool may be used. `reach`: who asks, and where
        they may; None: the one person who is here.

        One read and one write, for starts come in crowds. Raises NotFound, Forbidden, Busy, TooManyRuns,
        TooManyOwnRuns, NoTokensLeft, Invalid, Restarting or StorageUnavailable.
        """
        at, account_id = now(), account_of(reach)
        rows: dict[Executable, list[Row]]
        if conversation_id is None:
            chosen = await self.teams.find(team or DEFAULT, account_id)
            await self._make_sure_of(project_id, reach)
            conversation_id = uuid7()
            known = Known(title_of(content), chosen.name, project_id, None, [], "")
            rows = {ADD_CONVERSATION: [conversation_row(conversation_id, known.title, chosen.name, at, project_id)]}
        else:
            known = await self._read(conversation_id, parent_id)
            if reach:  # with a project that was deleted go its conversations
                await self._make_sure_of(known.project_id, reach)
            known = known._replace(title=known.title or title_of(content))
            chosen = await self.teams.find(team or known.team, account_id)
            rows = {}
        rows[ADD_MESSAGE] = said_before(conversation_id, known.last, history, at)
        known = known.after(rows[ADD_MESSAGE], history)
        started = Started(uuid7(), conversation_id, uuid7(), uuid7(), known.title)
        rows[ADD_MESSAGE].append(
            message_row(started.user_message_id, conversation_id, "user", content, at, parent_id=known.last)
        )
        touched = touch(conversation_id, known.title, chosen.name, started.message_id, at)
        asked = [*known.history, Message(role="user", content=content)]
        rows[TOUCH_CONVERSATION] = [touched]
        await self._make_sure_of_tokens(account_id)
        await self._start(started, known, rows, chosen, asked, model, at, account_id, attended=attended)
        return started

    async def _make_sure_of(self, project_id: UUID, reach: Reach | None) -> None:
        """Raises NotFound or Forbidden for a project that was deleted, or in which whoever asks may not work."""
        async with self._sessions() as session:
            projects = Projects(session=keep_within(session, reach and reach._replace(to_write=True)))
            if await within_reach(session, lambda: projects.find(project_id)) is None:
                raise NotFound("There is no such project; it may have been deleted.")

    async def _make_sure_of_tokens(self, account_id: UUID) -> None:
        """A run that has begun is finished, however many it takes. Raises NoTokensLeft."""
        if not self._tokens_per_day:
            return
        at = now()
        today = at.replace(hour=0, minute=0, second=0, microsecond=0)
        async with self._sessions() as session:
            used = await Runs(session=session).tokens_of(account_id, today)
        if used >= self._tokens_per_day:
            raise NoTokensLeft(self._tokens_per_day, int((today + timedelta(days=1) - at).total_seconds()) + 1)

    async def retry(self, run: tables.Run, team: str = "", model: str = "", *, reach: Reach | None = None) -> Started:
        """A further reply to the message that a finished run answered, beside the one that there is."""
        if run.status == "running":
            raise Busy("This reply is still being written.")
        async with self._sessions() as session:
            reply = await Messages(session=session).get_one_or_none(id=run.message_id)
        asked_id = reply.parent_id if reply and reply.parent_id else run.user_message_id
        known = await self._read(run.conversation_id, asked_id)
        account_id = account_of(reach)
        chosen, at = await self.teams.find(team or run.team, account_id), now()
        started = Started(uuid7(), run.conversation_id, asked_id, uuid7(), known.title)
        touched = touch(run.conversation_id, known.title, known.team, started.message_id, at)
        rows: dict[Executable, list[Row]] = {TOUCH_CONVERSATION: [touched], ADD_MESSAGE: []}
        await self._make_sure_of_tokens(account_id)
        await self._start(started, known, rows, chosen, known.history, model, at, account_id)
        return started

    async def _read(self, conversation_id: UUID, last: UUID | None) -> Known:
        """A branch so far, without replies that stayed empty. Raises NotFound."""
        if last is None:
            last = FIRST
        async with self._sessions() as session:
            wanted = None if last == NIL else last
            rows = await Conversations(session=session).with_messages(conversation_id, HISTORY_LIMIT, wanted)
        if not rows:
            raise NotFound("There is no such conversation; it may have been deleted.")
        if wanted not in (None, FIRST) and rows[-1].id is None:
            raise NotFound("There is no such message in this conversation.", field="parent_id")
        history = [Message(role=row.role, content=row.content) for row in rows if row.content]
        said, _ = split(history)
        _, instructions = split(last_turn(history))
        return Known(rows[0].title, rows[0].team, rows[0].project_id, rows[-1].id, said, instructions)

    async def _start(
        self,
        started: Started,
        known: Known,
        rows: dict[Executable, list[Row]],
        team: Team,
        asked: Sequence[Message],
        model: str,
        at: datetime,
        account_id: UUID,
        *,
        attended: bool = True,
    ) -> None:
        if started.conversation_id in self._conversations:
            raise Busy("A reply is still being written here. Wait for it, or stop it first.")
        if self._closing:
            raise Restarting
        if len(self._works) >= self._limit:
            raise TooManyRuns("The server is working on as many runs as it may. Try again in a moment.")
        if self._limit_per_person:
            own = sum(work.account_id == account_id for work in self._works.values())
            if own >= self._limit_per_person:
                raise TooManyOwnRuns(self._limit_per_person)
        self.journal.check()
        used = self._named(model)
        consent = self._consent(started.run_id, known.project_id, attended)
        work = Work(started, known.project_id, account_id, at, consent, known.instructions)
        self._works[started.run_id] = work
        self._conversations[started.conversation_id] = started.run_id
        rows[ADD_MESSAGE].append(
            message_row(
                started.message_id,
                started.conversation_id,
                "assistant",
                "",
                at,
                parent_id=started.user_message_id,
                run_id=started.run_id,
            )
        )
        rows[ADD_RUN] = [
            {
                "id": started.run_id,
                "conversation_id": started.conversation_id,
                "user_message_id": started.user_message_id,
                "message_id": started.message_id,
                "account_id": account_id,
                "team": team.name,
                "model": used.name[:200],
                "owner": self._leases.process,
                "attended": attended,
            }
        ]
        start = Start(
            conversation_id=started.conversation_id,
            user_message_id=started.user_message_id,
            message_id=started.message_id,
            team=team.name,
            model=used.name,
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
        work.apply(start)
        task = Task(messages=in_turns(asked), model=used, inbox=work.inbox, consent=work.consent)
        self._set_to_work(work, team, task)

    def _consent(self, run_id: UUID, project_id: UUID, attended: bool) -> RunConsent:
        return RunConsent(self._sessions, run_id, project_id, self._patience, attended=attended)

    def _named(self, model: str) -> Model:
        return self.model if model in ("", self.model.name) else self.model.named(model)

    def _set_to_work(self, work: Work, team: Team, task: Task) -> None:
        work.task = asyncio.create_task(self._work(work, team, task), name=f"run {work.started.run_id}")
        if self._time_limit:
            work.task.add_done_callback(work.hush)
            self._end_in_time(work)

    def _end_in_time(self, work: Work) -> None:
        left = self._time_limit - work.worked
        if left <= 0:
            work.end(OUT_OF_TIME)
            return
        # When that rings, the run has worked for less if it has waited meanwhile.
        work.alarm = asyncio.get_running_loop().call_later(max(left, 0.1), self._end_in_time, work)

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
            log.warning("Run %s lost its database; it goes on when that is back", work.started.run_id)
            work.stop = "suspended"
        except Exception:
            log.exception("Run %s failed", work.started.run_id)
            status, error = "failed", INTERNAL
        if work.stop == "suspended":
            self._forget(work)
            return
        work.stop = work.stop or status  # from here on nothing can end it in another way
        try:
            await self._finish(work, status, error)
        except (StorageUnavailable, SQLAlchemyError):
            log.warning("The end of run %s could not be saved; that is made up for", work.started.run_id)
            self._forget(work)
            return
        self._forget(work)
        if work.is_added_to:
            await self._answer_left(work.started.conversation_id)

    async def _tell(self, work: Work, team: Team, task: Task) -> None:
        """What the team does, event by event, with what the project gives it."""
        watched = Watched(await self._paces.of(team.name))
        told = Told(work.recorded)
        async with self._contexts.open(work.project_id, work.started.run_id) as context:
            if work.recorded:
                await self._make_up(work, context)
            troubles = list(context.troubles)
            instructions = "\n\n".join(filter(None, (context.instructions, work.instructions)))
            context = replace(context, instructions=instructions)
            task = replace(task, context=context, pasts=pasts_of(work.recorded))
            try:
                async with aclosing(team.run(task)) as events:
                    async for event in events:
                        if told.knows(event):
                            continue
                        if isinstance(event, Progress) and not approval_in(event):
                            event = watched.passed(event)
                        await self._append(work, event)
                        while troubles and isinstance(event, AgentStart):
                            await self._append(work, thought(event, troubles.pop(0)))
            except BaseException:
                if work.stop != "suspended":  # a tool that was at work has done what it had begun
                    await self._make_up(work, context)
                raise
        if not work.recorded:  # how long it would have taken by itself cannot be known
            watched.ended()

    async def _make_up(self, work: Work, context: Context) -> None:
        """Tells of changes of files that were made just before an interruption, and not told any more."""
        if context.workspace is None:
            return
        known = {change.revision_id for change in work.view.code_changes}
        for author, change in await context.workspace.made():
            if change.revision_id not in known:
                made = CodeChange(agent=author or None, **asdict(change))
                work.recorded.append(await self._append(work, made))

    async def _append(self, work: Work, event: Event) -> Event:
        run_id, view = work.started.run_id, work.view
        match event:
            case AgentStart() if begun := view.turns.get(event.turn):
                event = replace(event, attempt=begun.attempt + 1)
            case Progress() if view.progress and event.fraction < view.progress.fraction:
                event = replace(event, fraction=view.progress.fraction)
            case Interaction(kind="message", agent=None, message_id=UUID() as message_id):
                event = await self._take_in(work, event, message_id)
                work.apply(event)
                return event
        if isinstance(event, Progress) and (approval := approval_in(event)):
            event = await self._keep_approval(work, event, approval)
        else:
            event = await self.journal.append(run_id, event)
        work.apply(event)
        return event

    async def _keep_approval(self, work: Work, event: Event, approval: Asked | Decided) -> Event:
        """Returns when it is saved: what is asked can be decided then, and what was decided be done."""
        rows: Write = {}
        if isinstance(approval, Asked):
            asked = {"call_id": approval.call_id, "server": approval.server, "tool": approval.tool}
            rows = {ADD_APPROVAL: [{"run_id": work.started.run_id, **asked}]}
        [event] = await self.journal.commit(work.started.run_id, [event], rows)
        work.consent.note(event)
        return event

    async def _take_in(self, work: Work, event: Event, message_id: UUID) -> Event:
        """The reply comes after what was taken into it."""
        async with self._sessions() as session:
            message = await Messages(session=session).get_one_or_none(id=message_id)
        if message is None:  # taken back through another process just before: it was heard, and is no message any more
            return await self.journal.append(work.started.run_id, replace(event, message_id=None))
        rows: Write = {
            TAKE_MESSAGE: [{"message": message_id, "new_parent": work.follows}],
            MOVE_REPLY: [{"reply": work.started.message_id, "new_parent": message_id}],
        }
        work.follows = message_id
        return (await self.journal.commit(work.started.run_id, [event], rows))[0]

    async def _finish(self, work: Work, status: Status, error: Error | None) -> None:
        """Closes what is open, tells the error, and completes: in one transaction with the message's text."""
        view, started, at = work.view, work.started, now()
        events = closing(view, at, "cancelled" if status == "cancelled" else "error")
        if error is not None:
            events.append(error)
        answer = view.answer
        agent_name = answer.agent if answer else None
        message = FinalMessage(
            id=started.message_id,
            role="assistant",
            content=view.content,
            agent_name=agent_name,
            created_at=work.created_at,
        )
        assert status != "running"
        events.append(Complete(status=status, message=message, code_changes=view.code_changes, usage=view.total_usage))
        rows: Write = {
            FINISH_MESSAGE: [
                {"message": started.message_id, "new_content": view.content, "new_agent": agent_name, "now": at}
            ],
            FINISH_RUN: [{"run": started.run_id, "new_status": status, "now": at, "used": view.tokens}],
        }
        await self.journal.commit(started.run_id, events, rows)

    def _forget(self, work: Work) -> None:
        self._works.pop(work.started.run_id, None)
        if self._conversations.get(work.started.conversation_id) == work.started.run_id:
            del self._conversations[work.started.conversation_id]

    # What is said meanwhile

    async def add(self, run: tables.Run, content: str, *, wait: bool = False) -> UUID:
        """What a person says while a run is at work: for its agents' next step or (`wait`) as the turn after it.

        When the run has ended by now, it is the next turn. Raises NoTokensLeft or StorageUnavailable.
        """
        await self._make_sure_of_tokens(run.account_id)
        message_id, status = uuid7(), "waiting" if wait else "pending"
        row = message_row(
            message_id, run.conversation_id, "user", content, now(), parent_id=run.message_id, status=status
        )
        if work := self._works.get(run.id):
            work.is_added_to = True
        await self.journal.save({ADD_MESSAGE: [row]})
        if work := self._works.get(run.id):
            if not wait:
                work.inbox.put(Said(message_id, content))
        else:  # it has ended meanwhile, or is at work in another process, which finds it
            await self._answer_left(run.conversation_id)
        return message_id

    async def decide(self, run: tables.Run, call_id: str, word: Word, reason: str = "", *, by: str = "") -> None:
        """What a person says to a call that waits for it, in whichever process its run is at work. `by`: their name.

        Raises NotFound, or Ended when that was decided before or the run is over.
        """
        async with self._sessions() as session:
            approvals = Approvals(session=session)
            asked = await approvals.find(run.id, call_id)
            if asked is None:
                raise NotFound("There is no such call that waits for a person.")
            decided = await approvals.decide(run.id, call_id, word, reason)
            if decided and word == "always":
                conversation = await Conversations(session=session).get(run.conversation_id)
                await ToolServers(session=session).permit(conversation.project_id, asked.server, asked.tool)
                note(session, "tool_allowed", by, f"{asked.tool} of {asked.server}")
            await session.commit()
            await session.refresh(asked)
        if not decided:
            raise too_late(asked)
        if work := self._works.get(run.id):
            work.consent.put(decided, Verdict(word, reason))

    async def goes_on(self, conversation_id: UUID) -> bool:
        """Whether a reply is being written in a conversation, or something waits there for its turn."""
        async with self._sessions() as session:
            if await Messages(session=session).left_in(conversation_id):
                return True
            return await Runs(session=session).running_in(conversation_id) is not None

    async def withdraw(self, conversation_id: UUID, message_id: UUID) -> bool:
        """Takes back what was said and has not had its turn. False when that has come."""
        work = self._works.get(self._conversations.get(conversation_id, NIL))
        if work and not work.inbox.withdraw(message_id):
            return False
        async with self._sessions() as session:
            withdrawn = await Messages(session=session).withdraw(conversation_id, message_id)
            await session.commit()
        return withdrawn

    async def _answer_left(self, conversation_id: UUID) -> None:
        """What waited in a conversation has its turn: the first of it now, the others after that or within it."""
        try:
            async with self._sessions() as session:
                left = await Messages(session=session).left_in(conversation_id)
            if left and not self._closing and conversation_id not in self._conversations:
                await self._answer(left[0], left[1:])
        except Busy:
            log.debug("Another process answers in conversation %s", conversation_id)
        except (RiverrunError, SQLAlchemyError, OSError) as failure:
            log.warning("A waiting message is not answered yet: %s", failure)

    async def _answer(self, said: tables.Message, later: Sequence[tables.Message]) -> None:
        known = await self._read(said.conversation_id, said.parent_id)
        async with self._sessions() as session:
            before = await Runs(session=session).last_in(said.conversation_id)
        account_id = before.account_id if before else tables.FIRST_ACCOUNT
        team, at = await self.teams.find(known.team, account_id), now()
        started = Started(uuid7(), said.conversation_id, said.id, uuid7(), known.title)
        rows: dict[Executable, list[Row]] = {
            TOUCH_CONVERSATION: [touch(said.conversation_id, known.title, team.name, started.message_id, at)],
            ADD_MESSAGE: [],
            TAKE_MESSAGE: [{"message": said.id, "new_parent": said.parent_id}],
            WAIT_FOR: [{"conversation": said.conversation_id, "reply": started.message_id}],
        }
        asked = [*known.history, Message(role="user", content=said.content)]
        await self._start(started, known, rows, team, asked, "", at, account_id)
        for other in later:
            if other.status == "pending":
                self._works[started.run_id].inbox.put(Said(other.id, other.content))

    # Ending

    async def cancel(self, run_id: UUID) -> None:
        """Stops a run, in whichever process it is at work; its end follows as events.

        Raises StorageUnavailable when that cannot be told to the other process.
        """
        work = self._works.get(run_id)
        if work is not None:
            work.end("cancelled")
        try:
            await self._leases.stop(run_id)  # for whoever has it, or takes it over before its end is saved
        except StorageUnavailable:
            if work is None:
                raise

    async def settle(self) -> None:
        """Begins no more runs, and gives the others time to end. Who comes next goes on with what takes longer."""
        self._closing = True
        for work in list(self._works.values()):
            if work.view.is_held:  # which may take minutes
                work.end("suspended")
        tasks = {work.task for work in self._works.values() if work.task}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._grace)
        for work in list(self._works.values()):
            work.end("suspended")
        if late:
            _, stuck = await asyncio.wait(late, timeout=STRAGGLING)
            for task in stuck:
                log.error("%s does not let go; it is left to who comes next", task.get_name())
                task.cancel()

    # Going on with what others left

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._leases.PAUSE)
            try:
                if self._works:
                    await self._leases.renew()
                    for run_id in await self._leases.stopping():
                        if work := self._works.get(run_id):
                            work.end("cancelled")
                    await self._look_for_mail()
                if self._closing:
                    continue
                await self._take_over()
                for conversation_id in await self._leases.conversations_left():
                    await self._answer_left(conversation_id)
            except StorageUnavailable:
                log.warning("The leases could not be renewed; the database is away")
            except Exception:  # nobody would renew them any more
                log.exception("Looking after the runs failed")

    async def _look_for_mail(self) -> None:
        """What was added, taken back, or decided through other processes."""
        before = [(work, work.inbox.pending) for work in self._works.values()]
        pending = await self._leases.pending()
        for run_id, said in pending:
            if work := self._works.get(run_id):
                work.inbox.put(said)
        left = {said.message_id for _, said in pending}
        for work, known in before:
            for message_id in known - left:
                work.inbox.withdraw(message_id)
        if any(work.consent.awaited for work in self._works.values()):
            for run_id, call_id, verdict in await self._leases.decided():
                if work := self._works.get(run_id):
                    work.consent.put([call_id], verdict)

    async def _take_over(self, *, alone: bool = False) -> None:
        """Raises StorageUnavailable."""
        async with self._taking:
            for run_id in await self._leases.left(alone=alone):
                if run_id in self._works:
                    continue
                run = await self._leases.claim(run_id, alone=alone)
                if run is None:
                    continue
                try:
                    with passing_as_unavailable():
                        await self._go_on(run)
                except StorageUnavailable:
                    raise
                except Exception:  # one run that cannot go on must not keep the others, or the server, from working
                    log.exception("Run %s cannot go on", run.id)

    async def _go_on(self, run: tables.Run) -> None:
        """From the last step that was completed."""
        recorded = [record.event async for batch in self.journal.read(run.id) for record in batch]
        async with self._sessions() as session:
            reply = await Messages(session=session).get_one_or_none(id=run.message_id)
            conversation = await Conversations(session=session).get_one_or_none(id=run.conversation_id)
        assert conversation is not None  # runs go with their conversations
        assert reply is not None
        started = Started(run.id, run.conversation_id, run.user_message_id, run.message_id, conversation.title)
        consent = self._consent(run.id, conversation.project_id, run.attended)
        work = Work(started, conversation.project_id, run.account_id, reply.created_at, consent, recorded=recorded)
        work.follows = reply.parent_id or run.user_message_id
        self.journal.open(run.id, work.view.seq, run.fence)
        self._works[run.id] = work
        self._conversations[run.conversation_id] = run.id
        try:
            if conversation.deleted_at is not None or run.stopping:
                await self._give_up(work, "cancelled", None)
            elif run.fence > MOST_OWNERS:
                await self._give_up(work, "failed", INTERRUPTED)
            else:
                await self._resume(work, run)
        except RiverrunError as refusal:
            self._forget(work)
            if isinstance(refusal, StorageUnavailable):
                raise
            await self._give_up(work, "failed", Error(message=refusal.message, code=refusal.code))
        except BaseException:
            self._forget(work)
            raise

    async def _give_up(self, work: Work, status: Status, error: Error | None) -> None:
        work.stop = status
        await self._finish(work, status, error)
        self._forget(work)
        await self._answer_left(work.started.conversation_id)

    async def _resume(self, work: Work, run: tables.Run) -> None:
        team = await self.teams.find(run.team, run.account_id)
        known = await self._read(run.conversation_id, run.user_message_id)
        work.instructions = known.instructions
        heard = heard_in(pasts_of(work.recorded))
        work.inbox = Inbox([Said(said.message_id, said.content, said.turn) for said in heard if said.message_id])
        log.info("Run %s goes on after an interruption", run.id)
        fraction = work.view.progress.fraction if work.view.progress else 0.0
        await self._append(work, Progress(fraction=fraction, step="resumed", message=RESUMED))
        messages, model = in_turns(known.history), self._named(run.model)
        task = Task(messages=messages, model=model, inbox=work.inbox, consent=work.consent)
        self._set_to_work(work, team, task)


def too_late(asked: tables.Approval) -> Ended:
    if not asked.decision:
        return Ended("The run has ended; nothing waits there any more.")
    said = SAID[verdict_of(asked.decision, "").decision].lower()
    return Ended(f"This was decided already: {said}.", extra={"decision": asked.decision})


def thought(begun: AgentStart, content: str) -> Interaction:
    return Interaction(agent=begun.agent, turn=begun.turn, kind="thought", content=content)


def account_of(reach: Reach | None) -> UUID:
    return reach.account_id if reach else tables.FIRST_ACCOUNT
