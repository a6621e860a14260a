"""The coordinator's team against a scripted model: who is asked, side by side, and what becomes of who fails."""

import asyncio
import json
from collections.abc import Callable

import pytest

from riverrun.agents.coordinator import Coordinator
from riverrun.agents.demo import DemoModel
from riverrun.agents.events import AgentChunk, AgentComplete, AgentStart, Event, Interaction, Progress
from riverrun.agents.exchange import Message, Model, ModelError
from riverrun.agents.model import OpenAIModel
from riverrun.agents.team import Task
from tests.model_server import ModelServer

Connect = Callable[..., OpenAIModel]


async def work(model: Model, team: Coordinator | None = None, question: str = "Is it safe?") -> list[Event]:
    task = Task(messages=[Message(role="user", content=question)], model=model)
    return [event async for event in (team or Coordinator()).run(task)]


def route(server: ModelServer, **tasks: str) -> None:
    asks = [{"agent": agent, "task": task} for agent, task in tasks.items()]
    server.script([{"text": json.dumps({"reason": "They know.", "asks": asks}), "per": 7}], times=1)


def turns_of(events: list[Event]) -> dict[str, AgentComplete]:
    return {event.agent or "": event for event in events if isinstance(event, AgentComplete)}


def messages_of(events: list[Event]) -> list[tuple[str | None, str | None]]:
    return [(e.agent, e.to_agent) for e in events if isinstance(e, Interaction) and e.kind == "message"]


async def test_it_routes_asks_side_by_side_and_answers(server: ModelServer, connected: Connect) -> None:
    route(server, Researcher="Find facts", Critic="Find faults")
    # Each waits for the other to have begun, so that this only ends if both are at work at the same time.
    server.script([{"text": "fact "}, {"gate": "facts"}, {"text": "one"}], match="Find facts")
    server.script([{"text": "fault "}, {"gate": "faults"}, {"text": "one"}], match="Find faults")
    server.script([{"text": "It is safe."}], match="Is it safe?")
    working = asyncio.create_task(work(connected()))
    await asyncio.to_thread(server.wait_gate, "facts")
    await asyncio.to_thread(server.wait_gate, "faults")
    server.open_gate("faults")
    server.open_gate("facts")
    events = await working

    starts = [event for event in events if isinstance(event, AgentStart)]
    assert [(s.turn, s.agent, s.lane, s.parent) for s in starts] == [
        (1, "Coordinator", "support", None),
        (2, "Researcher", "support", 1),
        (3, "Critic", "support", 1),
        (4, "Writer", "answer", 1),
    ]
    assert turns_of(events)["Writer"].content == "It is safe."
    assert set(messages_of(events)) == {
        ("Coordinator", "Researcher"),
        ("Coordinator", "Critic"),
        ("Researcher", "Writer"),
        ("Critic", "Writer"),
    }
    instructions = server.requests()[-1]["body"]["messages"][0]["content"]
    assert "fact one" in instructions
    assert "fault one" in instructions


async def test_progress_counts_turns_and_never_falls(server: ModelServer, connected: Connect) -> None:
    route(server, Researcher="Find facts", Critic="Find faults")
    fractions = [event.fraction for event in await work(connected()) if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)
    assert {0.25, 0.5, 0.75} <= set(fractions)


async def test_who_fails_is_reported_and_left_out(server: ModelServer, connected: Connect) -> None:
    route(server, Researcher="Find facts", Critic="Find faults")
    server.script([{"text": "half a fact"}, {"cut": "reset"}], match="Find facts")
    server.script([{"text": "a fault"}], match="Find faults")
    server.script([{"text": "Answer."}], match="Is it safe?")
    events = await work(connected(retries=0))

    turns = turns_of(events)
    assert (turns["Researcher"].finish_reason, turns["Researcher"].content) == ("error", "half a fact")
    assert turns["Writer"].content == "Answer."
    assert any(event.message == "Researcher was left out" for event in events if isinstance(event, Progress))
    instructions = server.requests()[-1]["body"]["messages"][0]["content"]
    assert "half a fact" not in instructions
    assert "a fault" in instructions


async def test_who_is_slow_is_left_out(server: ModelServer, connected: Connect) -> None:
    route(server, Critic="Find faults")
    server.script([{"text": "hm"}, {"stall": True}], match="Find faults")
    server.script([{"text": "Answer."}], match="Is it safe?")
    events = await work(connected(), Coordinator(patience=0.3))
    assert turns_of(events)["Critic"].finish_reason == "error"
    assert turns_of(events)["Writer"].content == "Answer."
    await asyncio.to_thread(server.wait_closed, 1)


async def test_a_routing_that_cannot_be_used_is_sent_back_once(server: ModelServer, connected: Connect) -> None:
    route(server, Oracle="Foresee")
    route(server, Critic="Find faults")
    events = await work(connected())
    assert "Critic" in turns_of(events)
    assert "there is no agent 'Oracle'" in server.requests()[1]["body"]["messages"][-1]["content"]


async def test_a_coordinator_that_cannot_decide_leaves_it_to_the_writer(
    server: ModelServer, connected: Connect
) -> None:
    server.script([{"text": "I would rather not."}], times=2)
    server.script([{"text": "Answer."}])
    events = await work(connected())
    assert list(turns_of(events)) == ["Coordinator", "Writer"]
    assert turns_of(events)["Writer"].content == "Answer."


async def test_a_writer_that_fails_ends_the_run(server: ModelServer, connected: Connect) -> None:
    route(server)
    server.script([{"status": 401, "body": {"error": {"message": "no"}}}])
    with pytest.raises(ModelError):
        await work(connected())


async def test_stopping_stops_every_lane(server: ModelServer, connected: Connect) -> None:
    route(server, Researcher="Find facts", Critic="Find faults")
    server.script([{"gate": "facts"}], match="Find facts")
    server.script([{"gate": "faults"}], match="Find faults")
    working = asyncio.create_task(work(connected()))
    await asyncio.to_thread(server.wait_gate, "facts")
    await asyncio.to_thread(server.wait_gate, "faults")
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    for n in (1, 2):
        await asyncio.to_thread(server.wait_closed, n)


async def test_the_demo_model_drives_it() -> None:
    events = await work(DemoModel(pace=0), question="Show me a table of rivers")
    turns = turns_of(events)
    assert set(turns) == {"Coordinator", "Researcher", "Analyst", "Critic", "Writer"}
    assert "|:--|" in turns["Writer"].content
    assert "rivers" in turns["Critic"].content
    assert any(isinstance(event, AgentChunk) for event in events)
