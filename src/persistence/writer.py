"""Commits what many runs have to write in one transaction, and outlasts a database that fails for a while."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..errors import StorageUnavailable
from .statements import ADD_EVENT, FENCES, ORDER, TAKE_MESSAGE, Row, Write
from .tables import EventRow

log = logging.getLogger(__name__)

PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds between attempts; the last one repeats

EVENTS_AT_ONCE = 200  # in one statement

T = TypeVar("T")


class Fenced(SQLAlchemyError):
    """Another process was faster: what this one has to say of a run or a message does not count any more."""


class Line(Protocol):
    """A connection that is kept, on which a function can be run."""

    async def run(self, work: Callable[[Connection], T]) -> T: ...

    async def drop(self) -> None:
        """Lets go of a connection that failed; the next work gets a new one."""
        ...


class AsyncLine:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        if self._connection is None:
            self._connection = await self._engine.connect()
        return await self._connection.run_sync(work)

    async def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.invalidate()
            await connection.close()


class ThreadLine:
    """For SQLite: a whole transaction in one visit to a thread, where the asynchronous driver needs one a call."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._connection: Connection | None = None

    async def run(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    def _run(self, work: Callable[[Connection], T]) -> T:
        if self._connection is None:
            self._connection = self._engine.connect()
        return work(self._connection)

    async def drop(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


class Writer:
    """The process's one writer. `patience`: seconds for which a failing database is tried again."""

    def __init__(self, line: Line, patience: float) -> None:
        self.failing = False  # whether the database is being waited for now
        self._line = line
        self._patience = patience

    async def commit(self, writes: Sequence[Write]) -> list[SQLAlchemyError | None]:
        """Makes all writes last, in their order, and gives for each what the database refused it for, or None.

        Raises StorageUnavailable when the database stayed away for as long as the patience lasts.
        """
        try:
            await self._insist(writes)
        except SQLAlchemyError as refusal:
            if len(writes) > 1:
                # One of them breaks a rule of the database: each gets a transaction of its own.
                return [(await self.commit([write]))[0] for write in writes]
            return [refusal]
        return [None] * len(writes)

    async def _insist(self, writes: Sequence[Write]) -> None:
        now = asyncio.get_running_loop().time
        deadline = now() + self._patience
        for attempt in count():
            try:
                if not (attempt and await self._line.run(lambda connection: happened(connection, writes))):
                    await self._line.run(lambda connection: transact(connection, writes))
                self.failing = False
                return
            except (SQLAlchemyError, OSError) as failure:
                await self.close()
                self.failing = is_passing(failure)
                if not self.failing:
                    raise
                pause = PAUSES[min(attempt, len(PAUSES) - 1)]
                if now() + pause > deadline:
                    self.failing = False  # whoever writes next finds out anew
                    raise StorageUnavailable from failure
                log.warning("The database failed (%s); trying again in %.2f s", first_line(failure), pause)
                await asyncio.sleep(pause)

    async def close(self) -> None:
        try:
            await self._line.drop()
        except (SQLAlchemyError, OSError):
            log.debug("The connection could not be closed", exc_info=True)


def transact(connection: Connection, writes: Sequence[Write]) -> None:
    with connection.begin():
        for statement in ORDER:
            rows: list[Row] = []
            for write in writes:
                rows.extend(write.get(statement, ()))
            if statement is FENCES:
                hold(connection, rows)
            elif statement is TAKE_MESSAGE:
                take(connection, rows)
            elif statement is ADD_EVENT and connection.dialect.name == "sqlite":
                add_events_at_once(connection, rows)
            elif rows:
                connection.execute(statement, rows)


def take(connection: Connection, rows: Sequence[Row]) -> None:
    """Raises Fenced when one of these messages was taken back, or has had its turn in another process."""
    for row in rows:
        if connection.execute(TAKE_MESSAGE, row).rowcount != 1:
            raise Fenced("the message does not wait any more")


def hold(connection: Connection, rows: Sequence[Row]) -> None:
    """Raises Fenced when one of these runs is not this process's any more."""
    runs: dict[int, set[UUID]] = {}
    for row in rows:
        runs.setdefault(row["fence"], set()).add(row["run"])
    for fence, wanted in runs.items():  # counted, for nearly all have the same, and to tell them apart costs more
        if connection.scalar(FENCES, {"fence": fence, "runs": list(wanted)}) != len(wanted):
            raise Fenced("another process has taken the run over")


def add_events_at_once(connection: Connection, rows: Sequence[Row]) -> None:
    """The driver lets go of the interpreter for every row, and gets it back late when the loop is busy: so, one row."""
    for start in range(0, len(rows), EVENTS_AT_ONCE):
        part = rows[start : start + EVENTS_AT_ONCE]
        values = [
            value
            for row in part
            for value in (row["run_id"].bytes, row["seq"], row["type"], row["turn"], row["payload"])
        ]
        connection.exec_driver_sql(add_events(len(part)), tuple(values))


@cache
def add_events(count: int) -> str:
    places = ", ".join(["(?, ?, ?, ?, ?)"] * count)
    return f"INSERT INTO event (run_id, seq, type, turn, payload) VALUES {places}"  # noqa: S608


def happened(connection: Connection, writes: Sequence[Write]) -> bool:
    """Whether a commit whose answer was lost took place all the same: its last event tells."""
    events = [row for write in writes for row in write.get(ADD_EVENT, ())]
    if not events:
        return False
    last = events[-1]
    with connection.begin():
        found = connection.scalar(
            select(EventRow.payload).where(EventRow.run_id == last["run_id"], EventRow.seq == last["seq"])
        )
    return bool(found == last["payload"])  # another process may have written the run on


@contextmanager
def passing_as_unavailable() -> Iterator[None]:
    """Raises StorageUnavailable for what may be over later."""
    try:
        yield
    except (SQLAlchemyError, OSError) as failure:
        if is_passing(failure):
            raise StorageUnavailable from failure
        raise


def is_passing(failure: Exception) -> bool:
    """Whether the database may be back later: it is away, locked, full or restarting; its rules were not broken."""
    match failure:
        case IntegrityError():
            return False
        case OSError() | OperationalError() | InterfaceError() | PoolTimeout():
            return True
        case DBAPIError():
            # asyncpg tells its class by the SQLSTATE alone: bad data, a broken rule and a wrong statement stay so.
            state = str(getattr(failure.orig, "sqlstate", None) or "")
            passing = type(failure) is DBAPIError and not state.startswith(("22", "23", "42"))
            return failure.connection_invalidated or passing
        case _:
            return False


def first_line(failure: Exception) -> str:
    return str(failure).split("\n", 1)[0]
