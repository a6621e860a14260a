"""Asks whether what is locked has known holes, and says what could not be asked.

A version that has some is asked for first: whoever finds none in it cannot tell about the others. `make audit` fails
for holes, and not because nobody could be asked.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from riverrun.vendor import VendorMissing, npm_command

CHECKOUT = Path(__file__).parent.parent
LOCKS = ("requirements-dev.txt", "package-lock.json")
HOLED_PYTHON = "jinja2==2.10\n"
HOLED_NPM = {
    "package.json": {"name": "holed", "version": "1.0.0", "dependencies": {"lodash": "4.17.11"}},
    "package-lock.json": {
        "name": "holed",
        "version": "1.0.0",
        "lockfileVersion": 3,
        "packages": {
            "": {"name": "holed", "version": "1.0.0", "dependencies": {"lodash": "4.17.11"}},
            "node_modules/lodash": {"version": "4.17.11"},
        },
    },
}
PATIENCE = 15  # seconds for each answer


class Found(NamedTuple):
    """`holes` by package, how many were `checked`, and those of which nothing is known."""

    holes: Mapping[str, str]
    checked: int
    unknown: list[str]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="riverrun-audit-") as name:
        folder = Path(name)
        (folder / "holed.txt").write_text(HOLED_PYTHON)
        for file, content in HOLED_NPM.items():
            (folder / file).write_text(json.dumps(content))
        known = ask_pip_audit(folder / "holed.txt", "--no-deps")
        found = ask_pip_audit(CHECKOUT / LOCKS[0], "--require-hashes") if known and known.holes else None
        failed = tell(LOCKS[0], known, found)
        known = ask_npm(folder)
        found = ask_npm(CHECKOUT) if known and known.holes else None
        return tell(LOCKS[1], known, found) or failed


def ask_pip_audit(lock: Path, how: str) -> Found | None:
    """None: there was no answer."""
    options = ["--disable-pip", how, "--format", "json", "--progress-spinner", "off", "--timeout", str(PATIENCE)]
    report = answer_of([sys.executable, "-m", "pip_audit", "--requirement", str(lock), *options], lock.parent)
    return None if report is None else of_pip_audit(report)


def of_pip_audit(report: Any) -> Found | None:
    if "dependencies" not in report:
        return None
    checked = [one for one in report["dependencies"] if "skip_reason" not in one]
    holes = {
        f"{one['name']} {one['version']}": ", ".join(hole["id"] for hole in one["vulns"])
        for one in checked
        if one["vulns"]
    }
    return Found(holes, len(checked), [one["name"] for one in report["dependencies"] if "skip_reason" in one])


def ask_npm(folder: Path) -> Found | None:
    """None: there was no answer."""
    options = ["--json", "--package-lock-only", "--fetch-retries=0", f"--fetch-timeout={PATIENCE * 1000}"]
    try:
        report = answer_of([*npm_command(), "audit", *options], folder)
    except VendorMissing:
        return None
    return None if report is None else of_npm(report)


def of_npm(report: Any) -> Found | None:
    if "auditReportVersion" not in report:
        return None
    holes = {name: f"{hole['severity']}, in {hole['range']}" for name, hole in report["vulnerabilities"].items()}
    return Found(holes, report["metadata"]["dependencies"]["total"], [])


def answer_of(command: list[str], folder: Path) -> Any:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return None


def tell(lock: str, known: Found | None, found: Found | None) -> int:
    """The status to end with. `known` is what was said of a version that has holes."""
    if known is None or not known.holes:
        print(f"{lock}: NOT CHECKED, for from here no service tells of known holes.")
        return 0
    if found is None:
        print(f"{lock}: could not be checked, though the service answers.")
        return 1
    print(f"{lock}: {found.checked} packages checked, {len(found.holes)} with known holes.")
    if found.unknown:
        print(f"  Of these nothing is known: {', '.join(found.unknown)}.")
    for package, holes in found.holes.items():
        print(f"  {package}: {holes}")
    return 1 if found.holes else 0


if __name__ == "__main__":
    sys.exit(main())
