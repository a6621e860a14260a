"""The documentation is read: what exists is described, and what is described exists."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import rich_click as click
from litestar import Litestar
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from riverrun import client
from riverrun.agents.events import Event
from riverrun.agents.teams import registry
from riverrun.app import create_app
from riverrun.cli import riverrun
from riverrun.client import Client, Run, Socket
from riverrun.controllers import socket_messages
from riverrun.controllers.problems import CODES
from riverrun.errors import RiverrunError
from riverrun.settings import Settings

ROOT = Path(__file__).parent.parent


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def names_of(name: str, field: FieldInfo) -> list[str]:
    match field.validation_alias:
        case AliasChoices(choices=choices):
            return [str(choice) for choice in choices]
        case str(alias):
            return [alias]
        case _:
            return [f"RIVERRUN_{name.upper()}"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    return create_app(Settings(data=tmp_path_factory.mktemp("data"), model="demo"))


def test_every_setting_is_described_and_no_other() -> None:
    settings = {alias for name, field in Settings.model_fields.items() for alias in names_of(name, field)}
    described = set(re.findall(r"`((?:RIVERRUN|OPENAI)_\w+|HOST|PORT)`", page("settings")))
    assert described == settings


@pytest.mark.parametrize("field", [name for name in Settings.model_fields if name not in ("host", "port")])
def test_a_setting_is_described_with_its_default(field: str) -> None:
    info = Settings.model_fields[field]
    default = info.default
    if default in ("", None, []):
        return
    row = next(line for line in page("settings").splitlines() if line.startswith(f"| `{names_of(field, info)[0]}`"))
    shown = row.split("|")[2].strip(" `")
    told = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
    assert shown == (f"{told:g}" if isinstance(told, float) else str(told))


@pytest.mark.parametrize("event", get_args(Event), ids=lambda event: event.__name__)
def test_every_event_is_described_with_its_fields(event: type) -> None:
    tag = event.__struct_config__.tag  # type: ignore[attr-defined]
    row = next(line for line in page("events").splitlines() if line.startswith(f"| `{tag}`"))
    common = {"seq", "run_id", "at", "agent"}
    missing = [name for name in event.__struct_fields__ if name not in common and f"`{name}`" not in row]  # type: ignore[attr-defined]
    assert missing == []


def test_every_team_is_described_and_no_other() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", page("teams"), re.MULTILINE)) == set(registry())


def test_every_endpoint_is_described_and_no_other(app: Litestar) -> None:
    typed = re.compile(r":\w+}")
    routes = {
        f"{method} {re.sub(typed, '}', route.path)}"
        for route in app.routes
        if route.path.startswith(("/api", "/v1", "/agui", "/health"))
        for method in getattr(route, "methods", ()) or ["WS"]
        if method not in ("OPTIONS", "HEAD")
    }
    described = set(re.findall(r"^\| `([A-Z]+ /\S+)`", page("http"), re.MULTILINE))
    assert described == routes


def test_every_message_over_the_websocket_is_described_with_its_fields_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", page("websocket"), re.MULTILINE))
    kinds = {str(kind.__struct_config__.tag): kind for kind in socket_messages.Message.__subclasses__()}
    assert set(rows) == set(kinds)
    for tag, kind in kinds.items():
        fields = set(kind.__struct_fields__) - {"id"}
        assert [name for name in fields if f"`{name}`" not in rows[tag]] == [], tag


def test_every_close_code_of_the_websocket_is_described_and_no_other() -> None:
    described = {int(code) for code in re.findall(r"^\| (\d{4}) \|", page("websocket"), re.MULTILINE)}
    assert described == set(socket_messages.CloseCode)


def test_every_command_is_described_and_no_other() -> None:
    assert isinstance(riverrun, click.Group)
    described = set(re.findall(r"^\| `riverrun (\w+)`", page("commands"), re.MULTILINE))
    assert described == set(riverrun.commands)


@pytest.mark.parametrize("command", ["run", "ask"])
def test_every_option_is_described(command: str) -> None:
    row = next(line for line in page("commands").splitlines() if line.startswith(f"| `riverrun {command}`"))
    parameters = [parameter for parameter in riverrun.commands[command].params if isinstance(parameter, click.Option)]
    options = [option for parameter in parameters for option in parameter.opts]
    assert [option for option in options if f"`{option}`" not in row] == []


def test_everything_public_of_the_client_is_described() -> None:
    described = page("client")
    assert [name for name in client.__all__ if not re.search(rf"\b{name}\b", described)] == []
    methods = {f"{kind.__name__.lower()}.{name}(" for kind in (Client, Run, Socket) for name in public_methods(kind)}
    assert [method for method in methods if method not in described] == []


def public_methods(kind: type) -> list[str]:
    return [name for name, value in vars(kind).items() if inspect.isfunction(value) and not name.startswith("_")]


def kinds_of(error: type[RiverrunError]) -> Iterator[type[RiverrunError]]:
    yield error
    for kind in error.__subclasses__():
        yield from kinds_of(kind)


def test_every_error_is_described() -> None:
    described = set(re.findall(r"^\| (\d+) \| `(\w+)`", page("http"), re.MULTILINE))
    errors = {(str(error.status), error.code) for error in kinds_of(RiverrunError) if "code" in vars(error)}
    errors |= {(str(status), code) for status, code in CODES.items()}
    assert described == errors


@pytest.mark.parametrize("name", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_every_link_of_the_documentation_leads_somewhere(name: str) -> None:
    file = ROOT / name
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", file.read_text()):
        assert (file.parent / target).exists(), f"{name} links to {target}"


def test_every_make_target_of_the_documentation_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for name in ("README.md", "docs/commands.md"):
        for target in re.findall(r"`make (\w+)", (ROOT / name).read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{name} names make {target}"


def test_every_failure_of_a_model_is_described() -> None:
    tree = ast.parse((ROOT / "src" / "agents" / "failures.py").read_text())
    codes = {
        call.args[1].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Failure"
        if isinstance(call.args[1], ast.Constant)
    }
    assert set(re.findall(r"^\| `(\w+)` \|", page("models"), re.MULTILINE)) == codes
