"""What the repository must not hold: the code of others, and the addresses of places it was fetched from."""

import json
import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
LOCKS = ("requirements.txt", "requirements-dev.txt", "package-lock.json")


@pytest.fixture(scope="module")
def kept() -> list[str]:
    """Every path that git keeps or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return listed.stdout.rstrip("\0").split("\0")


def test_the_package_and_its_link_are_kept(kept: list[str]) -> None:
    assert {"src/__init__.py", ".dev/riverrun"} <= set(kept), "otherwise the tests below see nothing"
    assert (CHECKOUT / ".dev" / "riverrun").readlink() == Path("../src")


def test_code_of_others_is_not_kept(kept: list[str]) -> None:
    assert [path for path in kept if {"vendor", "node_modules"} & set(Path(path).parts)] == []
    assert [path for path in kept if re.search(r"\.min\.(js|css)$|\.(whl|map)$", path)] == []


def test_locks_that_name_registries_are_not_kept(kept: list[str]) -> None:
    locks = {path for path in kept if re.search(r"(\.lock|\block\.\w+|pylock.*\.toml)$", path)}

    assert set(LOCKS) <= set(kept)
    assert locks == {"package-lock.json"}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place(lock: str) -> None:
    text = (CHECKOUT / lock).read_text()

    assert re.findall(r".*(?:://|file:|--\S*index|--find-links|resolved).*", text) == []


@pytest.mark.parametrize("lock", [name for name in LOCKS if name.endswith(".txt")])
def test_every_locked_requirement_has_its_hashes(lock: str) -> None:
    text = (CHECKOUT / lock).read_text().replace("\\\n", "")
    requirements = [line for line in text.splitlines() if not line.startswith("#")]

    assert len(requirements) > 20
    assert [line for line in requirements if not re.match(r"\S+==\S+ .*--hash=sha256:", line)] == []


def test_every_locked_script_has_its_integrity() -> None:
    packages = json.loads((CHECKOUT / "package-lock.json").read_text())["packages"]

    assert {name for name, package in packages.items() if "integrity" not in package} == {""}


def test_both_locks_agree() -> None:
    runtime, dev = (pins(CHECKOUT / name) for name in ("requirements.txt", "requirements-dev.txt"))

    assert runtime.items() <= dev.items()


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\S+)==(\S+)", lock.read_text(), re.MULTILINE))
