"""The torture test by command: any number of runs, any seed, either database."""

import argparse
import asyncio
import logging
import sys
import tempfile
from contextlib import closing, nullcontext
from pathlib import Path

from tests.postgres import OwnPostgres
from tests.torture.storm import Plan, storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="make torture", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="how many runs people start")
    parser.add_argument("--people", type=int, default=12, help="how many conversations go on at the same time")
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between two strokes on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    given = parser.parse_args()
    plan = Plan(given.seed, given.runs, given.people, given.database, given.pause)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    folder = Path(tempfile.mkdtemp(prefix="riverrun-torture-"))
    with closing(OwnPostgres()) if plan.database == "postgres" else nullcontext() as postgres:
        outcome = asyncio.run(storm(plan, folder, postgres))
    print(outcome)
    return 1 if outcome.faults else 0


sys.exit(main())
