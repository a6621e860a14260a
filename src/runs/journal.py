"""The log of every run: append, commit, publish, follow.

Saved before seen: events go to the process's one writer, which commits what has gathered for all runs in one
transaction and only then hands it to those who follow.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Executable
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..agents.events import (
    AgentChunk,
    AgentComplete,
    Complete,
    Event,
    Interaction,
    decode,
    encode,
    type_of,
)
from ..errors import Restarting, StorageUnavailable
from ..persistence.repositories import Events
from ..persistence.statements import ADD_EVENT, ADD_RUN, FENCES, Row, Write
from ..persistence.writer import Writer, passing_as_unavailable
from .lately import Lately

log = logging.getLogger(__name__)

SHORTEST_WINDOW, LONGEST_WINDOW = 0.010, 0.033  # seconds between two commits under load
COMMIT_SHARE = 0.2  # of the time may go into commits before the window grows
BURST = 0.1  # seconds without commits that a writer may make up for, so that one that was idle never waits
PENDING_LIMIT = 8 * 2**20  # characters that wait for the database before the runs have to wait too
BACKLOG_LIMIT = 256  # batches that a slow follower may have in memory; it then reads on from the log
RECENT = 16  # events of a run that are kept at hand
NO_FENCE = 0  # rows that belong to no run
PAGE = 200  # events read from the log at once; many who read on at the same time hold so many each
LOOK = 0.2  # seconds between two looks at the runs that other processes write

T = TypeVar("T")
Sessions = Callable[[], AbstractAsyncContextManager[AsyncSession]]


class Recorded(NamedTuple):
    """A committed event, and its JSON as it goes over every wire."""

    event: Event
    payload: bytes


class Pending:
    """What waits to be committed together for one run."""

    __slots__ = ("done", "events", "fence", "more", "texts")

    def __init__(self, events: list[Event], more: Write, done: asyncio.Future[None] | None, fence: int) -> None:
        self.events = events
        self.texts: list[str] = []  # what came for the chunk that is the only event here
        self.more = more
        self.done = done
        self.fence = fence


class Follower:
    """One reader's place in a run: what was published for it and not yet taken."""

    __slots__ = ("batches", "lagging", "lost", "waiter")

    def __init__(self) -> None:
        self.batches: deque[list[Recorded]] = deque()
        self.lagging = False
        self.lost = False
        self.waiter: asyncio.Future[None] | None = None

    def give(self, batch: list[Recorded]) -> None:
        if len(self.batches) >= BACKLOG_LIMIT:
            self.batches.clear()
            self.lagging = True
        self.batches.append(batch)
        self.wake()

    def nudge(self) -> None:
        """There is more in the log."""
        self.batches.clear()
        self.lagging = True
        self.wake()

    def lose(self) -> None:
        self.lost = True
        self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    async def wait(self, seconds: float) -> None:
        """Until something was given or lost, or for so long."""
        if self.batches or self.lagging or self.lost:
            return
        loop = asyncio.get_running_loop()
        self.waiter = loop.create_future()
        alarm = loop.call_later(seconds, self.wake)
        try:
            await self.waiter
        finally:
            alarm.cancel()

    def take(self) -> list[Recorded]:
        """Everything that was given, as one batch."""
        if len(self.batches) == 1:
            return self.batches.popleft()
        taken = [record for batch in self.batches for record in batch]
        self.batches.clear()
        return taken


class Log:
    """What this process knows of a run that is written or followed here."""

    __slots__ = ("fence", "followers", "head", "lost", "next_seq", "open_chunk", "recent", "seen")

    def __init__(self) -> None:
        self.next_seq: int | None = None  # None: the run is not written by this process
        self.head: int | None = None  # last committed seq, where known
        self.fence = 1  # which of the processes that have had the run this one is
        self.seen = 0  # last seq of which the followers of another process's run know
        self.open_chunk: Pending | None = None
        self.followers: set[Follower] = set()
        # The last events, so that who joins at the start or was away for a moment need not ask the database.
        self.recent: deque[Recorded] = deque(maxlen=RECENT)
        self.lost = False

    def since(self, after: int) -> list[Recorded] | None:
        """The events after a cursor, or None where only the database knows them all."""
        if self.next_seq is None or self.head is None:
            return None
        if self.head > after and (not self.recent or self.recent[0].event.seq > after + 1):
            return None
        return [record for record in self.recent if record.event.seq > after]


