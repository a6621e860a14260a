"""Which process works on which run: a lease that has to be renewed, and is taken over when it was not."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..agents.consent import Verdict
from ..agents.inbox import Said
from ..errors import StorageUnavailable
from ..persistence import tables
from ..persistence.repositories import Approvals, Messages, Runs
from ..persistence.statements import RELEASE, RENEW_LEASES, STOP_RUN
from .consent import verdict_of
from .journal import Journal, Sessions


class Leases:
    """This process's. Everything raises StorageUnavailable when the database is away."""

    PAUSE = 1.0  # seconds between two looks: a lease is renewed several times before it is over

    def __init__(self, sessions: Sessions, journal: Journal) -> None:
        self.process = uuid7()
        self._sessions = sessions
        self._journal = journal

    async def left(self, *, alone: bool = False) -> Sequence[UUID]:
        """Runs on which nobody works; among them may be some on which this process does."""
        async with self._session() as session:
            return await Runs(session=session).left(self.process, alone=alone)

    async def claim(self, run_id: UUID, *, alone: bool = False) -> tables.Run | None:
        """The run, which is this process's now; None when another one was faster."""
        async with self._session() as session:
            return await Runs(session=session).claim(run_id, self.process, alone=alone)

    async def renew(self) -> None:
        await self._journal.save({RENEW_LEASES: [{"process": self.process}]})

    async def release(self) -> None:
        """Whoever comes next need not wait. Without the database the leases end by themselves."""
        with suppress(StorageUnavailable):
            await self._journal.save({RELEASE: [{"process": self.process}]})

    async def stop(self, run_id: UUID) -> None:
        await self._journal.save({STOP_RUN: [{"run": run_id}]})

    async def stopping(self) -> Sequence[UUID]:
        """Runs of this process that somebody has stopped, perhaps through another one."""
        async with self._session() as session:
            return await Runs(session=session).stopping(self.process)

    async def pending(self) -> Sequence[tuple[UUID, Said]]:
        """What was added to runs of this process, perhaps through another one."""
        async with self._session() as session:
            pending = await Messages(session=session).pending(self.process)
        return [(run_id, Said(message_id, content)) for run_id, message_id, content in pending]

    async def decided(self) -> Sequence[tuple[UUID, str, Verdict]]:
        """What people have said to calls of runs of this process, perhaps through another one."""
        async with self._session() as session:
            decided = await Approvals(session=session).decided(self.process)
        return [(run_id, call_id, verdict_of(decision, reason)) for run_id, call_id, decision, reason in decided]

    async def conversations_left(self) -> Sequence[UUID]:
        async with self._session() as session:
            return await Messages(session=session).conversations_left()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncSession]:
        try:
            async with self._sessions() as session:
                yield session
        except (SQLAlchemyError, OSError) as failure:
            raise StorageUnavailable from failure
