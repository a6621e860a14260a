"""A reply from an OpenAI-compatible server, in the ways in which servers give one."""

import asyncio
import json
import logging
from contextlib import aclosing
from typing import Any

import pytest

from riverrun.agents.events import Usage
from riverrun.agents.model import (
    DemoModel,
    Finished,
    Message,
    ModelError,
    ModelOptions,
    Notice,
    OpenAIModel,
    Reasoning,
    Text,
    ToolCall,
    ToolSchema,
    connect,
)
from tests.agents.conftest import Connect
from tests.agents.replies import failure_of, reply_of, text_of
from tests.model_server import ModelServer, Step

FALLBACK = Notice("Streaming failed, so the whole reply was requested at once.")


def event(**choice: object) -> str:
    return "data: " + json.dumps({"choices": [{"index": 0, **choice}]}) + "\n\n"


# A stream


async def test_text_is_given_as_soon_as_it_is_written(server: ModelServer, connected: Connect) -> None:
    server.script([{"text": "Hello"}, {"gate": "more"}, {"text": " world"}])

    async with aclosing(connected().stream([Message("user", "Hi")])) as deltas:
        assert await anext(deltas) == Text("Hello")  # the server cannot have gone on
        server.open_gate("more")
        assert [delta async for delta in deltas] == [Text(" world"), Finished("stop", Usage(1, 2))]


async def test_many_pieces_make_up_the_text(server: ModelServer, connected: Connect) -> None:
    text = "Zwölf Boxkämpfer 🥊 jagen\n\nViktor über den Sylter Deich. " * 50
    server.script([{"text": text, "per": 3}])

    assert text_of(await reply_of(connected())) == text


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_is_told_apart(server: ModelServer, connected: Connect, field: str) -> None:
    server.script([{"reasoning": "Hm.", "field": field}, {"text": "Yes."}, {"finish": "length"}])

    assert (await reply_of(connected()))[:2] == [Reasoning("Hm."), Text("Yes.")]


async def test_the_server_counts_and_says_why_it_ended(server: ModelServer, connected: Connect) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
    server.script([{"text": "Yes"}, {"finish": "length", "usage": usage}])

    assert (await reply_of(connected()))[-1] == Finished("length", Usage(12, 34))


async def test_the_conversation_and_the_tools_are_sent(server: ModelServer, connected: Connect) -> None:
    call = ToolCall("c1", "weather", '{"city": "Bonn"}')
    conversation = [
        Message("system", "Be brief."),
        Message("user", "How is the weather?"),
        Message("assistant", tool_calls=[call]),
        Message("tool", "Rain", call_id="c1"),
    ]
    weather = ToolSchema("weather", "Tells the weather", {"type": "object"})

    async for _ in connected(key="secret").stream(conversation, [weather]):
        pass

    [request] = server.requests()
    assert request["body"] == {
        "model": "scripted-model",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "How is the weather?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city": "Bonn"}'},
                    }
                ],
            },
            {"role": "tool", "content": "Rain", "tool_call_id": "c1"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "weather",
                    "description": "Tells the weather",
                    "parameters": {"type": "object"},
                },
            }
        ],
    }


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(event(delta={"content": "Hi"}).replace("data: ", "data:"), id="no space after the colon"),
        pytest.param(event(delta={"content": "Hi"}).replace("\n", "\r\n"), id="CRLF"),
        pytest.param(": waiting\n\n: still\n\n" + event(delta={"content": "Hi"}), id="comments"),
        pytest.param("\n\n \n" + event(delta={"content": "Hi"}), id="empty lines first"),
        pytest.param("event: message\nid: 1\n" + event(delta={"content": "Hi"}), id="other fields"),
        pytest.param('data: {"choices": [], "usage": null}\n\n' + event(delta={"content": "Hi"}), id="no choices"),
        pytest.param(event(delta=None) + event(delta={"content": "Hi", "new": [1]}), id="odd and unknown fields"),
        pytest.param(event(delta={"content": [{"type": "text", "text": "Hi"}]}), id="content in parts"),
        pytest.param(event(delta={"refusal": "Hi"}), id="a refusal"),
    ],
)
async def test_dialects(server: ModelServer, connected: Connect, raw: str) -> None:
    server.script([{"raw": raw}, {"finish": "stop"}])

    assert await reply_of(connected()) == [Text("Hi"), Finished("stop", Usage(1, 0))]


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param([{"raw": event(delta={}, finish_reason="stop")}, {"end": True}], id="no DONE"),
        pytest.param([{"raw": event(delta={}, finish_reason="stop").rstrip()}, {"end": True}], id="no last newline"),
        pytest.param([{"raw": "data: [DONE]\n\n"}, {"end": True}], id="no finish reason"),
        pytest.param(
            [{"raw": event(delta={}, finish_reason="stop")}, {"cut": "clean"}], id="cut after the finish reason"
        ),
        pytest.param([{"raw": event(delta={}, finish_reason="stop")}, {"stall": True}], id="left open"),
    ],
)
async def test_other_endings(server: ModelServer, connected: Connect, ending: list[Step]) -> None:
    server.script([{"text": "Hi"}, *ending])

    async with asyncio.timeout(30):  # the patience with a stream that goes on is longer
        assert await reply_of(connected()) == [Text("Hi"), Finished("stop")]