class Journal:
    """`heartbeat`: seconds of silence after which a follower is told that nothing happened."""

    def __init__(self, writer: Writer, sessions: Sessions, heartbeat: float = 15.0) -> None:
        self.heartbeat = heartbeat
        self.lately = Lately()
        self._writer = writer
        self._sessions = sessions
        self._logs: dict[UUID, Log] = {}
        self._pending: dict[UUID, list[Pending]] = {}  # by run
        self._pending_size = 0
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._next_commit = 0.0  # loop time
        self._asking: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._letting_go = False

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """While this is entered the writer works; what was appended before the end is committed."""
        task = asyncio.create_task(self._write(), name="journal")
        looking = asyncio.create_task(self._look_elsewhere(), name="journal of others")
        try:
            yield
        finally:
            looking.cancel()
            self._closing = True
            self._work.set()
            await task
            await asyncio.gather(*self._asking, return_exceptions=True)
            await self._writer.close()

    # Writing

    def open(self, run_id: UUID, head: int = 0, fence: int = 1) -> None:
        """From now on this process writes the run's events, on from `head`, unless a later one has a higher fence."""
        log = self._log(run_id)
        log.next_seq, log.head, log.fence, log.lost = head + 1, head, fence, False
        log.open_chunk = None
        log.recent.clear()
        give_up(self._pending.pop(run_id, []), StorageUnavailable())

    async def append(self, run_id: UUID, event: Event) -> Event:
        """Gives an event to the writer, and back as it was stamped.

        Waits only when the database is so far behind that memory has to be saved.

        Raises StorageUnavailable when the database has stayed away and this run's events were lost.
        """
        if not self._room.is_set():
            await self._room.wait()
        log = self._written(run_id)
        self._pending_size += size_of(event)
        if self._pending_size > PENDING_LIMIT:
            self._room.clear()
        if isinstance(event, AgentChunk):
            if (open_chunk := log.open_chunk) is not None:
                chunk = open_chunk.events[0]
                if isinstance(chunk, AgentChunk) and chunk.turn == event.turn:
                    open_chunk.texts.append(event.text)
                    return event
            log.open_chunk = pending = self._add(run_id, log, [event], {}, None)
        else:
            log.open_chunk = None
            pending = self._add(run_id, log, [event], {}, None)
        return pending.events[0]

    async def commit(self, run_id: UUID, events: list[Event], more: Write) -> list[Event]:
        """Events and other rows that stand or fall together. Once they are saved: the events as they were stamped.

        Raises StorageUnavailable, or what the database refused the rows for.
        """
        log = self._written(run_id)
        log.open_chunk = None
        done = asyncio.get_running_loop().create_future()
        pending = self._add(run_id, log, events, more, done)
        await done
        return pending.events

    def check(self) -> None:
        """Raises StorageUnavailable while the database is away: runs wait for it, something new need not."""
        if self._writer.failing:
            raise StorageUnavailable

    async def save(self, rows: Write) -> None:
        """Rows that belong to no run, with what the runs have to write; returns when they are saved.

        Raises StorageUnavailable, or what the database refused the rows for.
        """
        self.check()
        done = asyncio.get_running_loop().create_future()
        self._pending[uuid7()] = [Pending([], rows, done, NO_FENCE)]
        self._work.set()
        await done

    def _add(
        self, run_id: UUID, log: Log, events: list[Event], more: Write, done: asyncio.Future[None] | None
    ) -> Pending:
        assert log.next_seq is not None
        at = now()
        stamped: list[Event] = [
            msgspec.structs.replace(event, run_id=run_id, seq=seq, at=at)
            for seq, event in enumerate(events, log.next_seq)
        ]
        log.next_seq += len(events)
        pending = Pending(stamped, more, done, log.fence)
        self._pending.setdefault(run_id, []).append(pending)
        self._work.set()
        return pending

    def _written(self, run_id: UUID) -> Log:
        log = self._logs.get(run_id)
        if log is None or log.lost:
            raise StorageUnavailable
        if log.next_seq is None:
            raise RuntimeError(f"run {run_id} is not written by this process")
        return log

    async def _write(self) -> None:
        """The one writer: commits at once when it was idle, and under load in short windows."""
        loop = asyncio.get_running_loop()
        while True:
            await self._work.wait()
            if self._closing and not self._pending:
                return
            if (early := self._next_commit - loop.time()) > 0:
                await asyncio.sleep(early)
            batch = self._take()
            if not batch:  # what was there has been given up
                continue
            started = loop.time()
            try:
                recorded = {run_id: seal(pending) for run_id, pending in batch.items()}
                refusals = await self._writer.commit(
                    [to_write(run_id, batch[run_id], records) for run_id, records in recorded.items()]
                )
            except StorageUnavailable as failure:
                self._lose(batch, failure)
                continue
            except Exception:  # the one writer must not die of one run's data
                log.exception("A commit failed")
                self._lose(batch, StorageUnavailable("What was written could not be saved."))
                continue
            finished = loop.time()
            window = (finished - started) / COMMIT_SHARE
            window = min(max(window, SHORTEST_WINDOW), LONGEST_WINDOW)
            self._next_commit = max(self._next_commit, finished - BURST) + window
            for (run_id, pending), refusal in zip(batch.items(), refusals, strict=True):
                if refusal is None:
                    self._publish(run_id, pending, recorded[run_id])
                else:
                    self._refuse(run_id, pending, refusal)

    def _take(self) -> dict[UUID, list[Pending]]:
        batch, self._pending = self._pending, {}
        self._pending_size = 0
        if not self._closing:
            self._work.clear()
        self._room.set()
        for run_id in batch:
            if log := self._logs.get(run_id):
                log.open_chunk = None
        return batch

    def _publish(self, run_id: UUID, written: list[Pending], records: list[Recorded]) -> None:
        for pending in written:
            if pending.done is not None and not pending.done.done():
                pending.done.set_result(None)
        run_log = self._logs.get(run_id)
        if run_log is None or run_log.fence != written[0].fence or not records:
            return
        run_log.head = records[-1].event.seq
        run_log.recent.extend(records)
        try:
            self.lately.advance(run_id, [record.event for record in records])
        except Exception:  # the one writer must not die of one run's data
            log.exception("The events of run %s do not fit together", run_id)
            self.lately.forget(run_id)
        for follower in run_log.followers:
            follower.give(records)
        if isinstance(records[-1].event, Complete):
            run_log.next_seq = None
            self._forget(run_id, run_log)

    def _refuse(self, run_id: UUID, refused: list[Pending], refusal: SQLAlchemyError) -> None:
        """The database keeps a rule that this write breaks: nothing after it can be right for this run."""
        if not give_up(refused, refusal):
            log.warning("The database refused events of run %s: %s", run_id, refusal)
        self._lose_run(run_id, refused[0].fence, refusal)

    def _lose(self, batch: dict[UUID, list[Pending]], failure: StorageUnavailable) -> None:
        """The database stayed away: whoever waits is told, and memory is given back."""
        log.error("The database stayed away; the runs under way end here")
        for lost in (batch, self._take()):
            for run_id, pending in lost.items():
                give_up(pending, failure)
                self._lose_run(run_id, pending[0].fence, failure)

    def _lose_run(self, run_id: UUID, fence: int, failure: Exception) -> None:
        run_log = self._logs.get(run_id)
        if run_log is None or run_log.fence != fence:  # this process has taken it over anew
            return
        give_up(self._pending.pop(run_id, []), failure)
        run_log.lost = True
        run_log.next_seq = run_log.head = None
        for follower in run_log.followers:
            follower.lose()
        self._forget(run_id, run_log)

    # Reading

    async def follow(self, run_id: UUID, after: int = 0) -> AsyncGenerator[list[Recorded], None]:
        """The run's events after a cursor, in batches, until it is complete: contiguous, none missing, none twice.

        Whatever came while the caller was busy is one batch; an empty one tells of silence.

        Raises StorageUnavailable when the database is away and has taken this run's end with it, and Restarting when
        the server is stopped before that end.
        """
        run_log = self._log(run_id)
        follower = Follower()
        run_log.followers.add(follower)
        try:
            recent = run_log.since(after)
            if recent:
                follower.give(recent)
            up_to_date = recent is not None
            while True:
                if not up_to_date:
                    # Asked before reading: an end that comes later is published to this follower.
                    ended = run_log.next_seq is None and await self._has_ended(run_id)
                    async for batch in self.read(run_id, after):
                        yield batch
                        after = batch[-1].event.seq
                        if isinstance(batch[-1].event, Complete):
                            return
                    if ended:
                        return
                    up_to_date = True
                if self._letting_go and not follower.batches:
                    raise Restarting
                await follower.wait(self.heartbeat)
                if follower.lost:
                    raise StorageUnavailable
                batch = follower.take()
                if follower.lagging or (batch and batch[0].event.seq > after + 1):
                    follower.lagging = up_to_date = False
                    continue
                if not batch:
                    yield batch
                    continue
                if batch[0].event.seq <= after:
                    batch = [record for record in batch if record.event.seq > after]
                    if not batch:
                        continue
                yield batch
                after = batch[-1].event.seq
                if isinstance(batch[-1].event, Complete):
                    return
        finally:
            run_log.followers.discard(follower)
            self._forget(run_id, run_log)

    def let_go(self) -> None:
        """Whoever follows a run that has not ended by now comes back to the process that is started next."""
        self._letting_go = True
        for run_log in self._logs.values():
            for follower in run_log.followers:
                follower.wake()

    async def read(self, run_id: UUID, after: int = 0) -> AsyncIterator[list[Recorded]]:
        """What is saved now after a cursor, in batches."""
        while True:
            rows = await self._asked(lambda events: events.after(run_id, after, PAGE))  # noqa: B023
            if rows:
                yield [Recorded(decode(payload), payload.encode()) for _, payload in rows]
                after = rows[-1][0]
            if len(rows) < PAGE:
                return

    async def history(self, run_id: UUID) -> list[Event]:
        """What is saved of a run but its chunks."""
        payloads = await self._asked(lambda events: events.history([run_id]))
        return [decode(payload) for payload in payloads[run_id]]

    async def head(self, run_id: UUID) -> int:
        """The `seq` of the run's last saved event."""
        if (run_log := self._logs.get(run_id)) and run_log.head is not None:
            return run_log.head
        return await self._asked(lambda events: events.head(run_id))

    async def _look_elsewhere(self) -> None:
        """Who follows a run that another process writes reads on when its log has grown."""
        while True:
            await asyncio.sleep(LOOK)
            foreign = [run_id for run_id, log in self._logs.items() if log.next_seq is None and log.followers]
            if not foreign:
                continue
            try:
                heads = await self._asked(lambda events: events.heads(foreign))  # noqa: B023
            except StorageUnavailable:
                continue
            for run_id, head in heads.items():
                run_log = self._logs.get(run_id)
                if run_log is None or run_log.next_seq is not None or head <= run_log.seen:
                    continue
                run_log.seen = head
                for follower in run_log.followers:
                    follower.nudge()

    async def _has_ended(self, run_id: UUID) -> bool:
        return await self._asked(lambda events: events.has_ended(run_id))

    async def _asked(self, question: Callable[[Events], Awaitable[T]]) -> T:
        """The log's answer. Raises StorageUnavailable when the database is away.

        It is waited for even when the one who asks leaves, for a connection that is cut off in the middle is lost.
        """
        asking = asyncio.create_task(self._ask(question))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        return await asyncio.shield(asking)

    async def _ask(self, question: Callable[[Events], Awaitable[T]]) -> T:
        with passing_as_unavailable():
            async with self._sessions() as session:
                return await question(Events(session=session))

    def _log(self, run_id: UUID) -> Log:
        return self._logs.setdefault(run_id, Log())

    def _forget(self, run_id: UUID, run_log: Log) -> None:
        if not run_log.followers and run_log.next_seq is None and self._logs.get(run_id) is run_log:
            del self._logs[run_id]


