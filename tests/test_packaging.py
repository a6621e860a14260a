"""The wheel that people install: what is in it, and that it runs where nothing else is."""

import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.postgres import free_port

CHECKOUT = Path(__file__).parent.parent
LOCK = CHECKOUT / "requirements.txt"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(CHECKOUT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the locked versions and the wheel, and nothing else."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place)
    pip = [*PIP, "--python", str(place / "bin" / "python"), "install", "--no-compile"]
    run(*pip, "--require-hashes", "--requirement", str(LOCK))
    run(*pip, "--no-deps", str(wheel))
    return place / "bin"


@pytest.fixture(scope="module")
def address(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server started from the wheel, in a folder from which the checkout cannot be imported."""
    place = tmp_path_factory.mktemp("served")
    port = free_port()
    with (place / "output").open("w+") as output:
        command = [str(installed / "riverrun"), "run", "--port", str(port)]
        server = subprocess.Popen(command, cwd=place, env=bare(place), stdout=output, stderr=output)
        try:
            wait_for_health(f"http://127.0.0.1:{port}", server, place / "output")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            code = server.wait(30)
    assert code in (0, -signal.SIGTERM), "it ends when it is told to"


def test_the_wheel_holds_everything_that_is_not_python(wheel: Path) -> None:
    expected = {
        str(Path("riverrun") / path.relative_to(CHECKOUT / "src"))
        for room in ("templates", "static", "persistence/migrations")
        for path in (CHECKOUT / "src" / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert expected, "the rooms were not found"
    assert expected | {"riverrun/py.typed"} <= names(wheel)


def test_the_wheel_brings_the_scripts_of_others_with_their_licence(wheel: Path) -> None:
    vendor = {Path(name).name for name in names(wheel) if name.startswith("riverrun/static/vendor/")}

    assert vendor == {"htmx.min.js", "hx-sse.min.js", "LICENSE", "package.json"}


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    assert {re.sub(r"-[\d.]+\.dist-info", ".dist-info", name.split("/")[0]) for name in names(wheel)} == {
        "riverrun",
        "riverrun.dist-info",
    }


def test_a_source_distribution_is_enough_to_build_the_same_wheel_without_npm(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path))
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.setenv("PATH", str(tmp_path))

    rebuilt = build_wheel(next(tmp_path.glob("riverrun-*/")), tmp_path / "wheel")

    assert names(rebuilt) == names(wheel)


def test_the_lock_gives_the_wheel_all_that_it_asks_for(installed: Path) -> None:
    run(*PIP, "--python", str(installed / "python"), "check")


def test_the_command_explains_itself(installed: Path, tmp_path: Path) -> None:
    shown = run(str(installed / "riverrun"), "--help", cwd=tmp_path, env=bare(tmp_path))

    assert "run" in shown
    assert "database" in shown


def test_a_server_from_the_wheel_is_well(address: str) -> None:
    assert httpx.get(f"{address}/health").status_code == 200


def test_a_page_from_the_wheel_loads_whatever_it_asks_for(address: str) -> None:
    page = httpx.get(address, follow_redirects=True)
    asked = re.findall(r'<(?:script|link)\b[^>]*\b(?:src|href)="(/[^"]+)"', page.text)

    assert page.status_code == 200
    assert any("htmx" in path for path in asked), page.text
    assert {path: httpx.get(address + path).status_code for path in asked} == dict.fromkeys(asked, 200)


def build_wheel(tree: Path, into: Path) -> Path:
    # In this environment, which has hatchling at the locked version, and not in a fresh one for each build.
    run(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), str(tree))
    return next(into.glob("*.whl"))


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def run(*command: str, cwd: Path = CHECKOUT, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def bare(place: Path) -> dict[str, str]:
    """The environment of someone who has set nothing."""
    return {"PATH": os.defpath, "HOME": str(place), "RIVERRUN_DATA": str(place / "data")}


def wait_for_health(address: str, server: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + 60
    while server.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(f"{address}/health").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"riverrun run did not come up:\n{output.read_text()}", pytrace=False)
