"""What a run of four agents costs beyond its model calls.

    python -m benchmarks.teams

The coordinator asks three supporting agents, who write side by side, and a writer answers: five calls of the model,
which writes as fast as it can. `bare` makes the same calls in the same order and only reads them. `team` is the whole
way: agents, lanes, journal, SQLite, and a follower of the events.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from uuid import UUID

from msgspec.structs import replace

from riverrun.agents.context import Context
from riverrun.agents.coordinator import WRITER, Coordinator
from riverrun.agents.exchange import Message, Text
from riverrun.agents.model import ModelOptions, OpenAIModel
from riverrun.persistence.database import configure, create_writer, migrate
from riverrun.runs.journal import Journal
from riverrun.runs.runner import Runner
from riverrun.runs.teams import Teams
from tests.model_server import ModelServer

SUPPORTERS = ("Researcher", "Analyst", "Critic")
WRITTEN = "word " * 500  # by each of the four, a token at a time


class NoProject:
    @asynccontextmanager
    async def open(self, project_id: UUID, run_id: UUID) -> AsyncIterator[Context]:
        yield Context()


def script(server: ModelServer) -> None:
    asks = [{"agent": name, "task": f"Task of the {name}"} for name in SUPPORTERS]
    server.script([{"text": WRITTEN, "per": 5}], match="Task of the")
    server.script([{"text": WRITTEN, "per": 5}], match="writer-model")
    server.script([{"text": json.dumps({"reason": "All know.", "asks": asks})}], match="Measure this")


async def read(model: OpenAIModel, content: str) -> int:
    async with aclosing(model.stream([Message(role="user", content=content)])) as deltas:
        return sum([len(delta.text) async for delta in deltas if isinstance(delta, Text)])


async def bare(model: OpenAIModel, writer: OpenAIModel) -> None:
    await read(model, "Measure this")
    written = await asyncio.gather(*(read(model, f"Task of the {name}") for name in SUPPORTERS))
    assert [*written, await read(writer, "Measure this")] == [len(WRITTEN)] * 4


async def timed(work: Callable[[], Awaitable[object]], times: int) -> tuple[list[float], list[float]]:
    """Milliseconds of the clock and of this process's processor time, of each."""
    clock, processor = [], []
    for _ in range(times):
        began, used = time.perf_counter(), time.process_time()
        await work()
        clock.append((time.perf_counter() - began) * 1000)
        processor.append((time.process_time() - used) * 1000)
    return clock, processor


async def measure(times: int, folder: Path) -> None:
    database = configure(f"sqlite+aiosqlite:///{folder / 'riverrun.db'}")
    await migrate(database)
    with ModelServer.start() as server:
        script(server)
        model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model"))
        writer = OpenAIModel(ModelOptions(url=server.url, model="writer-model"))
        sessions = database.create_session_maker()
        journal = Journal(create_writer(database, 30), sessions)
        teams = Teams({"coordinator": Coordinator(writer=replace(WRITER, model=writer))}, sessions)
        runner = Runner(journal, sessions, teams, NoProject(), model, limit=10, message_limit=1000, grace=5)

        async def team() -> None:
            started = await runner.start("Measure this", "coordinator")
            async with aclosing(journal.follow(started.run_id)) as batches:
                async for _ in batches:
                    pass

        async with journal.writing(), runner.working():
            await timed(lambda: bare(model, writer), 2)
            await timed(team, 2)
            without, without_cpu = await timed(lambda: bare(model, writer), times)
            whole, whole_cpu = await timed(team, times)
        await model.aclose()
        await writer.aclose()
    await database.get_engine().dispose()
    tell("clock, ms a run", without, whole)
    tell("processor, ms a run", without_cpu, whole_cpu)


def tell(what: str, without: Sequence[float], whole: Sequence[float]) -> None:
    base, team = statistics.median(without), statistics.median(whole)
    print(f"{what:22} bare {base:7.1f}   team {team:7.1f}   added {team - base:6.1f}   ratio {team / base:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(parser.parse_args().times, Path(folder)))


if __name__ == "__main__":
    main()
