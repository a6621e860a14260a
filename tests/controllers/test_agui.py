"""AG-UI's own client talks to the teams."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from httpx_sse import EventSource

from riverrun.agents.events import (
    EPOCH,
    NIL,
    AgentChunk,
    AgentComplete,
    AgentStart,
    Complete,
    Event,
    FinalMessage,
    Interaction,
    Start,
)
from riverrun.controllers.agui import AguiMessage, RunAgentInput, Telling
from tests.controllers.agui_kit import Ran, checked, interface
from tests.controllers.api_kit import Json, Program
from tests.model_server import ModelServer
from tests.server import Server

QUESTION = [{"id": "1", "role": "user", "content": "Hello?"}]


def thread() -> str:
    return f"thread-{uuid4()}"


def body(**fields: Any) -> Json:
    return {"threadId": thread(), "runId": "run", "messages": QUESTION, **fields}


def part(text: str) -> Json:
    return {"type": "text", "text": text}


async def contents(program: Program, conversation: str) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in await program.messages(conversation)]


def asked_of(model: ModelServer, text: str) -> list[Json]:
    """The messages of the last request whose last message is this."""
    bodies = [request["body"] for request in model.requests() if request["body"]]
    found = [body["messages"] for body in bodies if body.get("messages", [{}])[-1].get("content") == text]
    messages: list[Json] = found[-1]
    return messages


# Runs


async def test_a_run_is_told_from_its_beginning_to_its_end(
    server: Server, program: Program, model: ModelServer
) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3}
    model.script([{"text": "One two three."}, {"finish": "stop", "usage": usage}], match="agui says", times=1)
    name = thread()
    async with interface(f"{server.url}/agui/assistant", name) as client:
        ran = await client.say("agui says", runId="run-1")
    assert ran.failure is None
    first, last = ran.events[0], ran.events[-1]
    assert (first["type"], first["threadId"], first["runId"]) == ("RUN_STARTED", name, "run-1")
    assert (last["type"], last["threadId"], last["runId"]) == ("RUN_FINISHED", name, "run-1")
    assert last["outcome"] == {"type": "success"}
    assert last["usage"] == [{"model": "scripted-model", "inputTokens": 7, "outputTokens": 3, "totalTokens": 10}]
    assert ran.result == "One two three."
    assert ran.dialogue == [("user", "agui says"), ("assistant", "One two three.")]
    texts = [event["type"] for event in ran.of("TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END")]
    assert (texts[0], set(texts[1:-1]), texts[-1]) == (
        "TEXT_MESSAGE_START",
        {"TEXT_MESSAGE_CONTENT"},
        "TEXT_MESSAGE_END",
    )
    run = (await program.client.get(f"/api/runs/{ran.ours['run_id']}")).json()
    assert (run["status"], run["content"]) == ("complete", "One two three.")
    assert all(event["timestamp"] > 1_600_000_000_000 for event in ran.events)


async def test_text_comes_as_it_is_written(server: Server, model: ModelServer) -> None:
    model.script([{"text": "One "}, {"gate": "agui-rest"}, {"text": "two."}], match="agui streams", times=1)
    ran = Ran()
    said = ""
    async with interface(f"{server.url}/agui/assistant", thread()) as client:
        async for event in client.saying(ran, "agui streams"):
            if event["type"] == "TEXT_MESSAGE_CONTENT":
                said += event["delta"]
            if said == "One ":
                model.open_gate("agui-rest")
    assert said == "One two."
    assert ran.dialogue[-1] == ("assistant", "One two.")


async def test_thoughts_are_reasoning(server: Server, model: ModelServer) -> None:
    model.script([{"reasoning": "Let me see."}, {"text": "I see."}], match="agui thinks", times=1)
    async with interface(f"{server.url}/agui/assistant", thread()) as client:
        ran = await client.say("agui thinks")
        again = await client.say("and again")
    assert [event["type"] for event in ran.events if event["type"].startswith("REASONING")] == [
        "REASONING_START",
        "REASONING_MESSAGE_START",
        "REASONING_MESSAGE_CONTENT",
        "REASONING_MESSAGE_END",
        "REASONING_END",
    ]
    assert ("reasoning", "Let me see.") in ran.dialogue
    assert again.failure is None, "a client sends reasoning back"


async def test_tools_are_told_with_their_arguments_and_results(
    server: Server, program: Program, model: ModelServer
) -> None:
    team = await team_with_files(program)
    call = {"name": "write_file", "arguments": '{"path": "agui.md", "content": "one"}'}
    model.script([{"text": "I write. "}, {"tool_call": call}], match="agui writes", times=1)
    model.script([{"text": "Written."}], match="agui writes", times=1)
    async with interface(f"{server.url}/agui/{team}", thread()) as client:
        ran = await client.say("agui writes")
        again = await client.say("Thanks.")
    started, arguments, ended, result = ran.of("TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT")
    assert started["toolCallName"] == "write_file"
    assert json.loads(arguments["delta"]) == {"path": "agui.md", "content": "one"}
    assert {started["toolCallId"], ended["toolCallId"]} == {result["toolCallId"]}
    assert "agui.md" in result["content"]
    _, assistant, tool = ran.messages
    assert assistant["content"] == ran.result == "I write. \n\nWritten."
    assert [made["function"]["name"] for made in assistant["toolCalls"]] == ["write_file"]
    assert tool["toolCallId"] == assistant["toolCalls"][0]["id"]
    (change,) = [event["value"] for event in ran.events if event.get("name") == "riverrun.code_change"]
    assert (change["path"], change["change"]) == ("agui.md", "created")
    assert again.failure is None, "a client sends calls and results back"


async def team_with_files(program: Program) -> str:
    name = f"Clerk {uuid4()}"
    fields = {"name": name, "instructions": "You write.", "tools": "files"}
    agent = await program.client.post("/agents", data=fields)
    members = agent.headers["location"].removeprefix("/agents#agent-")
    await program.client.post("/teams", data={"title": name, "members": members})
    teams = (await program.client.get("/api/teams")).json()
    return next(str(team["name"]) for team in teams if team["title"] == name)


async def test_supporting_agents_are_subagents(server: Server, program: Program, model: ModelServer) -> None:
    route_to_researcher(model, "agui asks around")
    async with interface(f"{server.url}/agui/coordinator", thread()) as client:
        ran = await client.say("agui asks around")
        again = await client.say("Which is longer?")
    run = await program.events(ran.ours["run_id"])
    turns = [event for event in run if event["type"] == "agent_start" and event["lane"] == "support"]
    announced = ran.of("SUBAGENT_STARTED")
    assert [event["name"] for event in announced] == [turn["agent"] for turn in turns] == ["Coordinator", "Researcher"]
    assert announced[1]["parentSubagentRunId"] == announced[0]["subagentRunId"]
    assert announced[1]["description"] == "Find facts for agui asks around"
    assert {event["subagentRunId"] for event in ran.of("SUBAGENT_FINISHED")} == {
        event["subagentRunId"] for event in announced
    }
    texts = [(event.get("subagentRunId"), event["delta"]) for event in ran.of("TEXT_MESSAGE_CONTENT")]
    assert "".join(text for subagent, text in texts if subagent == announced[1]["subagentRunId"]) == "Two facts."
    assert "".join(text for subagent, text in texts if subagent is None) == ran.result == "It is so."
    assert again.failure is None
    conversation = await contents(program, ran.ours["conversation_id"])
    assert [role for role, _ in conversation] == ["user", "assistant"] * 2


def route_to_researcher(model: ModelServer, question: str) -> None:
    """The coordinator asks the researcher, and then the writer answers."""
    asks = [{"agent": "Researcher", "task": f"Find facts for {question}"}]
    model.script([{"text": json.dumps({"reason": "They know.", "asks": asks})}], match=question, times=1)
    model.script([{"reasoning": "Where?"}, {"text": "Two facts."}], match=f"Find facts for {question}", times=1)
    model.script([{"text": "It is so."}], match=question, times=1)


async def test_a_client_from_before_subagents_is_not_told_of_them(program: Program, model: ModelServer) -> None:
    route_to_researcher(model, "agui of old")
    question = [{"id": "1", "role": "user", "content": "agui of old"}]
    async with program.client.stream("POST", "/agui/coordinator", json=body(messages=question)) as answer:
        events = [checked(json.loads(message.data)) async for message in EventSource(answer).aiter_sse()]
    assert not [event for event in events if event["type"].startswith("SUBAGENT") or "subagentRunId" in event]
    said = "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")
    assert said == events[-1]["result"] == "It is so."


async def test_steps_open_and_close(server: Server, program: Program) -> None:
    async with interface(f"{server.url}/agui/coordinator", thread()) as client:
        ran = await client.say("Compare the Weser and the Ems.")
    steps = [(event["type"], event["stepName"]) for event in ran.of("STEP_STARTED", "STEP_FINISHED")]
    assert steps[::2] == [("STEP_STARTED", name) for _, name in steps[::2]]
    assert steps[1::2] == [("STEP_FINISHED", name) for _, name in steps[::2]]
    told = [event["value"]["step"] for event in ran.events if event.get("name") == "riverrun.progress"]
    assert set(told) == {name for _, name in steps}


async def test_silence_is_filled_with_comments(program: Program, model: ModelServer) -> None:
    model.script([{"gate": "agui-awake"}, {"text": "Good morning."}], match="agui sleeps", times=1)
    question = [{"id": "1", "role": "user", "content": "agui sleeps"}]
    lines = []
    async with program.client.stream("POST", "/agui/assistant", json=body(messages=question)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == ":":
                model.open_gate("agui-awake")
    assert ":" in lines


# Endings


async def test_a_run_that_fails_ends_with_an_error(server: Server, program: Program, model: ModelServer) -> None:
    model.script([{"text": "Only a be"}, {"cut": "reset"}], match="agui fails")
    async with interface(f"{server.url}/agui/assistant", thread()) as client:
        ran = await client.say("agui fails")
        model.script([{"text": "Better now."}], match="agui recovers", times=1)
        again = await client.say("agui recovers")
    assert ran.types[-1] == "RUN_ERROR"
    run = (await program.client.get(f"/api/runs/{ran.ours['run_id']}")).json()
    assert (ran.events[-1]["message"], ran.events[-1]["code"]) == (run["error"]["message"], run["error"]["code"])
    assert ran.dialogue == [("user", "agui fails"), ("assistant", "Only a be")]
    assert again.result == "Better now."


async def test_a_run_that_somebody_stops_is_cancelled(server: Server, program: Program, model: ModelServer) -> None:
    model.script([{"text": "Half of "}, {"stall": True}], match="agui stops", times=1)
    ran = Ran()
    async with interface(f"{server.url}/agui/assistant", thread()) as client:
        async for event in client.saying(ran, "agui stops"):
            ran.events.append(event)
            if event["type"] == "TEXT_MESSAGE_CONTENT":
                await program.client.post(f"/api/runs/{ran.ours['run_id']}/cancel")
    assert ran.failure is None
    assert ran.events[-1]["outcome"] == {"type": "cancelled"}
    assert ran.dialogue[-1] == ("assistant", "Half of ")


async def test_a_run_goes_on_when_the_client_leaves(program: Program, model: ModelServer) -> None:
    model.script([{"text": "I am "}, {"gate": "agui-left"}, {"text": "still here."}], match="agui leaves", times=1)
    question = [{"id": "1", "role": "user", "content": "agui leaves"}]
    async with program.client.stream("POST", "/agui/assistant", json=body(messages=question)) as answer:
        told = EventSource(answer).aiter_sse()
        first, start = [json.loads((await anext(told)).data) for _ in range(2)]
    assert first["type"] == "RUN_STARTED"
    model.open_gate("agui-left")
    events = await program.events(start["value"]["run_id"])
    assert events[-1]["message"]["content"] == "I am still here."


# Threads


async def test_a_thread_is_one_conversation(server: Server, program: Program, model: ModelServer) -> None:
    name = thread()
    async with interface(f"{server.url}/agui/assistant", name) as client:
        first = await client.say("Name a river of this thread.")
        second = await client.say("Name another of this thread.")
    async with interface(f"{server.url}/agui/assistant", name) as client:
        third = await client.say("A client that has forgotten all.")
    conversations = {ran.ours["conversation_id"] for ran in (first, second, third)}
    assert len(conversations) == 1
    assert [role for role, _ in await contents(program, conversations.pop())] == ["user", "assistant"] * 3
    given = [message["content"] for message in asked_of(model, "A client that has forgotten all.")]
    assert "Name a river of this thread." in given


async def test_threads_are_apart(server: Server) -> None:
    async with interface(f"{server.url}/agui/assistant", thread()) as one:
        first = await one.say("The same words.")
    async with interface(f"{server.url}/agui/assistant", thread()) as other:
        second = await other.say("The same words.")
    assert first.ours["conversation_id"] != second.ours["conversation_id"]


async def test_the_id_of_a_conversation_is_its_thread(server: Server, program: Program) -> None:
    conversation = await program.new_conversation(title="Made elsewhere")
    async with interface(f"{server.url}/agui/assistant", conversation) as client:
        ran = await client.say("In here.")
    assert ran.ours["conversation_id"] == conversation
    assert ran.events[0]["threadId"] == conversation


async def test_a_question_that_is_edited_goes_on_from_the_reply_before_it(server: Server, model: ModelServer) -> None:
    async with interface(f"{server.url}/agui/assistant", thread()) as client:
        first = await client.say("The question before.")
        await client.say("The agui question that is edited.")
        await client.say("The edited agui question.", keep=2)
    given = [message["content"] for message in asked_of(model, "The edited agui question.")]
    assert given[1:] == ["The question before.", first.result, "The edited agui question."]


async def test_what_a_client_brings_into_a_new_thread_begins_its_conversation(
    program: Program, model: ModelServer
) -> None:
    brought = [
        {"id": "1", "role": "system", "content": "Talk like a pilot."},
        {
            "id": "2",
            "role": "user",
            "content": [{"type": "text", "text": "Where are "}, {"type": "text", "text": "we?"}],
        },
        {"id": "3", "role": "assistant", "content": "Over the Elbe."},
        {"id": "4", "role": "assistant", "content": "Void.", "metadata": {"riverrun": {"void": True}}},
        {"id": "5", "role": "assistant", "content": "A note.", "subagentRunId": "x"},
        {"id": "6", "role": "user", "content": "agui pilot?"},
    ]
    about = [{"description": "Shown on the screen", "value": "A map."}]
    sent = body(messages=brought, context=about, tools=[{"name": "f", "description": "d"}], state={"a": 1})
    async with program.client.stream("POST", "/agui/assistant", json=sent) as answer:
        events = [json.loads(message.data) async for message in EventSource(answer).aiter_sse()]
    conversation = events[1]["value"]["conversation_id"]
    assert (await contents(program, conversation))[:3] == [
        ("user", "Where are we?"),
        ("assistant", "Over the Elbe."),
        ("user", "agui pilot?"),
    ]
    system, *given = asked_of(model, "agui pilot?")
    assert "Talk like a pilot." in system["content"]
    assert "Shown on the screen: A map." in system["content"]
    assert [message["content"] for message in given] == ["Where are we?", "Over the Elbe.", "agui pilot?"]


async def test_a_thread_whose_conversation_was_deleted_is_not_found(server: Server, program: Program) -> None:
    async with interface(f"{server.url}/agui/assistant", thread()) as client:
        ran = await client.say("Delete me.")
        await program.client.delete(f"/api/conversations/{ran.ours['conversation_id']}")
        after = await client.say("Are you there?")
    assert after.failure is not None
    assert "HTTP 404" in after.failure
    assert "deleted" in after.failure


async def test_a_thread_that_is_at_work_is_busy(program: Program, model: ModelServer) -> None:
    model.script([{"gate": "agui-busy"}, {"text": "Done."}], match="agui works", times=1)
    sent = body(messages=[{"id": "1", "role": "user", "content": "agui works"}])
    async with program.client.stream("POST", "/agui/assistant", json=sent) as answer:
        await asyncio.to_thread(model.wait_gate, "agui-busy")
        refused = await program.client.post("/agui/assistant", json=sent)
        model.open_gate("agui-busy")
        await answer.aread()
    assert (refused.status_code, refused.json()["code"]) == (409, "busy")


# Refusals


@pytest.mark.parametrize(
    ("team", "sent", "status", "field"),
    [
        ("nobody", body(), 404, "team"),
        ("assistant", {}, 400, "threadId"),
        ("assistant", body(threadId=""), 400, "threadId"),
        ("assistant", body(runId=3), 400, "runId"),
        ("assistant", body(messages="hello"), 400, "messages"),
        ("assistant", body(messages=[]), 400, "messages"),
        ("assistant", body(messages=[{"id": "1", "role": "assistant", "content": "I begin."}]), 400, "messages"),
        ("assistant", body(messages=[{"id": "1", "role": "user", "content": [{"type": "image"}]}]), 400, "messages"),
    ],
)
async def test_what_cannot_be_run_is_refused(program: Program, team: str, sent: Json, status: int, field: str) -> None:
    answer = await program.client.post(f"/agui/{team}", json=sent)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field
    assert answer.json()["detail"]


# Further attempts, which only a run that changes hands has


def told(*events: Event) -> list[Json]:
    asked = RunAgentInput("thread", "run", [AguiMessage("user", content="?")], protocol_version="1.0")
    telling = Telling(asked)
    start = Start(conversation_id=NIL, user_message_id=NIL, message_id=UUID(int=1), team="assistant", model="m")
    message = FinalMessage(NIL, "assistant", "", None, EPOCH)
    events = (start, *events, Complete(status="complete", message=message))
    return [checked(told) for event in events for told in telling.tell(event)]


def texts(events: list[Json]) -> dict[str, str]:
    """The client's messages by id."""
    said: dict[str, str] = {}
    for event in events:
        if event["type"] == "TEXT_MESSAGE_CONTENT":
            said[event["messageId"]] = said.get(event["messageId"], "") + event["delta"]
    return said