# Tool calls


def part(**fields: object) -> Step:
    return {"delta": {"tool_calls": [fields]}}


async def test_a_tool_call_is_given_when_it_is_complete(server: ModelServer, connected: Connect) -> None:
    call = {"name": "add", "arguments": '{"a": 1, "b": 2}', "id": "c1"}
    server.script([{"text": "Well:"}, {"tool_call": call, "pieces": 5}, {"finish": "tool_calls"}])

    [text, tool_call, finished] = await reply_of(connected())

    assert (text, tool_call) == (Text("Well:"), ToolCall("c1", "add", '{"a": 1, "b": 2}'))
    assert isinstance(finished, Finished)
    assert finished.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [
                part(index=0, id="a", function={"name": "f", "arguments": ""}),
                part(index=1, id="b", function={"name": "g", "arguments": ""}),
                part(index=0, function={"arguments": '{"x":1}'}),
                part(index=1, function={"arguments": '{"y":2}'}),
            ],
            id="interleaved by index",
        ),
        pytest.param(
            [
                part(id="a", function={"name": "f", "arguments": '{"x"'}),
                part(function={"arguments": ":1}"}),
                part(id="b", function={"name": "g", "arguments": '{"y"'}),
                part(id="b", function={"arguments": ":2}"}),
            ],
            id="without an index",
        ),
        pytest.param(
            [
                part(index=0, id="a", function={"name": "f", "arguments": '{"x":1}'}),
                part(index=0, id="b", function={"name": "g", "arguments": '{"y":2}'}),
            ],
            id="all at index 0",
        ),
        pytest.param(
            [
                part(id="a", function={"name": "f", "arguments": {"x": 1}}),
                part(id="b", function={"name": "g", "arguments": {"y": 2}}),
            ],
            id="arguments as objects",
        ),
    ],
)
async def test_tool_calls_side_by_side(server: ModelServer, connected: Connect, steps: list[Step]) -> None:
    server.script([*steps, {"finish": "tool_calls"}])

    assert (await reply_of(connected()))[:-1] == [ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", '{"y":2}')]


async def test_tool_calls_without_index_and_id_get_ids(server: ModelServer, connected: Connect) -> None:
    steps = [
        part(function={"name": "f", "arguments": '{"x":'}),
        part(function={"arguments": "1}"}),
        part(function={"name": "f", "arguments": ""}),
    ]
    server.script([*steps, {"finish": "tool_calls"}])

    first, second = (await reply_of(connected()))[:-1]

    assert first == ToolCall("call_1", "f", '{"x":1}')
    assert second == ToolCall("call_2", "f", "{}")


# Servers that do not stream


async def test_without_streaming_the_reply_comes_in_pieces(server: ModelServer, connected: Connect) -> None:
    text = "One two three four five.\n\n```python\nprint('a b c d e')\n```\n\nSix."
    server.script([{"reasoning": "Let me see now, well."}, {"text": text}])

    deltas = await reply_of(connected(streaming="off"))

    assert "stream" not in server.requests()[0]["body"]
    assert deltas[:2] == [Reasoning("Let me see "), Reasoning("now, well.")]
    pieces = [delta.text for delta in deltas if isinstance(delta, Text)]
    assert "".join(pieces) == text
    assert "print('a b c d e')\n" in pieces
    assert pieces[0] == "One two three "
    assert isinstance(deltas[-1], Finished)


async def test_tool_calls_without_streaming(server: ModelServer, connected: Connect) -> None:
    server.script([{"tool_call": {"name": "f", "id": "c1"}}, {"finish": "tool_calls"}])

    assert (await reply_of(connected(streaming="off")))[0] == ToolCall("c1", "f", "{}")


async def test_an_answer_that_comes_whole_is_taken_as_it_is(server: ModelServer, connected: Connect) -> None:
    message = {"role": "assistant", "content": "A short but whole reply."}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    server.script([{"status": 200, "body": body}])

    deltas = await reply_of(connected())

    assert text_of(deltas) == "A short but whole reply."
    assert deltas[-1] == Finished("stop")
    assert len(server.requests()) == 1


async def test_a_server_that_refuses_to_stream_is_asked_for_all(server: ModelServer, connected: Connect) -> None:
    model = connected()
    server.script([{"status": 400, "body": {"error": {"message": "stream is not supported"}}}], stream=True)
    server.script([{"text": "All at once"}])

    first = await reply_of(model)
    asked_first = len(server.requests())
    second = await reply_of(model)

    assert first[0] == FALLBACK
    assert text_of(first) == text_of(second) == "All at once"
    assert FALLBACK not in second, "what a server refuses need not be told again"
    assert len(server.requests()) == asked_first + 1


async def test_a_server_that_does_not_know_stream_options(server: ModelServer, connected: Connect) -> None:
    model = connected()
    server.script([{"status": 422, "body": {"detail": "extra fields not permitted"}}], times=1)

    first, second = await reply_of(model), await reply_of(model)

    assert FALLBACK not in first + second
    assert ["stream_options" in request["body"] for request in server.requests()] == [True, False, False]
    assert all(request["body"]["stream"] for request in server.requests())


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([{"raw": "data: [DONE]\n\n"}, {"end": True}], id="empty"),
        pytest.param([{"open": {}}, {"end": True}], id="nothing at all"),
        pytest.param([{"open": {}}, {"cut": "clean"}], id="cut"),
        pytest.param([{"open": {}}, {"cut": "reset"}], id="reset"),
        pytest.param([{"raw": 'data: {"choices": [{"del'}, {"stall": True}], id="half a line and silence"),
        pytest.param([{"raw": "data: {oops}\n\n"}, {"end": True}], id="malformed"),
        pytest.param([{"raw": 'data: {"error": {"message": "overloaded"}}\n\n'}, {"end": True}], id="error"),
        pytest.param([{"raw": 'event: error\ndata: {"message": "no"}\n\n'}, {"end": True}], id="error event"),
        pytest.param([{"status": 503}], id="unavailable"),
    ],
)
async def test_a_stream_that_fails_before_its_first_text(
    server: ModelServer, connected: Connect, steps: list[Step]
) -> None:
    server.script(steps, stream=True)
    server.script([{"text": "All at once"}], stream=False)

    deltas = await reply_of(connected(stall_timeout=0.05, retries=1))

    assert deltas[0] == FALLBACK
    assert text_of(deltas) == "All at once"
    assert isinstance(deltas[-1], Finished)


