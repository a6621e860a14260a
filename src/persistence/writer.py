"""Commits what many runs have to write in one transaction, and outlasts a database that fails for a while."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import count

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..errors import StorageUnavailable
from .statements import ADD_EVENT, ORDER, Row, Write
from .tables import EventRow

log = logging.getLogger(__name__)

PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds between attempts; the last one repeats


class Writer:
    """Holds one connection for itself. `patience`: seconds for which a failing database is tried again."""

    def __init__(self, engine: AsyncEngine, patience: float) -> None:
        self._engine = engine
        self._patience = patience
        self._connection: AsyncConnection | None = None

    async def commit(self, writes: Sequence[Write]) -> list[SQLAlchemyError | None]:
        """Makes all writes last, in their order, and gives for each what the database refused it for, or None.

        Raises StorageUnavailable when the database stayed away for as long as the patience lasts.
        """
        try:
            await self._insist(writes)
        except StorageUnavailable:
            raise
        except SQLAlchemyError as refusal:
            if len(writes) == 1:
                return [refusal]
            # One of them breaks a rule of the database: each gets a transaction of its own.
            return [(await self.commit([write]))[0] for write in writes]
        return [None] * len(writes)

    async def _insist(self, writes: Sequence[Write]) -> None:
        deadline = asyncio.get_running_loop().time() + self._patience
        for attempt in count():
            try:
                if not (attempt and await self._happened(writes)):
                    await self._transact(writes)
                return
            except (SQLAlchemyError, OSError) as failure:
                await self._drop_connection()
                if not is_passing(failure):
                    raise
                pause = PAUSES[min(attempt, len(PAUSES) - 1)]
                if asyncio.get_running_loop().time() + pause > deadline:
                    raise StorageUnavailable from failure
                log.warning("The database failed (%s); trying again in %.2f s", first_line(failure), pause)
                await asyncio.sleep(pause)

    async def _transact(self, writes: Sequence[Write]) -> None:
        connection = await self._connect()
        async with connection.begin():
            for statement in ORDER:
                rows: list[Row] = []
                for write in writes:
                    rows.extend(write.get(statement, ()))
                if rows:
                    await connection.execute(statement, rows)

    async def _happened(self, writes: Sequence[Write]) -> bool:
        """Whether a commit whose answer was lost took place all the same: its last event tells."""
        events = [row for write in writes for row in write.get(ADD_EVENT, ())]
        if not events:
            return False
        last = events[-1]
        connection = await self._connect()
        found = await connection.scalar(
            select(EventRow.seq).where(EventRow.run_id == last["run_id"], EventRow.seq == last["seq"])
        )
        await connection.rollback()
        return found is not None

    async def _connect(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await self._engine.connect()
        return self._connection

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await connection.invalidate()
                await connection.close()
            except (SQLAlchemyError, OSError):
                log.debug("The failed connection could not be closed", exc_info=True)

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


def is_passing(failure: Exception) -> bool:
    """Whether the database may be back later: it is away, locked, full or restarting; its rules were not broken."""
    match failure:
        case IntegrityError():
            return False
        case OSError() | OperationalError() | InterfaceError() | PoolTimeout():
            return True
        case DBAPIError():
            return failure.connection_invalidated or type(failure) is DBAPIError
        case _:
            return False


def first_line(failure: Exception) -> str:
    return str(failure).split("\n", 1)[0]
