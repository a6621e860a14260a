"""Stop, pressed in the middle of every step of every team: what is open is closed, and the run ends as cancelled."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig

from riverrun.agents.context import Context
from riverrun.agents.events import AgentComplete, AgentStart, Complete, Error, Event, Progress
from riverrun.agents.model import ModelOptions, OpenAIModel
from riverrun.agents.teams import registry
from riverrun.runs.journal import Journal
from riverrun.runs.runner import Runner
from riverrun.runs.teams import Teams
from tests.model_server import ModelServer
from tests.runs.journal_kit import journal_on

ROUTING = {"reason": "They know.", "asks": [{"agent": "Critic", "task": "Find faults"}]}
INTENT = {"goal": "Know.", "criteria": []}
PLAN = {"steps": [{"id": "look", "purpose": "Look outside"}]}
REVIEW = {"satisfied": False, "judgement": "Not yet.", "work": "Write it down."}
SATISFIED = {"satisfied": True, "judgement": "It is done."}

# What the model says, call by call; each of them is one place in which a run can be stopped.
CALLS: dict[str, list[Any]] = {
    "assistant": ["An answer."],
    "coordinator": [ROUTING, "A fault.", "An answer."],
    "planning": [INTENT, PLAN, "Rain.", {"memories": []}, "An answer."],
    "coders": [REVIEW, "Written.", SATISFIED, "Done."],
}
PLACES = [(team, number) for team, calls in CALLS.items() for number in range(len(calls))]


class Keeping:
    """A project that takes memories, so that the planning team has something to decide."""

    @asynccontextmanager
    async def open(self, project_id: UUID, run_id: UUID) -> AsyncIterator[Context]:
        yield Context(memory=self)

    async def keep(self, content: str) -> None:
        raise AssertionError(f"nothing to keep, but {content!r}")


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer.start() as server:
        yield server


@asynccontextmanager
async def runner_on(
    database: SQLAlchemyAsyncConfig, server: ModelServer, time_limit: float = 0.0
) -> AsyncIterator[tuple[Runner, Journal]]:
    model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model"))
    sessions = database.create_session_maker()
    async with journal_on(database) as journal:
        teams = Teams(registry(), sessions)
        runner = Runner(
            journal,
            sessions,
            teams,
            Keeping(),
            model,
            limit=10,
            message_limit=1000,
            time_limit=time_limit,
            grace=5,
        )
        async with runner.working():
            yield runner, journal
    await model.aclose()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("team", "place"), PLACES)
async def test_stop_in_the_middle_of_a_step(
    team: str, place: int, database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    server.reset()
    for number, said in enumerate(CALLS[team]):
        text = said if isinstance(said, str) else json.dumps(said)
        held = [{"gate": "held"}] if number == place else []
        server.script([{"text": text[:4]}, *held, {"text": text[4:]}], times=1)
    async with runner_on(database, server) as (runner, journal):
        started = await runner.start("Is it raining?", team)
        await asyncio.to_thread(server.wait_gate, "held")
        await runner.cancel(started.run_id)
        events: list[Event] = []
        async with aclosing(journal.follow(started.run_id)) as batches:
            async for batch in batches:
                events += [record.event for record in batch]
        await asyncio.to_thread(server.wait_closed, place)  # the model is told too

    end = events[-1]
    assert isinstance(end, Complete)
    assert end.status == "cancelled"
    opened = [event.turn for event in events if isinstance(event, AgentStart)]
    closed = {event.turn: event for event in events if isinstance(event, AgentComplete)}
    assert sorted(closed) == opened
    assert closed[opened[-1]].finish_reason == "cancelled"
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1
    assert len(server.requests()) == place + 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("team", list(CALLS))
async def test_left_alone_it_asks_the_model_for_just_these_steps(
    team: str, database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    server.reset()
    for said in CALLS[team]:
        server.script([{"text": said if isinstance(said, str) else json.dumps(said)}], times=1)
    async with runner_on(database, server) as (runner, journal):
        started = await runner.start("Is it raining?", team)
        async with aclosing(journal.follow(started.run_id)) as batches:
            events = [record.event async for batch in batches for record in batch]
    end = events[-1]
    assert isinstance(end, Complete)
    assert (end.status, end.message.content) == ("complete", CALLS[team][-1])
    assert len(server.requests()) == len(CALLS[team])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_run_that_takes_too_long_is_ended_and_keeps_its_text(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    server.reset()
    server.script([{"text": "So far."}, {"gate": "never"}])
    async with asyncio.timeout(30), runner_on(database, server, time_limit=1.0) as (runner, journal):
        started = await runner.start("Is it raining?", "assistant")
        events: list[Event] = []
        async with aclosing(journal.follow(started.run_id)) as batches:
            async for batch in batches:
                events += [record.event for record in batch]
        await asyncio.to_thread(server.wait_closed, 0)
        *_, error, end = events
        assert isinstance(error, Error)
        assert isinstance(end, Complete)
        assert (error.code, error.retryable) == ("time_limit", True)
        assert (end.status, end.message.content) == ("failed", "So far.")

        server.reset()
        server.script([{"text": "In time."}])
        await runner.start("And now?", conversation_id=started.conversation_id)