# Models that take no tools

LOOK = ToolSchema("look", "Looks.", {"type": "object", "properties": {}})
WITHOUT_TOOLS = Notice("The model takes no tools, so it was asked again without them.")


def error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(400, error("registry.ollama.ai/library/gemma3:4b does not support tools"), id="Ollama"),
        pytest.param(
            400,
            {
                "object": "error",
                "message": '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
                "code": 400,
            },
            id="vLLM",
        ),
        pytest.param(500, error("tools param requires --jinja flag"), id="llama.cpp"),
        pytest.param(500, error("Unsupported param: tools"), id="older llama.cpp"),
        pytest.param(400, error("tools is not supported in this model. For a list, refer to"), id="OpenAI"),
        pytest.param(404, error("No endpoints found that support tool use."), id="OpenRouter"),
        pytest.param(
            400,
            error("litellm.UnsupportedParamsError: x does not support parameters: ['tools'], for model=y"),
            id="LiteLLM",
        ),
        pytest.param(400, error("`tool calling` is not supported with this model"), id="Groq"),
        pytest.param(400, error("Functions are not supported for this model version."), id="Azure"),
        pytest.param(400, error("Function calling is not enabled for models/gemma-3-27b-it"), id="Gemini"),
    ],
)
async def test_a_model_that_takes_no_tools_is_asked_without(
    server: ModelServer, connected: Connect, status: int, body: dict[str, Any]
) -> None:
    model = connected()
    server.script([{"status": status, "body": body}], times=1)
    server.script([{"text": "Without"}])

    first, second = await reply_of(model, tools=[LOOK]), await reply_of(model, tools=[LOOK])

    assert first[0] == WITHOUT_TOOLS
    assert text_of(first) == text_of(second) == "Without"
    assert WITHOUT_TOOLS not in second, "what a model refuses need not be told again"
    assert ["tools" in request["body"] for request in server.requests()] == [True, False, False]
    assert all(request["body"]["stream_options"] for request in server.requests())


