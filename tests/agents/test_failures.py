"""Whatever goes wrong is told in a sentence that says what to do."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from riverrun.agents.failures import seconds_to_wait
from riverrun.agents.model import Message, ModelError, Text
from tests.agents.conftest import Connect
from tests.agents.replies import failure_of, gather, text_of
from tests.model_server import ModelServer, Step

PAGE = "<!doctype html><title>Welcome</title>"
LONG = {"error": {"message": "This model's maximum context length is 8192 tokens", "code": "context_length_exceeded"}}


@pytest.mark.parametrize(
    ("steps", "code", "advice"),
    [
        pytest.param([{"status": 401}], "wrong_key", "Set RIVERRUN_MODEL_KEY", id="no key"),
        pytest.param([{"status": 403}], "forbidden", "RIVERRUN_MODEL_KEY", id="not allowed"),
        pytest.param([{"status": 402}], "no_credit", "no credit", id="no credit"),
        pytest.param(
            [{"status": 429, "body": {"error": {"message": "Quota", "code": "insufficient_quota"}}}],
            "no_credit",
            "no credit",
            id="quota",
        ),
        pytest.param([{"status": 404, "body": PAGE}], "wrong_url", "usually ends with /v1", id="nothing there"),
        pytest.param([{"status": 200, "body": PAGE}], "wrong_url", "usually ends with /v1", id="a web page"),
        pytest.param([{"status": 301}], "wrong_url", "has moved", id="moved"),
        pytest.param([{"status": 400, "body": LONG}], "context_too_long", "Start a new conversation", id="too long"),
        pytest.param([{"status": 429}], "rate_limited", "Wait a moment", id="too many requests"),
        pytest.param([{"status": 500, "body": {"error": "Oh no"}}], "server_error", "Oh no", id="server error"),
        pytest.param([{"status": 400, "body": {"detail": "no tools"}}], "refused", "no tools", id="refused"),
        pytest.param([{"status": 200, "body": {"error": {"message": "Oh no"}}}], "server_error", "Oh no", id="200"),
        pytest.param([{"status": 200, "body": {"models": []}}], "malformed", "OpenAI's format", id="other JSON"),
        pytest.param(
            [{"status": 200, "headers": {"content-type": "text/plain"}, "body": "It works!"}],
            "malformed",
            "It works!",
            id="other text",
        ),
        pytest.param([{"gate": "never"}], "timeout", "did not begin to answer", id="no answer"),
        pytest.param([{"open": {}}, {"gate": "never"}], "timeout", "did not begin to answer", id="only a head"),
    ],
)
async def test_before_anything_is_said(
    server: ModelServer, connected: Connect, steps: list[Step], code: str, advice: str
) -> None:
    server.script(steps)
    model = connected(model="text-embedding-3", retries=0, first_byte_timeout=0.2, stall_timeout=0.1)

    given, error = await failure_of(model)

    assert text_of(given) == ""
    assert error.code == code
    assert advice in str(error)


@pytest.mark.parametrize(
    ("steps", "code", "advice"),
    [
        pytest.param([{"cut": "reset"}], "cut_off", "connection", id="reset"),
        pytest.param([{"cut": "clean"}], "cut_off", "connection", id="cut"),
        pytest.param([{"end": True}], "cut_off", "ended the reply early", id="ended early"),
        pytest.param([{"raw": 'data: {"cho'}, {"cut": "clean"}], "cut_off", "connection", id="cut in a line"),
        pytest.param([{"raw": 'data: {"cho'}, {"stall": True}], "stalled", "fell silent", id="half a line"),
        pytest.param([{"raw": "data: {oops}\n\n"}], "malformed", "OpenAI's format", id="malformed"),
        pytest.param([{"raw": "<html>Bad gateway\n"}], "wrong_url", "web page", id="a web page"),
        pytest.param(
            [{"raw": 'data: {"error": {"message": "GPU on fire", "code": 500}}\n\n'}],
            "server_error",
            "GPU on fire",
            id="error",
        ),
        pytest.param(
            [{"raw": 'event: error\ndata: {"message": "GPU on fire"}\n\n'}],
            "server_error",
            "GPU on fire",
            id="error event",
        ),
        pytest.param(
            [{"raw": 'data: {"error": {"message": "slow down", "type": "rate_limit_error"}}\n\n'}],
            "rate_limited",
            "Wait a moment",
            id="rate limit",
        ),
    ],
)
async def test_in_the_middle_what_came_is_kept(
    server: ModelServer, connected: Connect, steps: list[Step], code: str, advice: str
) -> None:
    server.script([{"text": "Once upon"}, *steps])

    given, error = await failure_of(connected(stall_timeout=0.1))

    assert given == [Text("Once upon")]
    assert error.code == code
    assert advice in str(error)
    assert len(server.requests()) == 1


async def test_what_came_while_nobody_looked_is_kept(server: ModelServer, connected: Connect) -> None:
    server.script([{"text": "Once "}, {"gate": "away"}, {"text": "upon"}, {"cut": "clean"}])
    deltas = connected().stream([Message("user", "Tell me a story")])
    given = [await anext(deltas)]
    server.open_gate("away")
    await asyncio.to_thread(server.wait_closed, 0)

    with pytest.raises(ModelError, match="connection"):
        await gather(deltas, given)

    assert given == [Text("Once "), Text("upon")]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "model 'gpt-99' not found, try pulling it first"}},
        {"error": {"message": "The model `gpt-99` does not exist", "code": "model_not_found"}},
        PAGE,
    ],
)
async def test_an_unknown_model_is_answered_with_those_on_offer(
    server: ModelServer, connected: Connect, body: object
) -> None:
    server.script([{"status": 404, "body": body}])

    _, error = await failure_of(connected(model="gpt-99"))

    assert error.code == "unknown_model"
    assert "has no model gpt-99" in str(error)
    assert "text-embedding-3, scripted-model" in str(error)


async def test_no_server(connected: Connect) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"

        _, error = await failure_of(connected(url=url))

    assert error.code == "unreachable"
    assert f"curl {url}/models" in str(error)
    assert error.retryable


async def test_no_such_host(connected: Connect) -> None:
    _, error = await failure_of(connected(url="http://model.invalid/v1"))

    assert error.code == "unknown_host"
    assert "model.invalid" in str(error)


async def test_an_address_that_is_none(connected: Connect) -> None:
    _, error = await failure_of(connected(url="localhost/v1"))

    assert error.code == "wrong_url"


async def test_no_secure_connection(connected: Connect) -> None:
    def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as plain:
        port = plain.sockets[0].getsockname()[1]
        _, error = await failure_of(connected(url=f"https://127.0.0.1:{port}/v1"))

    assert error.code == "insecure"
    assert "certificate" in str(error)


async def test_no_model_for_chat(connected: Connect) -> None:
    with ModelServer.start("--models", "text-embedding-3") as server:
        _, error = await failure_of(connected(url=server.url, model=""))

    assert error.code == "no_model"
    assert "text-embedding-3" in str(error)


async def test_what_the_server_says_is_quoted_briefly_and_without_the_key(
    server: ModelServer, connected: Connect
) -> None:
    server.script([{"status": 500, "body": {"error": {"message": "Key sk-secret broke it. " + "Oh no! " * 200}}}])
    url = server.url.replace("//", "//user:password@")

    _, error = await failure_of(connected(url=url, key="sk-secret", retries=0))

    assert "broke it. Oh no!" in str(error)
    assert "sk-secret" not in str(error)
    assert "password" not in str(error)
    assert len(str(error)) < 600


def test_when_to_come_back() -> None:
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)

    assert seconds_to_wait({"retry-after": "2.5"}) == 2.5
    assert seconds_to_wait({"retry-after-ms": "20", "retry-after": "9"}) == 0.02
    assert seconds_to_wait({"retry-after": in_a_minute}) == pytest.approx(60, abs=5)
    assert seconds_to_wait({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}) == 0
    assert seconds_to_wait({"retry-after": "soon"}) is None
    assert seconds_to_wait({}) is None