def test_a_further_attempt_that_says_the_same_goes_on_in_the_same_message() -> None:
    events = told(
        AgentStart(turn=1),
        AgentChunk(turn=1, text="One two"),
        AgentStart(turn=1, attempt=2),
        AgentChunk(turn=1, text="One "),
        AgentChunk(turn=1, text="two three", offset=4),
        AgentComplete(turn=1, content="One two three", duration_ms=1),
    )
    assert list(texts(events).values()) == ["One two three"]


@pytest.mark.parametrize("again", [["Two ", "one"], ["One"]], ids=["other", "less"])
def test_a_further_attempt_that_says_something_else_is_another_message(again: list[str]) -> None:
    events = told(
        AgentStart(turn=1),
        AgentChunk(turn=1, text="One two"),
        AgentStart(turn=1, attempt=2),
        *(AgentChunk(turn=1, text=text) for text in again),
        AgentComplete(turn=1, content="".join(again), duration_ms=1),
    )
    (void, first), (_, second) = texts(events).items()
    assert (first, second) == ("One two", "".join(again))
    marked = [event["messageId"] for event in events if event.get("metadata") == {"riverrun": {"void": True}}]
    assert marked == [void]
    assert [event["type"] for event in events].count("TEXT_MESSAGE_END") == 2


def test_a_supporting_agent_is_announced_once_however_often_it_begins() -> None:
    events = told(
        AgentStart(turn=1, agent="Scout", lane="support", task="Look."),
        AgentStart(turn=1, agent="Scout", lane="support", attempt=2),
        AgentComplete(turn=1, content="", duration_ms=1, finish_reason="error"),
    )
    announced = [event for event in events if event["type"].startswith("SUBAGENT")]
    assert [event["type"] for event in announced] == ["SUBAGENT_STARTED", "SUBAGENT_ERROR"]
    assert (announced[0]["name"], announced[0]["description"]) == ("Scout", "Look.")


def test_a_call_that_never_gets_its_answer_is_not_left_to_the_client() -> None:
    events = told(
        AgentStart(turn=1),
        Interaction(turn=1, kind="tool_call", tool_name="search", tool_arguments={"q": "x"}, call_id="c1"),
        AgentComplete(turn=1, content="", duration_ms=1, finish_reason="cancelled"),
    )
    (result,) = [event for event in events if event["type"] == "TOOL_CALL_RESULT"]
    assert result["content"]
