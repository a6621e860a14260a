"""What a client of a run has to get, whatever happens to its line and its server."""

import asyncio
from contextlib import aclosing
from uuid import UUID

from riverrun.agents.events import AgentChunk, Complete, Event
from riverrun.client import Reply, Run
from tests.model_server import ModelServer
from tests.runs.journal_kit import texts_of
from tests.server import Server


def check(events: list[Event], text: str) -> None:
    """Each event once, and their deltas alone are the whole text."""
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert sum(isinstance(event, Complete) for event in events) == 1
    told = texts_of(events)
    assert told[max(told)] == text
    reply = Reply(events[0].run_id, UUID(int=0), UUID(int=0))
    for event in events:
        reply.apply(event)
    assert reply.text == text


async def read_through_a_restart(run: Run, server: Server, model: ModelServer, gate: str) -> str:
    """Kills the server at the first text, and starts it again; the text at the end."""
    events: list[Event] = []
    killed = False
    async with aclosing(run.events()) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, AgentChunk) and not killed:
                killed = True
                server.kill()
                model.open_gate(gate)
                await asyncio.to_thread(server.start)
    end = events[-1]
    assert isinstance(end, Complete)
    check(events, end.message.content)
    return end.message.content
