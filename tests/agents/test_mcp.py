"""Tools of real MCP servers, over pipes and over HTTP, that work, fail, hang and die."""

import asyncio
import json
import logging
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from riverrun.agents import mcp
from riverrun.agents.fetching import Allowance
from riverrun.agents.mcp import unique
from riverrun.agents.toolboxes import Server, Toolbox, Toolboxes
from riverrun.agents.tools import Answer, Tool
from riverrun.persistence.tables import DEFAULT_PROJECT
from tests.server import free_port

SCRIPT = Path(__file__).with_name("mcp_server.py")
COMMAND = f"{shlex.quote(sys.executable)} {shlex.quote(str(SCRIPT))}"
PIPES = Server("own", COMMAND)


@contextmanager
def served() -> Iterator[tuple[Server, "subprocess.Popen[str]"]]:
    with subprocess.Popen([sys.executable, SCRIPT, "http"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield Server("web", f"http://127.0.0.1:{port}/mcp"), process
        process.terminate()


@pytest.fixture(scope="module")
def over_http() -> Iterator[Server]:
    with served() as (server, _):
        yield server


@pytest.fixture(params=["pipes", "http"])
def server(request: pytest.FixtureRequest) -> Server:
    if request.param == "pipes":
        return PIPES
    over_http: Server = request.getfixturevalue("over_http")
    return over_http


def connected(*servers: Server) -> AbstractAsyncContextManager[Toolbox]:
    return Toolboxes(Allowance(private=True), commands=True).of(DEFAULT_PROJECT, servers)


def named(toolbox: Toolbox, name: str) -> Tool:
    return next(tool for tool in toolbox.tools if tool.name.split("__")[1] == name)


async def use(toolbox: Toolbox, name: str, /, **arguments: Any) -> Answer:
    return await named(toolbox, name).use(json.dumps(arguments))


def started() -> list[int]:
    """The processes that we have started and that live."""
    children = psutil.Process().children(recursive=True)
    return [child.pid for child in children if str(SCRIPT) in child.cmdline() and "http" not in child.cmdline()]


async def test_a_servers_tools_are_told_as_it_tells_them_and_used(server: Server) -> None:
    async with connected(server) as toolbox:
        assert toolbox.failures == []
        add = named(toolbox, "add")
        assert add.name == f"{server.name}__add"
        assert add.schema.description == "Adds two numbers."
        assert add.schema.parameters["required"] == ["a"]
        assert add.schema.parameters["properties"]["b"]["default"] == 1
        assert await use(toolbox, "add", a=2, b=3) == Answer("5")
        assert await use(toolbox, "add", a=2) == Answer("3")


async def test_tools_of_several_servers_are_used_side_by_side(over_http: Server) -> None:
    async with connected(PIPES, over_http) as toolbox:
        assert {tool.name for tool in toolbox.tools} >= {"own__add", "web__add"}


async def test_calls_of_one_server_are_at_work_at_the_same_time(server: Server) -> None:
    async with connected(server) as toolbox, asyncio.timeout(20):
        answers = await asyncio.gather(
            use(toolbox, "meet", me="Ada", other="Ben"), use(toolbox, "meet", me="Ben", other="Ada")
        )
    assert [answer.content for answer in answers] == ["Ada met Ben", "Ben met Ada"]


async def test_what_is_not_text_is_told_of() -> None:
    async with connected(PIPES) as toolbox:
        assert (await use(toolbox, "look")).content == "A river.\n[image]"
        assert json.loads((await use(toolbox, "count")).content) == {"fish": [1, 2]}


async def test_what_goes_wrong_in_a_tool_is_told_to_the_model(server: Server) -> None:
    async with connected(server) as toolbox:
        assert await use(toolbox, "refuse") == Answer("The well is dry.", failed=True)
        divided, mistyped = await use(toolbox, "divide"), await use(toolbox, "add", a="one")
        no_object, no_json = await named(toolbox, "add").use("[1]"), await named(toolbox, "add").use("{")
    assert (divided.failed, mistyped.failed, no_object.failed, no_json.failed) == (True, True, True, True)
    assert "divi" in divided.content
    assert "valid integer" in mistyped.content
    assert no_object.content == "The arguments are not a JSON object."
    assert no_json.content.startswith("The arguments are not JSON")


async def test_names_are_as_model_servers_take_them() -> None:
    async with connected(PIPES) as toolbox:
        unusual = [tool for tool in toolbox.tools if tool.name.startswith("own__a_tool_whose_name_is_nusual_and_very_")]
        assert len(unusual) == 2
        assert {(await tool.use("{}")).content for tool in unusual} == {"unusual", "unusual, too"}
        assert len({tool.name for tool in toolbox.tools}) == len(toolbox.tools)
        assert all(mcp.NOT_IN_NAMES.search(tool.name) is None and len(tool.name) <= 64 for tool in toolbox.tools)
    assert unique(["s__" + "x" * 80, "s__" + "x" * 90]) == ["s__" + "x" * 61, "s__" + "x" * 59 + "_2"]


async def test_a_server_sees_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERRUN_MODEL_KEY", "secret")
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    async with connected(PIPES) as toolbox:
        seen = json.loads((await use(toolbox, "environment")).content)
    assert "secret" not in seen.values()
    assert seen["PATH"] == os.environ["PATH"], "otherwise it has no environment at all"


async def test_a_server_that_dies_gives_failed_answers_and_the_run_goes_on(over_http: Server) -> None:
    async with connected(PIPES, over_http) as toolbox, asyncio.timeout(20):
        hanging = asyncio.create_task(use(toolbox, "hang"))
        assert (await use(toolbox, "hanging")).content == "yes"
        for answer in (await use(toolbox, "die"), await hanging, await use(toolbox, "add", a=1)):
            assert answer.failed
            assert answer.content.startswith("The tool server own failed: ")
        [other] = [tool for tool in toolbox.tools if tool.name == "web__add"]
        assert (await other.use('{"a": 1, "b": 2}')).content == "3"


async def test_a_server_over_http_that_goes_away_gives_failed_answers() -> None:
    with served() as (server, process):
        async with connected(server) as toolbox, asyncio.timeout(20):
            hanging = asyncio.create_task(use(toolbox, "hang"))
            assert (await use(toolbox, "hanging")).content == "yes"
            process.kill()
            assert (await hanging).failed
            assert (await use(toolbox, "add", a=1)).failed


async def test_a_call_that_takes_too_long_is_given_up_and_the_server_goes_on() -> None:
    async with connected(PIPES) as toolbox:
        slow = named(toolbox, "hang")
        answer = await Tool(slow.schema, slow.function, slow.checked, time_limit=0.1).use("{}")
        assert answer.failed
        assert "took longer" in answer.content
        assert await use(toolbox, "add", a=1) == Answer("2")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("no-such-command --at-all", "there is no command no-such-command."),
        (f"{shlex.quote(sys.executable)} -c pass", ""),
        (f"{COMMAND} --broken", "It says: RIVER_KEY is not set."),
        pytest.param(f"http://127.0.0.1:{free_port()}/mcp", "", id="nobody listens"),
        ('unclosed "quote', "No closing quotation."),
        ("''", ""),
    ],
)
async def test_a_server_that_cannot_be_had_is_told_and_does_not_hold_the_others(
    address: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with connected(Server("bad", address), PIPES) as toolbox:
        [failure] = toolbox.failures
        assert failure.startswith("The tool server bad cannot be used: ")
        assert failure.endswith(reason)
        assert await use(toolbox, "add", a=1) == Answer("2")
    assert [record.getMessage() for record in caplog.records] == [
        f"1 of 2 tool servers of {DEFAULT_PROJECT} cannot be used."
    ]
    assert "RIVER_KEY" not in caplog.text, "not in a traceback either"


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "START_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        silent, mute = Server("silent", f"{COMMAND} --silent"), f"http://127.0.0.1:{deaf.getsockname()[1]}/mcp"
        async with asyncio.timeout(20), connected(silent, Server("mute", mute)) as toolbox:
            assert list(toolbox.failures) == [
                "The tool server silent did not answer within 0.5 s.",
                "The tool server mute did not answer within 0.5 s.",
            ]
    assert started() == []


async def test_a_server_that_prints_what_is_no_protocol_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with connected(Server("chatty", f"{COMMAND} --garbage")) as toolbox:
        assert toolbox.failures == []
        assert await use(toolbox, "add", a=1) == Answer("2")
    assert "rehearsal" not in caplog.text


async def test_a_run_that_ends_leaves_no_process() -> None:
    async with connected(PIPES):
        assert len(started()) == 1
    assert started() == []


async def test_a_run_that_is_stopped_leaves_no_process() -> None:
    toolboxes: asyncio.Queue[Toolbox] = asyncio.Queue()

    async def run() -> None:
        async with connected(PIPES) as toolbox:
            toolboxes.put_nowait(toolbox)
            await use(toolbox, "hang")

    running = asyncio.create_task(run())
    await use(await toolboxes.get(), "hanging")
    assert len(started()) == 1
    for _ in range(3):  # as impatience has it
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert started() == []


async def test_a_run_that_is_stopped_while_servers_start_leaves_no_process() -> None:
    async def run() -> None:
        async with connected(Server("silent", f"{COMMAND} --silent")):
            raise AssertionError("it does not answer")

    running = asyncio.create_task(run())
    while not started():  # noqa: ASYNC110 - nobody tells that a process has begun
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert started() == []
