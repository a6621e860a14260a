"""What the audit makes of the answers that there are, and of none."""

import runpy
from pathlib import Path
from typing import Any

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parent.parent / "scripts" / "audit.py"))
CLEAN = {"name": "msgspec", "version": "0.22.0", "vulns": []}
HOLED = {"name": "jinja2", "version": "2.10", "vulns": [{"id": "PYSEC-2019-217"}, {"id": "PYSEC-2021-66"}]}
SKIPPED = {"name": "jinja2", "skip_reason": "Dependency not found"}


def pip_audit(*dependencies: Any) -> Any:
    return AUDIT["of_pip_audit"]({"dependencies": [*dependencies], "fixes": []})


def npm(**holes: Any) -> Any:
    report = {"auditReportVersion": 2, "vulnerabilities": holes, "metadata": {"dependencies": {"total": 7}}}
    return AUDIT["of_npm"](report)


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(None, id="no answer"),
        pytest.param(AUDIT["of_npm"]({"message": "405 Method Not Allowed", "error": {}}), id="an error"),
        pytest.param(AUDIT["of_pip_audit"]({"error": {}}), id="another error"),
        pytest.param(pip_audit(SKIPPED), id="a registry without advisories"),
        pytest.param(npm(), id="a registry that finds nothing in anything"),
    ],
)
def test_what_could_not_be_checked_is_not_called_safe(known: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert AUDIT["tell"]("a.lock", known, None) == 0
    assert "NOT CHECKED" in capsys.readouterr().out


def test_known_holes_fail_and_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert AUDIT["tell"]("a.lock", pip_audit(HOLED), pip_audit(CLEAN, HOLED, {"name": "own", "skip_reason": "?"})) == 1
    told = capsys.readouterr().out
    assert "2 packages checked, 1 with known holes" in told
    assert "jinja2 2.10: PYSEC-2019-217, PYSEC-2021-66" in told
    assert "nothing is known: own" in told
    lodash = npm(lodash={"severity": "high", "range": "<4.17.12"})
    assert AUDIT["tell"]("a.lock", lodash, lodash) == 1
    assert "lodash: high, in <4.17.12" in capsys.readouterr().out


def test_without_known_holes_it_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert AUDIT["tell"]("a.lock", pip_audit(HOLED), pip_audit(CLEAN)) == 0
    assert "1 packages checked, 0 with known holes" in capsys.readouterr().out


def test_a_service_that_answers_and_then_does_not_is_no_reason_to_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert AUDIT["tell"]("a.lock", pip_audit(HOLED), None) == 1
    assert "could not be checked" in capsys.readouterr().out
