"""How MCP servers are reached: of either generation, with a token, and without our secrets."""

import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from riverrun.agents.fetching import Allowance
from riverrun.agents.toolboxes import Server, Toolbox, Toolboxes
from riverrun.agents.tools import Answer
from riverrun.persistence.tables import DEFAULT_PROJECT

SCRIPT = Path(__file__).with_name("mcp_server.py")
COMMAND = f"{shlex.quote(sys.executable)} {shlex.quote(str(SCRIPT))}"


@contextmanager
def serving(*options: str) -> Iterator[int]:
    """A port."""
    with subprocess.Popen([sys.executable, SCRIPT, "http", *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


async def use(toolbox: Toolbox, name: str, arguments: str = "{}") -> Answer:
    return await next(tool for tool in toolbox.tools if tool.name == name).use(arguments)


@pytest.mark.parametrize("generation", ["--older", "--newer"])
async def test_servers_of_both_generations_are_understood(generation: str) -> None:
    async with Toolboxes(Allowance(), commands=True).of(
        DEFAULT_PROJECT, [Server("own", f"{COMMAND} {generation}")]
    ) as toolbox:
        assert toolbox.failures == []
        assert await use(toolbox, "own__add", '{"a": 1}') == Answer("2")


async def test_a_token_in_the_address_is_sent_and_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving("--token", "let me/in") as port:
        servers = [
            Server("right", f"http://let%20me%2Fin@127.0.0.1:{port}/mcp"),
            Server("wrong", f"http://secret@127.0.0.1:{port}/mcp?further=secret"),
            Server("command", "env KEY=secret no-such-command"),
            Server("without", f"http://127.0.0.1:{port}/mcp"),
        ]
        async with Toolboxes(Allowance(private=True), commands=True).of(DEFAULT_PROJECT, servers) as toolbox:
            assert await use(toolbox, "right__add", '{"a": 1}') == Answer("2")
            assert {tool.name.split("__")[0] for tool in toolbox.tools} == {"right"}
            wrong, command, without = toolbox.failures
    assert wrong.startswith("The tool server wrong ")
    assert wrong.endswith("It says: 401 Unauthorized")
    assert command.startswith("The tool server command cannot be used: ")
    assert "The tool server wrong cannot be used" in caplog.text, "otherwise what follows shows nothing"
    for told in (wrong, command, caplog.text, repr(servers)):
        assert "secret" not in told
        assert "let me/in" not in told
        assert "let%20me%2Fin" not in told
    assert without.endswith("It says: 401 Unauthorized")


async def test_a_process_gets_the_locale_and_runs_where_no_settings_of_ours_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.setenv("RIVERRUN_MODEL_KEY", "secret")
    monkeypatch.chdir(tmp_path)
    async with Toolboxes(Allowance(), commands=True).of(DEFAULT_PROJECT, [Server("own", COMMAND)]) as toolbox:
        seen = json.loads((await use(toolbox, "own__environment")).content)
    assert seen["LANG"] == "C.UTF-8"
    assert seen["PATH"] == os.environ["PATH"]
    assert "secret" not in seen.values()
    assert seen["cwd"] == str(Path.home())
