"""Teams that installed packages bring."""

import logging
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from riverrun.agents.events import AgentComplete, Interaction
from riverrun.agents.exchange import Message
from riverrun.agents.team import Task
from riverrun.agents.teams import GROUP, registry
from tests.agents.conftest import Connect
from tests.model_server import ModelServer

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "own-agents.md"
BUILT_IN = ["assistant", "coordinator", "planning", "coders"]
TEAM = """
class Team:
    title, description = "Title", "Description"
    def __init__(self, name="{name}"):
        self.name = name
    async def run(self, task):
        yield
team = Team()
def make():
    return Team("made")
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package as pip would, with one module and these entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(package: str, module: str, source: str, **points: str) -> None:
        (tmp_path / f"{module}.py").write_text(source)
        information = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {where}" for name, where in points.items())
        (information / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def test_a_packages_teams_come_after_the_built_in_ones(install: Install) -> None:
    install("more-teams", "more_teams", TEAM.format(name="more"), one="more_teams:team", two="more_teams:make")
    assert list(registry()) == [*BUILT_IN, "more", "made"]


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("odd:missing", "has no attribute 'missing'"),
        ("nowhere:team", "No module named 'nowhere'"),
        ("odd:explodes", "as asked"),
        ("odd:number", "not callable"),
        ("odd:half", "its title is not a text"),
        ("odd:idle", "it has no method run"),
        ("odd:taken", "there is a team named 'assistant' already"),
        ("odd:unnameable", "the name 'No Name' is not of"),
    ],
)
def test_one_that_cannot_be_used_is_left_out_and_the_log_says_why(
    where: str, reason: str, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    odd = """
def explodes():
    raise RuntimeError("as asked")
number = 3
class half:
    name = "half"
    async def run(self, task):
        yield
class idle:
    name = title = description = "idle"
taken = Team("assistant")
unnameable = Team("No Name")
"""
    install("odd-teams", "odd", TEAM.format(name="odd") + odd, bad=where)
    install("more-teams", "more_teams", TEAM.format(name="more"), good="more_teams:Team")
    assert list(registry()) == [*BUILT_IN, "more"]
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("The team bad of the package odd-teams is left out: ")
    assert reason in record.getMessage()


async def test_the_package_of_the_documentation_works(
    install: Install, server: ModelServer, connected: Connect
) -> None:
    text = DOCUMENTATION.read_text()
    [source] = re.findall(r"```python\n# haiku_team.py\n(.*?)```", text, re.DOTALL)
    [project] = re.findall(r"```toml\n# pyproject.toml\n(.*?)```", text, re.DOTALL)
    described = tomllib.loads(project)["project"]
    install(described["name"], "haiku_team", source, **described["entry-points"][GROUP])
    team = registry()["haiku"]

    line = {"name": "syllables", "arguments": '{"line": "an old silent pond"}', "id": "c1"}
    server.script([{"tool_call": line}], times=1)
    server.script([{"text": "An old silent pond"}])
    task = Task(messages=[Message("user", "Write of a pond.")], model=connected())
    events = [event async for event in team.run(task)]
    assert [event.content for event in events if isinstance(event, Interaction)][-1] == "5"
    assert isinstance(events[-1], AgentComplete)
    assert events[-1].content == "An old silent pond"
    offered = server.requests()[0]["body"]["tools"][0]["function"]
    assert offered["parameters"]["properties"]["line"]["description"] == "one line of a poem"
