"""What is let go in time: conversations and projects that were deleted, and the single chunks of old replies."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import groupby
from uuid import UUID

import msgspec
from sqlalchemy import delete, update
from sqlalchemy.exc import SQLAlchemyError

from ..agents.events import AgentChunk, decode, encode
from ..persistence.repositories import Conversations, Events, Projects
from ..persistence.tables import EventRow
from ..tasks import beside
from .journal import Sessions, now

log = logging.getLogger(__name__)

INTERVAL = 3600.0  # seconds
UNDO_TIME = timedelta(days=1)  # for which a deleted conversation can be brought back
BATCH = 100  # runs that are looked up at once

Discard = Callable[
    [UUID], Awaitable[None]
]  # what a project has beside its row: files, and more passages than go at once


@asynccontextmanager
async def housekeeping(sessions: Sessions, keep_events: timedelta, discard: Discard) -> AsyncIterator[None]:
    async def tidy_for_ever() -> None:
        while True:
            try:
                await tidy(sessions, now(), keep_events, discard)
            except (SQLAlchemyError, OSError):
                log.warning("Tidying up failed; it is tried again in an hour", exc_info=True)
            await asyncio.sleep(INTERVAL)

    async with beside(tidy_for_ever(), "housekeeping"):
        yield


async def tidy(sessions: Sessions, at: datetime, keep_events: timedelta, discard: Discard) -> None:
    async with sessions() as session:
        await Conversations(session=session).purge(at - UNDO_TIME)
        await session.commit()
        for project_id in await Projects(session=session).discarded(at - UNDO_TIME):
            await discard(project_id)  # first, so that a killed process leaves no files that nobody knows of
            await Projects(session=session).delete(project_id)
            await session.commit()
    while True:
        async with sessions() as session:
            events = Events(session=session)
            runs = await events.runs_with_loose_chunks(at - keep_events, BATCH)
            for run_id in runs:
                await merge_chunks(events, run_id)
                await session.commit()  # one at a time: whoever writes is waited for by all streams
        if len(runs) < BATCH:
            return


async def merge_chunks(events: Events, run_id: UUID) -> None:
    """The chunks of one turn become one, which keeps the last one's `seq`. No other event is ever rewritten."""
    chunks = [chunk for payload in await events.chunks(run_id) if isinstance(chunk := decode(payload), AgentChunk)]
    for _, group in groupby(sorted(chunks, key=lambda chunk: (chunk.turn, chunk.seq)), key=lambda chunk: chunk.turn):
        parts: list[AgentChunk] = []
        for chunk in group:
            if chunk.offset == 0:
                parts.clear()  # a further attempt has begun, and what the one before wrote is void
            parts.append(chunk)
        last = parts[-1]
        whole = msgspec.structs.replace(last, offset=parts[0].offset, text="".join(part.text for part in parts))
        of_turn = (EventRow.run_id == run_id, EventRow.type == "agent_chunk", EventRow.turn == last.turn)
        await events.session.execute(delete(EventRow).where(*of_turn, EventRow.seq < last.seq))
        await events.session.execute(update(EventRow).where(*of_turn).values(payload=encode(whole).decode()))