async def test_another_model_of_the_server_is_still_offered_tools(server: ModelServer, connected: Connect) -> None:
    model = connected()
    server.script([{"status": 400, "body": error("it does not support tools")}], times=1)
    await reply_of(model, tools=[LOOK])
    await reply_of(model.named("other-model"), tools=[LOOK])
    await reply_of(connected().named("scripted-model"), tools=[LOOK])
    await reply_of(model.named("scripted-model"), tools=[LOOK])

    assert ["tools" in request["body"] for request in server.requests()] == [True, False, True, True, False]


@pytest.mark.parametrize(
    "message", ["Invalid schema for function 'look'", "tools[0].function.name is too long", "tools must be an array"]
)
async def test_tools_that_are_wrong_are_an_error(server: ModelServer, connected: Connect, message: str) -> None:
    server.script([{"status": 400, "body": error(message)}])

    with pytest.raises(ModelError) as told:
        await reply_of(connected(), tools=[LOOK])

    assert told.value.code == "refused"
    assert all("tools" in request["body"] for request in server.requests())


@pytest.mark.parametrize("message", ["Cannot use tools with stream", "tools are not supported in streaming mode"])
async def test_a_server_that_takes_tools_only_for_whole_replies(
    server: ModelServer, connected: Connect, message: str
) -> None:
    server.script([{"status": 500, "body": error(message)}], stream=True)
    server.script([{"tool_call": {"name": "look", "id": "c1"}}, {"finish": "tool_calls"}], stream=False)

    deltas = await reply_of(connected(retries=0), tools=[LOOK])

    assert deltas[:2] == [FALLBACK, ToolCall("c1", "look", "{}")]


# Another model of the same server


async def test_an_agents_own_model_is_asked_at_the_same_server(server: ModelServer, connected: Connect) -> None:
    model = connected()
    other = model.named("other-model")
    await reply_of(other)
    await reply_of(model)

    assert (other.name, model.name) == ("other-model", "scripted-model")
    assert [request["body"]["model"] for request in server.requests()] == ["other-model", "scripted-model"]
    first, second = server.requests()
    assert first["connection"] == second["connection"]


def test_the_demo_model_is_the_only_one_there() -> None:
    demo = DemoModel()
    assert demo.named("gpt-99") is demo


# Trying again


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
async def test_a_passing_failure_is_not_noticed(server: ModelServer, connected: Connect, status: int) -> None:
    server.script([{"status": status}], times=2)
    server.script([{"text": "At last"}])

    assert text_of(await reply_of(connected(retries=2))) == "At last"
    assert len(server.requests()) == 3


async def test_a_connection_lost_before_the_answer_is_tried_again(server: ModelServer, connected: Connect) -> None:
    server.script([{"cut": "reset"}], times=1)
    server.script([{"text": "At last"}])

    deltas = await reply_of(connected())

    assert text_of(deltas) == "At last"
    assert FALLBACK not in deltas


async def test_a_failure_that_stays_is_told_after_the_retries(server: ModelServer, connected: Connect) -> None:
    server.script([{"status": 429}])

    given, error = await failure_of(connected(retries=2))

    assert (given, error.code, error.retryable) == ([], "rate_limited", True)
    assert len(server.requests()) == 3


async def test_a_wait_that_the_server_asks_for_is_told(server: ModelServer, connected: Connect) -> None:
    server.script([{"status": 429, "headers": {"retry-after": "1"}}], times=1)
    server.script([{"text": "At last"}])

    notice, *deltas = await reply_of(connected())

    assert isinstance(notice, Notice)
    assert "in 1 s" in notice.content
    assert text_of(deltas) == "At last"


async def test_a_wait_that_is_too_long_is_left_to_the_person(server: ModelServer, connected: Connect) -> None:
    server.script([{"status": 429, "headers": {"retry-after": "3600"}}])

    _, error = await failure_of(connected())

    assert "3600 s" in str(error)
    assert len(server.requests()) == 1


