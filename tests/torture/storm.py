"""A storm over real processes, from the first run to the judgement."""

import asyncio
import re
import time
from collections import Counter
from pathlib import Path
from random import Random

from msgspec import Struct

from tests.model_server import ModelServer
from tests.postgres import Postgres
from tests.server import Server
from tests.torture.judge import Saved, judge
from tests.torture.people import MARKS, Book, Person
from tests.torture.scripts import teach
from tests.torture.weather import Weather

SETTLING = 90.0  # seconds in calm weather for what is still at work
AWAY = "ERROR riverrun.runs.journal: The database stayed away; the runs under way end here"


class Plan(Struct, frozen=True):
    """`pause`: seconds between two strokes on average. `database`: `sqlite` or `postgres`, which has two servers."""

    seed: int
    runs: int
    people: int
    database: str = "sqlite"
    pause: float = 4.0


class Outcome(Struct):
    plan: Plan
    counts: Counter[str]
    faults: list[str]
    seconds: float
    folder: Path

    def __str__(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        lines = [f"seed {self.plan.seed} on {self.plan.database}: {told} in {self.seconds:.0f} s"]
        if self.faults:
            lines += [f"  {fault}" for fault in self.faults[:40]]
            lines.append(f"{len(self.faults)} faults. The servers' log: {self.folder / 'server.log'}. Again:")
            lines.append(f'  make torture ARGS="{arguments(self.plan)}"')
        return "\n".join(lines)


def arguments(plan: Plan) -> str:
    return (
        f"--runs {plan.runs} --people {plan.people} --pause {plan.pause:g} --seed {plan.seed} "
        f"--database {plan.database}"
    )


async def storm(plan: Plan, folder: Path, postgres: Postgres | None) -> Outcome:
    """All of it, and what was wrong. Whatever was started is ended."""
    began, random = time.monotonic(), Random(f"{plan.seed} weather")
    with ModelServer.start() as model:
        teach(model, Random(f"{plan.seed} scripts"), MARKS)
        url = postgres.create_database() if postgres else f"sqlite+aiosqlite:///{folder / 'data' / 'riverrun.db'}"
        settings = {
            "RIVERRUN_MODEL_URL": model.url,
            "RIVERRUN_DATABASE_URL": url,
            "RIVERRUN_DATABASE_PATIENCE": "2",
            "RIVERRUN_SHUTDOWN_GRACE": "1",
            "RIVERRUN_HEARTBEAT": "1",
        }
        servers = [Server(folder, **settings) for _ in range(2 if postgres else 1)]
        book = Book(servers, plan.seed)
        try:
            for server in servers:
                await asyncio.to_thread(server.start)
            weather = Weather(servers, postgres, random, plan.pause, book.counts)
            await run_through(plan, book, weather)
            saved = await settled(url)
            for server in servers:
                await asyncio.to_thread(server.stop)
        finally:
            for server in servers:
                server.kill()
        faults = [
            *book.faults,
            *judge(book, saved, folder / "data" / "projects"),
            *troubles(servers[0].log.read_text(), book.counts),
        ]
    book.counts |= Counter(
        runs=len(saved.runs),
        clients=len(book.clients),
        connections=sum(client.connections for client in book.clients),
        events=sum(map(len, saved.logs.values())),
        messages=len(saved.messages),
        changes=len(saved.revisions),
        resumed=sum(event.get("step") == "resumed" for log in saved.logs.values() for event in log),
        **Counter(f"{run.status} runs" for run in saved.runs),
    )
    return Outcome(plan, book.counts, faults, time.monotonic() - began, folder)


async def run_through(plan: Plan, book: Book, weather: Weather) -> None:
    """Everybody has said what they wanted to say, and those who follow have seen the end of it."""
    calm = asyncio.Event()
    blowing = asyncio.create_task(weather.blow(calm))
    shares = [len(range(number, plan.runs, plan.people)) for number in range(plan.people)]
    people = [asyncio.create_task(Person(book, number, share).live()) for number, share in enumerate(shares)]
    living = asyncio.ensure_future(asyncio.wait(people))
    await asyncio.wait([blowing, living], return_when=asyncio.FIRST_COMPLETED)
    calm.set()
    try:
        await blowing
        await living
    except RuntimeError as failure:  # a server did not start any more
        book.faults.append(str(failure))
        for person in people:
            person.cancel()
    if book.following:
        _, late = await asyncio.wait(book.following, timeout=SETTLING)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def settled(url: str) -> Saved:
    """What is saved once nothing is at work any more, or patience is at its end."""
    deadline = time.monotonic() + SETTLING
    while True:
        saved = await Saved.read(url)
        if not saved.unfinished or time.monotonic() > deadline:
            return saved
        await asyncio.sleep(0.5)


def troubles(log: str, counts: Counter[str]) -> list[str]:
    """What a server says only when something is wrong with it."""
    lines = log.splitlines()
    if counts["database pauses"]:
        lines = [line for line in lines if line != AWAY]
    wrong = [number for number, line in enumerate(lines) if re.match(r"ERROR|CRITICAL|Traceback", line)]
    return ["the server's log: " + "\n    ".join(lines[number : number + 40]) for number in wrong[:3]]