def seal(waiting: Sequence[Pending]) -> list[Recorded]:
    """The events as they are written down; the text that gathered for an open chunk joins it."""
    for pending in waiting:
        if pending.texts:
            chunk = pending.events[0]
            assert isinstance(chunk, AgentChunk)
            pending.events[0] = msgspec.structs.replace(chunk, text=chunk.text + "".join(pending.texts))
    return [Recorded(event, encode(event)) for pending in waiting for event in pending.events]


def to_write(run_id: UUID, waiting: Sequence[Pending], records: Sequence[Recorded]) -> Write:
    """What stands or falls together for a run: of what waits none can be right when one before it is not."""
    write: dict[Executable, list[Row]] = {}
    for pending in waiting:
        for statement, rows in pending.more.items():
            write.setdefault(statement, []).extend(rows)
    if records:
        write[ADD_EVENT] = [to_row(record) for record in records]
        if ADD_RUN not in write:
            write[FENCES] = [{"run": run_id, "fence": waiting[0].fence}]
    return write


def give_up(waiting: Sequence[Pending], failure: Exception) -> bool:
    """Tells those who wait; whether there was any."""
    told = False
    for pending in waiting:
        if pending.done is not None and not pending.done.done():
            pending.done.set_exception(failure)
            told = True
    return told


def size_of(event: Event) -> int:
    """Characters, roughly, that an event keeps in memory."""
    match event:
        case AgentChunk():
            return len(event.text)
        case AgentComplete() | Interaction():
            return len(event.content) + 200
        case _:
            return 200


def to_row(record: Recorded) -> Row:
    event = record.event
    return {
        "run_id": event.run_id,
        "seq": event.seq,
        "type": type_of(event),
        "turn": getattr(event, "turn", None),
        "payload": record.payload.decode(),
    }


def now() -> datetime:
    """UTC to the millisecond, as events carry it."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
