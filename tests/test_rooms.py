"""Who may import whom: the arrows of the house, held by walking the imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src"
MODULES = sorted(path for path in SRC.rglob("*.py") if not {"migrations", "sample"} & set(path.parts))
FOR_ALL = {"tasks"}
MAY_IMPORT = {
    "agents": set(),
    "persistence": {"agents.events", "errors"},
    "runs": {"agents", "persistence", "errors"},
    "accounts": {"persistence", "errors"},
    "rendering": {"agents.events", "runs.view", "accounts.person"},
    "controllers": {
        "accounts",
        "agents",
        "runs",
        "rendering",
        "persistence",
        "knowledge",
        "workspace",
        "errors",
        "settings",
    },
    "knowledge": {"persistence", "agents.context", "errors"},
    "workspace": {"persistence", "agents.context", "errors"},
    "client": {"agents.events"},
    "terminal": {"agents.events", "client", "plain"},
    "asking": {"agents.events", "client", "plain", "terminal"},
    "plain": set(),
    "logs": {"plain"},
    "errors": set(),
    "tasks": set(),
    "serving": {"controllers.socket_messages"},
    "vendor": set(),
    "settings": {"agents.fetching", "agents.model", "persistence.keyring"},
}


def imports_of(path: Path) -> Iterator[str]:
    """Our own modules as `room.module`, others by their top name with a leading colon."""
    package = [*path.relative_to(SRC).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ImportFrom(module=module, names=names, level=level) if level:
                base = package[: len(package) - level + 1]
                for name in names:
                    parts = [*base, *(module.split(".") if module else [name.name])]
                    yield ".".join(parts)
            case ast.ImportFrom(module=str(module)):
                yield ":" + module.split(".")[0]
            case ast.Import(names=names):
                yield from (":" + name.name.split(".")[0] for name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    room = path.relative_to(SRC).parts[0].removesuffix(".py")
    if room in ("app", "cli", "projects", "__init__", "__main__"):
        return
    for imported in imports_of(path):
        if imported.startswith(":"):
            assert imported != ":riverrun", "inside the package imports are relative"
            continue
        target = imported.split(".")
        allowed = {room, target[0], ".".join(target[:2])} & {room, *MAY_IMPORT[room], *FOR_ALL}
        assert allowed, f"{room} may not import {imported}"


def test_openai_is_imported_in_one_place() -> None:
    importers = {str(path.relative_to(SRC)) for path in MODULES if ":openai" in set(imports_of(path))}
    assert importers == {"agents/model.py"}


def test_a_start_imports_no_package_that_only_some_projects_need() -> None:
    loaded = "import sys, riverrun.app; print('mcp' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