async def test_nothing_is_tried_again_once_something_was_said(server: ModelServer, connected: Connect) -> None:
    server.script([{"reasoning": "Hm"}, {"cut": "reset"}])

    given, error = await failure_of(connected())

    assert (given, error.code) == ([Reasoning("Hm")], "cut_off")
    assert len(server.requests()) == 1


# Stopping


async def test_closing_the_reply_hangs_up(server: ModelServer, connected: Connect) -> None:
    server.script([{"text": "Once upon a time"}, {"stall": True}])
    deltas = connected().stream([Message("user", "Tell me a story")])
    await anext(deltas)

    await deltas.aclose()

    await asyncio.to_thread(server.wait_closed, 0)
    assert server.requests()[0]["closed_early"]


@pytest.mark.parametrize("steps", [[{"gate": "asked"}], [{"open": {}}, {"gate": "asked"}]], ids=["head", "text"])
async def test_cancelling_who_waits_hangs_up(server: ModelServer, connected: Connect, steps: list[Step]) -> None:
    server.script(steps)
    waiting = asyncio.create_task(reply_of(connected()))
    await asyncio.to_thread(server.wait_gate, "asked")

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.to_thread(server.wait_closed, 0)
    assert server.requests()[0]["closed_early"]


async def test_a_finished_reply_leaves_its_connection_to_the_next(server: ModelServer, connected: Connect) -> None:
    done = {"raw": "data: [DONE]\n\n"}
    server.script([{"text": "Hi"}, done, {"pause": 0.01}, {"end": True}])  # the end comes apart, as from uvicorn
    model = connected()

    await reply_of(model)
    await reply_of(model)

    first, second = server.requests()
    assert first["connection"] == second["connection"]


# Connecting


async def test_the_environment_does_not_leak(
    server: ModelServer, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("API_KEY", "ADMIN_KEY", "ORG_ID", "PROJECT_ID"):
        monkeypatch.setenv(f"OPENAI_{name}", "leaked")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Extra: leaked")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    await reply_of(connected())

    [request] = server.requests()
    assert "leaked" not in json.dumps(request["headers"])


async def test_the_key_is_sent_and_not_shown(connected: Connect) -> None:
    with ModelServer.start("--key", "sk-secret") as guarded:
        assert text_of(await reply_of(connected(url=guarded.url, key="sk-secret")))
        _, error = await failure_of(connected(url=guarded.url, key="sk-wrong"))

    assert error.code == "wrong_key"
    assert "RIVERRUN_MODEL_KEY" in str(error)
    assert "sk-wrong" not in str(error)
    assert "sk-secret" not in repr(ModelOptions(key="sk-secret"))


async def test_without_a_name_the_first_model_for_chat_is_used(server: ModelServer) -> None:
    model = await connect(ModelOptions(url=server.url))

    assert model.name == "scripted-model"
    await reply_of(model)
    assert server.requests()[-1]["body"]["model"] == "scripted-model"
    await model.aclose()


async def test_a_server_that_is_down_is_connected_when_it_is_up() -> None:
    with ModelServer.start() as server:
        port = server.port
    model = await connect(ModelOptions(url=f"http://127.0.0.1:{port}/v1", retries=0))

    assert isinstance(model, OpenAIModel)
    assert str(port) in model.name
    assert (await failure_of(model))[1].code == "unreachable"
    with ModelServer.start(port=port):
        assert text_of(await reply_of(model))
    assert model.name == "scripted-model"
    await model.aclose()


async def test_a_server_on_this_machine_is_found(server: ModelServer) -> None:
    model = await connect(ModelOptions(), local_ports=[server.port])

    assert (model.name, model.demo) == ("scripted-model", False)
    assert text_of(await reply_of(model))
    await model.aclose()


async def test_otherwise_the_demo_serves(server: ModelServer) -> None:
    named = await connect(ModelOptions(model="demo"), local_ports=[server.port])
    own = await connect(ModelOptions(skip_ports=[server.port]), local_ports=[server.port])
    unknown = await connect(ModelOptions(model="unheard-of"), local_ports=[server.port])

    assert all(isinstance(model, DemoModel) and model.demo for model in (named, own, unknown))


async def test_requests_are_not_logged(connected: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await reply_of(connected())

    assert caplog.records == []
