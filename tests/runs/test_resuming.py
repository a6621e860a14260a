"""A run whose process died after any of its events goes on from the last completed step, and comes to the same end."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import delete, insert, update

from riverrun.agents.context import Context
from riverrun.agents.events import (
    AgentChunk,
    AgentComplete,
    Complete,
    Event,
    Interaction,
    Progress,
    encode,
)
from riverrun.agents.model import ModelOptions, OpenAIModel
from riverrun.agents.past import INTERRUPTED
from riverrun.agents.teams import registry
from riverrun.agents.tools import tool
from riverrun.persistence.statements import EVENT, RUN
from riverrun.runs.journal import Journal, Recorded, to_row
from riverrun.runs.runner import MOST_OWNERS, Runner
from riverrun.runs.teams import Teams
from riverrun.runs.view import fold
from tests.model_server import ModelServer
from tests.runs.journal_kit import collect, journal_on, texts_of

ROUTING = {"reason": "They know.", "asks": [{"agent": "Critic", "task": "Find faults"}]}
INTENT = {"goal": "Know.", "criteria": []}
PLAN = {"steps": [{"id": "look", "purpose": "Look", "tool": "kit__look"}, {"id": "tell", "purpose": "Tell"}]}
REVIEW = {"satisfied": False, "judgement": "Not yet.", "work": "Write it down."}
SATISFIED = {"satisfied": True, "judgement": "It is done."}
LOOK = ("kit__look", {"at": "the sky"})

# What the model says, call by call: a text, a decision, or a call of a tool.
CALLS: dict[str, list[Any]] = {
    "assistant": [LOOK, LOOK, "It rains."],
    "coordinator": [ROUTING, "A fault.", "An answer."],
    "planning": [INTENT, PLAN, LOOK, "Rain.", "Told.", {"memories": ["It rains here."]}, "An answer."],
    "coders": [REVIEW, LOOK, "Written.", SATISFIED, "Done."],
}


class Sky:
    """A project with one tool, which counts how often it is used, and with memories."""

    def __init__(self) -> None:
        self.looks = 0
        self.kept: list[str] = []

    @asynccontextmanager
    async def open(self, project_id: UUID, run_id: UUID) -> AsyncIterator[Context]:
        yield Context(tools=[tool(self.kit__look)], offered=["kit"], memory=self)

    async def kit__look(self, at: str) -> str:
        """Look at something."""
        self.looks += 1
        return f"{at} is grey"

    async def keep(self, content: str) -> None:
        self.kept.append(content)


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer.start() as server:
        yield server


def say(server: ModelServer, calls: Sequence[Any]) -> None:
    server.reset()
    for said in calls:
        match said:
            case (name, arguments):
                call = {"name": name, "arguments": json.dumps(arguments)}
                server.script([{"text": "Let me see."}, {"tool_call": call}], times=1)
            case str():
                server.script([{"text": said[:3]}, {"text": said[3:]}], times=1)
            case _:
                server.script([{"text": json.dumps(said)}], times=1)


@asynccontextmanager
async def runner_on(
    database: SQLAlchemyAsyncConfig, server: ModelServer, sky: Sky
) -> AsyncIterator[tuple[Runner, Journal]]:
    model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model"))
    sessions = database.create_session_maker()
    async with journal_on(database) as journal:
        teams = Teams(registry(), sessions)
        runner = Runner(journal, sessions, teams, sky, model, limit=10, message_limit=1000, grace=5)
        async with runner.working():
            yield runner, journal
    await model.aclose()


async def interrupt(database: SQLAlchemyAsyncConfig, saved: Sequence[Event], **values: object) -> None:
    """As if the process had died when these events were all that it had saved."""
    run_id = saved[0].run_id
    async with database.get_engine().begin() as connection:
        await connection.execute(delete(EVENT).where(EVENT.c.run_id == run_id))
        await connection.execute(insert(EVENT), [to_row(Recorded(event, encode(event))) for event in saved])
        left = {"status": "running", "ended_at": None, "owner": None, "leased_until": 0.0, "fence": 1, **values}
        await connection.execute(update(RUN).where(RUN.c.id == run_id).values(left))


async def whole_run(
    database: SQLAlchemyAsyncConfig, server: ModelServer, team: str
) -> tuple[UUID, list[Event], list[str]]:
    say(server, CALLS[team])
    sky = Sky()
    async with runner_on(database, server, sky) as (runner, journal):
        started = await runner.start("Is it raining?", team)
        events = await collect(journal, started.run_id)
    assert len(server.requests()) == len(CALLS[team]), "needs a run that takes all of its steps to mean anything"
    assert sky.looks == sum(isinstance(said, tuple) for said in CALLS[team])
    return started.run_id, events, sky.kept


def asked(events: Sequence[Event]) -> int:
    """How many answers of the model are completed with these events: those that ended a turn or called a tool."""
    return sum(isinstance(event, AgentComplete) or called(event) for event in events)


def called(event: Event) -> bool:
    return isinstance(event, Interaction) and event.kind == "tool_call"


def answered(event: Event) -> bool:
    return isinstance(event, Interaction) and event.kind == "tool_response"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("team", list(CALLS))
async def test_after_any_event_the_run_goes_on_from_the_last_completed_step(
    team: str, database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    run_id, whole, kept = await whole_run(database, server, team)
    for seq in range(1, len(whole)):
        before = whole[:seq]
        await interrupt(database, before)
        say(server, CALLS[team][asked(before) :])
        sky = Sky()
        async with runner_on(database, server, sky) as (_, journal):
            events = await collect(journal, run_id)

        assert events[:seq] == before
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert_same_end(events, whole)
        # what was completed is not done again, and what was not is done once
        assert len(server.requests()) == len(CALLS[team]) - asked(before)
        assert sky.looks == sum(map(called, whole)) - sum(map(called, before))
        assert sky.kept in ([], kept)
        interrupted = sum(map(called, before)) > sum(map(answered, before))
        contents = [event.content for event in events if isinstance(event, Interaction)]
        assert contents.count(INTERRUPTED) == interrupted


def assert_same_end(events: Sequence[Event], whole: Sequence[Event]) -> None:
    end, wanted = events[-1], whole[-1]
    assert isinstance(end, Complete)
    assert isinstance(wanted, Complete)
    assert [type(event) for event in events].count(Complete) == 1
    assert (end.status, end.message) == ("complete", wanted.message)
    assert texts_of(events) == texts_of(whole)
    assert_nothing_twice(events, whole)
    fractions = [event.fraction for event in events if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    resumed = [event for event in events if isinstance(event, Progress) and event.step == "resumed"]
    assert len(resumed) == 1


def assert_nothing_twice(events: Sequence[Event], whole: Sequence[Event]) -> None:
    def told(events: Sequence[Event]) -> list[tuple[object, ...]]:
        view = fold(UUID(int=0), UUID(int=0), events)
        return [
            (turn.number, turn.agent, turn.state, turn.text, step.kind, step.tool_name, step.call_id)
            for turn in view.turns.values()
            for step in turn.interactions
        ]

    assert told(events) == told(whole)
    steps = [[event.message for event in log if isinstance(event, Progress)] for log in (events, whole)]
    assert [step for step in steps[0] if step.startswith("The server was") is False] == steps[1]


@pytest.mark.parametrize("seq", [1, 4, 6, 9])
async def test_a_run_that_is_interrupted_again_and_again_comes_to_the_same_end(
    seq: int, database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    """Each time some events further than the time before."""
    run_id, whole, _ = await whole_run(database, server, "assistant")
    events, looks = whole, 0
    for further in range(MOST_OWNERS - 1):
        cut = min(seq + 2 * further, len(events) - 1)
        before = events[:cut]
        await interrupt(database, before, fence=further + 1)
        say(server, CALLS["assistant"][asked(before) :])
        sky = Sky()
        async with runner_on(database, server, sky) as (_, journal):
            events = await collect(journal, run_id)
        assert events[: len(before)] == before
        looks = sum(map(called, before)) + sky.looks
        assert len(server.requests()) == len(CALLS["assistant"]) - asked(before)
    end = events[-1]
    assert isinstance(end, Complete)
    assert (end.status, end.message.content) == ("complete", texts_of(events)[1])
    assert texts_of(events) == texts_of(whole)
    assert looks == 2


async def test_a_run_that_took_several_processes_with_it_is_given_up(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    run_id, whole, _ = await whole_run(database, server, "assistant")
    seq = next(event.seq for event in whole if isinstance(event, AgentChunk))
    await interrupt(database, whole[:seq], fence=MOST_OWNERS)
    say(server, [])
    async with runner_on(database, server, Sky()) as (_, journal):
        events = await collect(journal, run_id)
    assert server.requests() == []
    end = events[-1]
    assert isinstance(end, Complete)
    assert (end.status, end.message.content) == ("failed", texts_of(whole[:seq])[1])


async def test_a_run_that_was_stopped_and_then_interrupted_is_stopped(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    run_id, whole, _ = await whole_run(database, server, "coordinator")
    await interrupt(database, whole[:4], stopping=True)
    say(server, [])
    async with runner_on(database, server, Sky()) as (_, journal):
        events = await collect(journal, run_id)
    assert server.requests() == []
    assert isinstance(events[-1], Complete)
    assert events[-1].status == "cancelled"


async def test_the_model_is_told_what_became_of_an_interrupted_call(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    run_id, whole, _ = await whole_run(database, server, "assistant")
    second = [event.seq for event in whole if called(event)][1]
    await interrupt(database, whole[:second])
    say(server, ["It rains."])
    async with runner_on(database, server, Sky()) as (_, journal):
        await collect(journal, run_id)
    _, question, call, answer, again, interrupted = server.requests()[0]["body"]["messages"]
    assert question == {"role": "user", "content": "Is it raining?"}
    assert (call["content"], call["tool_calls"][0]["function"]["name"]) == ("Let me see.", "kit__look")
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == LOOK[1]
    assert (answer["role"], answer["content"]) == ("tool", "the sky is grey")
    assert again["tool_calls"][0]["id"] == interrupted["tool_call_id"] != answer["tool_call_id"]
    assert interrupted["content"] == INTERRUPTED


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_shutdown_leaves_what_takes_too_long_to_who_comes_next(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    server.reset()
    server.script([{"text": "Never "}, {"gate": "held"}], times=1)
    sessions = database.create_session_maker()
    model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model"))
    async with journal_on(database) as journal:
        runner = Runner(
            journal, sessions, Teams(registry(), sessions), Sky(), model, limit=10, message_limit=1000, grace=0.01
        )
        async with runner.working():
            started = await runner.start("Is it raining?")
            await asyncio.to_thread(server.wait_gate, "held")
    await model.aclose()
    await asyncio.to_thread(server.wait_closed, 0)
    say(server, ["It rains."])
    async with runner_on(database, server, Sky()) as (_, journal):
        events = await collect(journal, started.run_id)
    assert isinstance(events[-1], Complete)
    assert (events[-1].status, events[-1].message.content) == ("complete", "It rains.")
    assert texts_of(events) == {1: "It rains."}
