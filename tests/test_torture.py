"""A small storm on either database; `make torture` makes larger ones."""

from pathlib import Path

import pytest

from tests.postgres import OwnPostgres
from tests.torture.storm import Plan, storm


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_in_a_storm_nothing_is_lost_doubled_or_left_undone(database: str, tmp_path: Path) -> None:
    plan = Plan(seed=5, runs=12, people=6, database=database, pause=3)
    postgres = OwnPostgres() if database == "postgres" else None  # its own, since it is stopped again and again
    try:
        outcome = await storm(plan, tmp_path, postgres)
    finally:
        if postgres:
            postgres.close()
    assert not outcome.faults, str(outcome)
    assert outcome.counts["kills"], "needs a process that was killed to mean anything"
