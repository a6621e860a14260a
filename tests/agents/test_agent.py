"""The respond loop with tools, against a scripted model."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from riverrun.agents.agent import ROUNDS, Agent
from riverrun.agents.events import AgentChunk, AgentComplete, CodeChange, Event, Interaction
from riverrun.agents.exchange import Message, ModelError
from riverrun.agents.model import OpenAIModel
from riverrun.agents.tools import Answer, Tool, tool
from tests.model_server import ModelServer

Connect = Callable[..., OpenAIModel]


async def add(a: int, b: int) -> str:
    """Adds."""
    return str(a + b)


def call(name: str, arguments: str, id: str = "c1", index: int = 0) -> dict[str, Any]:
    return {"tool_call": {"name": name, "arguments": arguments, "id": id, "index": index}, "pieces": 3}


async def told(model: OpenAIModel, *tools: Tool) -> list[Event]:
    agent = Agent("Ada", "calculates", "You calculate.", tools)
    return [event async for event in agent.respond(model, [Message(role="user", content="Hello")])]


def steps_of(events: list[Event]) -> list[tuple[str, str | None, str]]:
    return [(event.kind, event.call_id, event.content) for event in events if isinstance(event, Interaction)]


async def test_a_tool_is_called_and_its_answer_goes_back_to_the_model(server: ModelServer, connected: Connect) -> None:
    server.script([{"text": "Let me see."}, call("add", '{"a": 2, "b": 3}'), {"finish": "tool_calls"}], times=1)
    server.script([{"text": "It is 5."}])
    events = await told(connected(), tool(add))

    assert steps_of(events) == [("tool_call", "1.1", ""), ("tool_response", "1.1", "5")]
    asked = next(event for event in events if isinstance(event, Interaction))
    assert asked.tool_arguments == {"a": 2, "b": 3}
    end = events[-1]
    assert isinstance(end, AgentComplete)
    assert end.content == "Let me see.\n\nIt is 5."
    assert end.finish_reason == "stop"
    assert end.usage is not None
    chunks = [event for event in events if isinstance(event, AgentChunk)]
    assert [chunk.offset for chunk in chunks] == [0, len("Let me see.")]
    first, second = (request["body"] for request in server.requests())
    assert first["tools"][0]["function"]["name"] == "add"
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][-1] == {"role": "tool", "content": "5", "tool_call_id": "c1"}


async def test_several_calls_run_side_by_side_and_are_answered_in_order(
    server: ModelServer, connected: Connect
) -> None:
    arrived = asyncio.Event()

    async def slow() -> str:
        """Ends after the other one has."""
        await arrived.wait()
        return "slow"

    async def quick() -> str:
        """Lets the other one end."""
        arrived.set()
        return "quick"

    server.script([call("slow", "{}", "s"), call("quick", "{}", "q", index=1)], times=1)
    server.script([{"text": "Both."}])
    events = await told(connected(), tool(slow), tool(quick))

    assert [step[:2] for step in steps_of(events)] == [
        ("tool_call", "1.1"),
        ("tool_call", "1.2"),
        ("tool_response", "1.2"),
        ("tool_response", "1.1"),
    ]
    answers = server.requests()[1]["body"]["messages"][-2:]
    assert [answer["content"] for answer in answers] == ["slow", "quick"]


async def test_calls_are_told_apart_when_the_server_repeats_its_ids(server: ModelServer, connected: Connect) -> None:
    server.script([call("add", '{"a": 1, "b": 1}', "call_0")], times=2)
    server.script([{"text": "Done."}])
    events = await told(connected(), tool(add))

    assert [step[:2] for step in steps_of(events)] == [
        ("tool_call", "1.1"),
        ("tool_response", "1.1"),
        ("tool_call", "1.2"),
        ("tool_response", "1.2"),
    ]
    sent = server.requests()[2]["body"]["messages"]
    assert [message["tool_calls"][0]["id"] for message in sent if "tool_calls" in message] == ["call_0", "call_0"]
    assert [message["tool_call_id"] for message in sent if message["role"] == "tool"] == ["call_0", "call_0"]


async def test_what_is_wrong_with_a_call_is_shown_and_told_to_the_model(
    server: ModelServer, connected: Connect
) -> None:
    server.script([call("add", '{"a": 2'), call("subtract", "{}", "c2", index=1)], times=1)
    server.script([{"text": "Sorry."}])
    events = await told(connected(), tool(add))
    responses = [content for kind, _, content in steps_of(events) if kind == "tool_response"]
    assert any(content.startswith("The arguments are wrong") for content in responses)
    assert "There is no tool 'subtract'; there are: add." in responses
    raw = next(event for event in events if isinstance(event, Interaction))
    assert (raw.tool_arguments, raw.content) == (None, '{"a": 2')


async def test_rounds_are_bounded_and_the_last_one_has_to_answer(server: ModelServer, connected: Connect) -> None:
    server.script([call("add", '{"a": 1, "b": 1}')], times=ROUNDS - 1)
    server.script([{"text": "Enough."}])
    events = await told(connected(), tool(add))
    end = events[-1]
    assert isinstance(end, AgentComplete)
    assert end.content == "Enough."
    assert "tools" in server.requests()[-2]["body"]
    assert "tools" not in server.requests()[-1]["body"]


async def test_what_a_tool_changed_is_told(server: ModelServer, connected: Connect) -> None:
    async def write() -> Answer:
        """Writes a file."""
        return Answer("Written.", [CodeChange(path="a.py", change="created", diff="+1")])

    server.script([call("write", "{}")], times=1)
    server.script([{"text": "Done."}])
    change = next(event for event in await told(connected(), tool(write)) if isinstance(event, CodeChange))
    assert (change.agent, change.path, change.change) == ("Ada", "a.py", "created")


async def test_leaving_stops_a_tool_that_is_at_work(server: ModelServer, connected: Connect) -> None:
    began, stopped = asyncio.Event(), asyncio.Event()

    async def hang() -> str:
        """Never ends."""
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return ""

    server.script([call("hang", "{}")], times=1)
    work = asyncio.create_task(told(connected(), tool(hang)))
    await began.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert stopped.is_set()


async def test_a_model_that_fails_after_a_tool_says_so(server: ModelServer, connected: Connect) -> None:
    server.script([call("add", '{"a": 1, "b": 1}')], times=1)
    server.script([{"status": 401, "body": {"error": {"message": "no"}}}])
    with pytest.raises(ModelError):
        await told(connected(), tool(add))
