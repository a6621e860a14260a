"""A run in an empty database, to write to and follow."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from uuid import UUID

from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from uuid_utils.compat import uuid7

from riverrun.agents.events import AgentChunk, AgentStart, Complete, Event, FinalMessage, Start
from riverrun.persistence.database import create_writer
from riverrun.persistence.statements import ADD_CONVERSATION, ADD_MESSAGE, ADD_RUN, Write
from riverrun.runs.journal import Journal, Recorded, now


@asynccontextmanager
async def journal_on(database: SQLAlchemyAsyncConfig, patience: float = 20.0) -> AsyncIterator[Journal]:
    journal = Journal(create_writer(database, patience), database.create_session_maker())
    async with journal.writing():
        yield journal


async def start_run(journal: Journal, conversation_id: UUID | None = None) -> UUID:
    """A run whose `start` is saved."""
    run_id = uuid7()
    journal.open(run_id)
    await journal.commit(run_id, [start_event()], rows_of(run_id, conversation_id))
    return run_id


def rows_of(run_id: UUID, conversation_id: UUID | None = None) -> Write:
    conversation, asked, answer = conversation_id or uuid7(), uuid7(), uuid7()
    new: Write = {}
    if conversation_id is None:
        new = {ADD_CONVERSATION: [{"id": conversation, "title": "", "team": "assistant", "active_at": now()}]}
    return {
        **new,
        ADD_MESSAGE: [
            {"id": asked, "conversation_id": conversation, "run_id": None, "role": "user", "content": "?"},
            {"id": answer, "conversation_id": conversation, "run_id": run_id, "role": "assistant", "content": ""},
        ],
        ADD_RUN: [
            {
                "id": run_id,
                "conversation_id": conversation,
                "user_message_id": asked,
                "message_id": answer,
                "team": "assistant",
                "model": "m",
            }
        ],
    }


def start_event() -> Start:
    return Start(conversation_id=uuid7(), user_message_id=uuid7(), message_id=uuid7(), team="assistant", model="m")


def complete_event(content: str = "") -> Complete:
    message = FinalMessage(id=uuid7(), role="assistant", content=content, agent_name="A", created_at=now())
    return Complete(status="complete", message=message)


async def write_text(journal: Journal, run_id: UUID, pieces: list[str]) -> None:
    await journal.append(run_id, AgentStart(agent="A", turn=1))
    offset = 0
    for piece in pieces:
        await journal.append(run_id, AgentChunk(agent="A", turn=1, text=piece, offset=offset))
        offset += len(piece)
        await asyncio.sleep(0)
    await journal.commit(run_id, [complete_event("".join(pieces))], {})


async def collect(journal: Journal, run_id: UUID, after: int = 0) -> list[Event]:
    return [record.event async for record in records(journal, run_id, after)]


async def records(journal: Journal, run_id: UUID, after: int = 0) -> AsyncIterator[Recorded]:
    async with aclosing(journal.follow(run_id, after)) as batches:
        async for batch in batches:
            for record in batch:
                yield record


def text_of(events: Sequence[Event]) -> str:
    return "".join(texts_of(events).values())


def texts_of(events: Sequence[Event]) -> dict[int, str]:
    """By turn, as a client puts them together that knows only what is told: a turn that begins again is empty."""
    texts: dict[int, str] = {}
    for event in events:
        match event:
            case AgentStart():
                texts[event.turn] = ""
            case AgentChunk():
                before = texts.get(event.turn, "")
                assert event.offset == len(before)
                texts[event.turn] = before + event.text
    return texts
