"""What it costs to come back to runs, and how long a killed process's runs wait.

- `reconnects`: programs and pages follow runs with a cursor, drop the connection at the first news, and come back.
- `snapshot`: the first look at a run of 10,000 tokens that is at work, and at one that is finished: runs of the process
  that is asked, and (`elsewhere`) runs that only their log tells of. Each is looked at twice.
- `takeover`: with PostgreSQL one of two processes is killed, and the other one goes on with its runs; with SQLite the
  killed process is started again, and the time from its being ready is told as well.
- `socket`: one WebSocket that follows 50 runs, and the memory of 200 of them.
"""

import asyncio
import json
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import httpx
from sqlalchemy import Executable
from uuid_utils.compat import uuid7
from websockets.asyncio.client import ClientConnection, connect

from riverrun.agents.events import AgentChunk, AgentComplete, AgentStart, Complete, Event, FinalMessage, Start, encode
from riverrun.persistence.database import configure, create_writer, is_sqlite
from riverrun.persistence.statements import ADD_CONVERSATION, ADD_EVENT, ADD_MESSAGE, ADD_RUN, FINISH_RUN, Row
from riverrun.runs.journal import Recorded, to_row
from riverrun.runs.rows import conversation_row, message_row

from . import servers
from .load import Client, StreamError, percentile
from .model import SECTION
from .process import cpu_seconds, machine_seconds, pin, resident_bytes
from .servers import CLIENT_PROCESSOR, Server

CLIENTS, FOLLOWED, SECONDS = 60, 10, 8.0  # that reconnect, runs that they follow, how long
LONG = 10_000  # chunks of a long run, each a token of four characters
LOOKS = 10  # runs of each kind that are looked at
KILLS = 10
SOCKETS, SOCKET_RUNS = 200, 50
PATIENCE = 60.0  # seconds for anything that should come
HTML = "Accept: text/html"


class Figure(NamedTuple):
    """`value` is in what `label` says; `aim` the most it should be."""

    label: str
    value: float
    aim: float | None = None

    def __str__(self) -> str:
        verdict = "" if self.aim is None else f"   ≤ {self.aim:g}  {'met' if self.value <= self.aim else 'MISSED'}"
        value = f"{self.value:,.0f}" if self.value >= 100 else f"{self.value:.1f}"
        return f"  {self.label:<58}{value:>12}{verdict}"


class Run(NamedTuple):
    id: str
    conversation_id: str


class Place(NamedTuple):
    """Where a measure is taken."""

    model: Server
    folder: Path
    database_url: str | None

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{(self.folder / 'riverrun.db').resolve()}"

    def serve(self, name: str = "") -> Any:
        return servers.riverrun(self.model, self.folder / name, self.database_url)


def measure(name: str, folder: Path, database_url: str | None) -> tuple[list[Figure], float]:
    """The figures, and how many percent of a processor the whole machine used meanwhile."""
    pin(os.getpid(), [CLIENT_PROCESSOR])
    began, used = time.monotonic(), machine_seconds()
    folder.mkdir(exist_ok=True)
    with servers.model() as model:
        figures = asyncio.run(MEASURES[name](Place(model, folder, database_url)))
    return figures, 100 * (machine_seconds() - used) / (time.monotonic() - began)


# Coming back


async def reconnects(place: Place) -> list[Figure]:
    figures = []
    with place.serve() as server:
        async with program(server) as client:
            for what, path in (("programs", "/api/runs/%s/events"), ("pages", "/runs/%s/stream")):
                runs = [(await start(client, "rate-20-tokens-4000")).id for _ in range(FOLLOWED)]
                figures += await come_back(what, path, server, runs)
                await stop(client, runs)
    return figures


async def come_back(what: str, path: str, server: Server, runs: Sequence[str]) -> list[Figure]:
    took: list[float] = []
    failed: Counter[str] = Counter()
    until = time.monotonic() + SECONDS
    cpu = cpu_seconds(server.pid)
    following = [return_to(path % runs[n % len(runs)], server, until, took, failed) for n in range(CLIENTS)]
    await asyncio.gather(*following)
    cpu = cpu_seconds(server.pid) - cpu
    took.sort()
    return [
        Figure(f"{what}, reconnects a second", len(took) / SECONDS),
        Figure(f"{what}, from connecting to news, p50 ms", percentile(took, 50)),
        Figure(f"{what}, from connecting to news, p99 ms", percentile(took, 99)),
        Figure(f"{what}, server CPU, ms a reconnect", cpu * 1000 / max(len(took), 1)),
        *(Figure(f"{what}, ERROR: {why}", count, 0) for why, count in failed.items()),
    ]


async def return_to(path: str, server: Server, until: float, took: list[float], failed: Counter[str]) -> None:
    cursor = 0
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                told = await first_message(server, f"{path}?after={cursor}")
        except (StreamError, OSError, TimeoutError) as failure:
            failed[str(failure) or type(failure).__name__] += 1
            return
        took.append((time.monotonic() - began) * 1000)
        cursor = told


class Cursor:
    """Reads a stream as far as the first message that moves the cursor."""

    def __init__(self) -> None:
        self.found: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.rest = b""

    def feed(self, data: bytes) -> None:
        *messages, self.rest = (self.rest + data).split(b"\n\n")
        told = [int(line[3:]) for message in messages for line in message.split(b"\n") if line.startswith(b"id:")]
        if told and not self.found.done():
            self.found.set_result(told[-1])

    def end(self, answer: "asyncio.Task[None]") -> None:
        if not self.found.done():
            failure = None if answer.cancelled() else answer.exception()
            self.found.set_exception(failure or StreamError("ended without news"))


async def first_message(server: Server, path: str, headers: str = HTML) -> int:
    """The cursor with the first news; the connection is cut off then."""
    _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", server.port)
    cursor = Cursor()
    answer = asyncio.create_task(client.ask(f"GET {path}", b"", cursor, headers))
    answer.add_done_callback(cursor.end)
    try:
        await asyncio.wait({cursor.found})
        return cursor.found.result()
    finally:
        client.transport.abort()
        answer.cancel()
        await asyncio.gather(answer, return_exceptions=True)


# Looking at a long run


async def snapshot(place: Place) -> list[Figure]:
    figures = []
    with place.serve() as server:
        async with Notebook(place) as notebook, program(server) as client:
            warm_up = await notebook.write("warm up", running=False, chunks=50)
            for path in looks(warm_up).values():
                await look(client, server, path)
            for state, prompt in (("at work", f"rate-200-held-{LONG}"), ("finished", f"rate-200-markdown-{LONG}")):
                runs = [await start(client, prompt) for _ in range(LOOKS * len(looks(warm_up)))]
                for run in runs:
                    await written(client, run)
                figures += await look_at(state, client, server, runs, aim=30)
                if state == "at work":
                    await stop(client, [run.id for run in runs])
            for state, running in (("at work elsewhere", True), ("finished elsewhere", False)):
                runs = [await notebook.write(f"{state} {n}", running=running) for n in range(LOOKS * 3)]
                figures += await look_at(state, client, server, runs)
    return figures


async def written(client: httpx.AsyncClient, run: Run) -> None:
    """Returns when all of a long reply is there."""
    async with asyncio.timeout(10 * PATIENCE):
        while True:
            told = (await client.get(f"/api/runs/{run.id}")).raise_for_status().json()
            if told["status"] != "running" or len(told["content"]) >= (LONG - 1) * 4:
                return
            await asyncio.sleep(1)


async def look_at(
    state: str, client: httpx.AsyncClient, server: Server, runs: Sequence[Run], aim: float | None = None
) -> list[Figure]:
    """Each run is looked at in one way, twice: nothing of one way of looking may help the next."""
    figures = []
    for at, what in enumerate(looks(runs[0])):
        for when in ("first", "again"):
            took = [await look(client, server, looks(run)[what]) for run in runs[at * LOOKS : (at + 1) * LOOKS]]
            label = f"{state}: {what}, {when}, median ms"
            figures.append(Figure(label, statistics.median(took), aim if what == "snapshot" else None))
    return figures


def looks(run: Run) -> dict[str, str]:
    return {
        "snapshot": f"/runs/{run.id}/snapshot",
        "stream's first frame": f"/runs/{run.id}/stream",
        "conversation page": f"/c/{run.conversation_id}",
    }


async def look(client: httpx.AsyncClient, server: Server, path: str) -> float:
    began = time.perf_counter()
    if path.endswith("/stream"):
        await first_message(server, path)
    else:
        (await client.get(path)).raise_for_status()
    return (time.perf_counter() - began) * 1000


class Notebook:
    """Writes runs that nobody works on; those at work are leased for ever, so that nobody takes them over."""

    def __init__(self, place: Place) -> None:
        self._config = configure(place.database)
        self._writer = create_writer(self._config, PATIENCE)

    async def __aenter__(self) -> "Notebook":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._writer.close()
        await self._config.get_engine().dispose()

    async def write(self, name: str, *, running: bool, chunks: int = LONG) -> Run:
        """Every run's text is its own, down to the code in it."""
        run_id, conversation_id, asked, reply = uuid7(), uuid7(), uuid7(), uuid7()
        at = datetime.now(UTC)
        text = long_text(name, chunks)
        events = list(told(run_id, conversation_id, asked, reply, text, at, running=running))
        write: dict[Executable, list[Row]] = {
            ADD_CONVERSATION: [conversation_row(conversation_id, name, "assistant", at, leaf_id=reply)],
            ADD_MESSAGE: [
                message_row(asked, conversation_id, "user", "Tell me of rivers", at, parent_id=None),
                message_row(
                    reply, conversation_id, "assistant", "" if running else text, at, parent_id=asked, run_id=run_id
                ),
            ],
            ADD_RUN: [
                {
                    "id": run_id,
                    "conversation_id": conversation_id,
                    "user_message_id": asked,
                    "message_id": reply,
                    "team": "assistant",
                    "model": "benchmark",
                    "owner": uuid7(),
                    "leased_until": time.time() + 86_400,
                }
            ],
            ADD_EVENT: [to_row(Recorded(event, encode(event))) for event in events],
        }
        if not running:
            write[FINISH_RUN] = [{"run": run_id, "new_status": "complete", "now": at, "used": 0}]
        refusals = await self._writer.commit([write])
        assert refusals == [None], refusals
        return Run(str(run_id), str(conversation_id))


def long_text(name: str, tokens: int) -> str:
    size = tokens * 4
    own = (SECTION.replace("depth", f"depth_{name.replace(' ', '_')}_{n}") for n in range(size // len(SECTION) + 1))
    return "".join(own)[:size]


def told(
    run_id: UUID, conversation_id: UUID, asked: UUID, reply: UUID, text: str, at: datetime, *, running: bool
) -> Iterable[Event]:
    common: dict[str, Any] = {"run_id": run_id, "at": at}
    yield Start(
        **common,
        seq=1,
        conversation_id=conversation_id,
        user_message_id=asked,
        message_id=reply,
        team="assistant",
        model="benchmark",
    )
    common["agent"] = "Assistant"
    yield AgentStart(**common, seq=2, turn=1)
    seq = 2
    for offset in range(0, len(text), 4):
        seq += 1
        yield AgentChunk(**common, seq=seq, turn=1, text=text[offset : offset + 4], offset=offset)
    if not running:
        yield AgentComplete(**common, seq=seq + 1, turn=1, content=text, duration_ms=1000, finish_reason="stop")
        message = FinalMessage(reply, "assistant", text, "Assistant", at)
        yield Complete(**common, seq=seq + 2, status="complete", message=message)


# Going on after a kill


async def takeover(place: Place) -> list[Figure]:
    figures = []
    for count in (1, 100):
        kills = after_restarts if is_sqlite(place.database) else by_another_process
        waits = [kill async for kill in kills(place, count)]
        for what in waits[0]:
            of_all = sorted(wait for kill in waits for wait in kill[what])
            label = f"{count} run{'s' * (count > 1)}: from {what} to the next event"
            figures += [
                Figure(f"{label}, median s", statistics.median(of_all)),
                Figure(f"{label}, worst s", of_all[-1], 10),
            ]
    return figures


Waits = dict[str, list[float]]


async def by_another_process(place: Place, count: int) -> AsyncIterator[Waits]:
    with place.serve("another") as another:
        for n in range(KILLS):
            with place.serve("victim") as victim:
                runs = await some_work(victim, count, n)
                async with Followers(another, runs) as followers:
                    killed = kill(victim)
                    resumed = await followers.resumed()
            async with program(another) as client:
                await stop(client, runs)
            yield {"the kill": [at - killed for at in resumed]}


async def after_restarts(place: Place, count: int) -> AsyncIterator[Waits]:
    for n in range(KILLS):
        with place.serve() as victim:
            runs = await some_work(victim, count, n)
            killed = kill(victim)
        with place.serve() as server:
            ready = time.monotonic()
            async with Followers(server, runs) as followers:
                resumed = await followers.resumed()
            async with program(server) as client:
                await stop(client, runs)
        # A server goes on with what was left before it answers, so that the news may be there already.
        yield {"the kill": [at - killed for at in resumed], "being ready": [at - ready for at in resumed]}


async def some_work(server: Server, count: int, n: int) -> list[str]:
    async with program(server) as client:
        runs = [(await start(client, "rate-5-tokens-4000")).id for _ in range(count)]
    await asyncio.sleep(1 + n / KILLS)  # another moment between two looks at the leases each time
    return runs


def kill(server: Server) -> float:
    os.kill(server.pid, signal.SIGKILL)
    return time.monotonic()


class Followers:
    """Follows runs over one WebSocket, and notes when each was gone on with."""

    def __init__(self, server: Server, runs: Sequence[str]) -> None:
        self._server = server
        self._left = set(runs)
        self._resumed: list[float] = []

    async def __aenter__(self) -> "Followers":
        self._socket = await connect(socket_url(self._server), max_size=None)
        for run_id in self._left:
            await follow(self._socket, run_id)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def resumed(self) -> list[float]:
        async with asyncio.timeout(PATIENCE):
            while self._left:
                told = json.loads(await self._socket.recv())
                if told["type"] == "progress" and told["step"] == "resumed" and told["run_id"] in self._left:
                    self._left.remove(told["run_id"])
                    self._resumed.append(time.monotonic())
        return self._resumed


# WebSockets


async def socket(place: Place) -> list[Figure]:
    figures = []
    with place.serve() as server:
        async with program(server) as client:
            runs = [(await start(client, "rate-20-tokens-4000")).id for _ in range(SOCKET_RUNS)]
            figures += await live(server, runs)
            await stop(client, runs)
            figures += await again(server, runs)
            runs = [(await start(client, "rate-1-tokens-4000")).id for _ in range(SOCKET_RUNS)]
            figures += await memory(server, runs)
            await stop(client, runs)
    return figures


async def live(server: Server, runs: Sequence[str]) -> list[Figure]:
    """Runs of 20 tokens a second each."""
    async with connect(socket_url(server), max_size=None) as line:
        for run_id in runs:
            await follow(line, run_id)
        await count_events(line, 2)
        cpu = cpu_seconds(server.pid)
        events, seconds = await count_events(line, SECONDS)
        cpu = cpu_seconds(server.pid) - cpu
    return [
        Figure(f"{len(runs)} live runs over one connection, events a second", events / seconds),
        Figure("  server, % of a processor", 100 * cpu / seconds),
    ]


async def again(server: Server, runs: Sequence[str]) -> list[Figure]:
    """The same runs once more, from their beginning to their end, as fast as they are read."""
    async with connect(socket_url(server), max_size=None) as line:
        cpu, began = cpu_seconds(server.pid), time.monotonic()
        for run_id in runs:
            await follow(line, run_id)
        events, ended = 0, 0
        async with asyncio.timeout(PATIENCE):
            while ended < len(runs):
                told = json.loads(await line.recv())
                events += "seq" in told
                ended += told["type"] == "complete"
        seconds = time.monotonic() - began
        cpu = cpu_seconds(server.pid) - cpu
    return [
        Figure(f"{len(runs)} ended runs over one connection, events a second", events / seconds),
        Figure("  server CPU, ms per 1,000 events", cpu * 1e6 / events),
    ]


async def memory(server: Server, runs: Sequence[str]) -> list[Figure]:
    async with connect(socket_url(server)) as line:  # what is loaded once
        await follow(line, runs[0])
        await count_events(line, 2)
    before = resident_bytes(server.pid)
    lines = [await connect(socket_url(server)) for _ in range(SOCKETS)]
    try:
        quiet = resident_bytes(server.pid)
        for n, line in enumerate(lines):
            for run_id in [*runs, *runs][n % len(runs) :][:5]:
                await follow(line, run_id)
        counted = await asyncio.gather(*(count_events(line, 3) for line in lines))
        following = resident_bytes(server.pid)
    finally:
        await asyncio.gather(*(line.close() for line in lines))
    assert all(events for events, _ in counted)
    return [
        Figure(f"{SOCKETS} connections, kB each", (quiet - before) / 1000 / SOCKETS),
        Figure("  that follow five runs each, kB each", (following - before) / 1000 / SOCKETS),
    ]


async def count_events(line: ClientConnection, seconds: float) -> tuple[int, float]:
    began, events = time.monotonic(), 0
    try:
        async with asyncio.timeout(seconds):
            while True:
                events += b'"seq":' in await line.recv(decode=False)
    except TimeoutError:
        return events, time.monotonic() - began


def socket_url(server: Server) -> str:
    return f"ws://127.0.0.1:{server.port}/api/ws"


async def follow(line: ClientConnection, run_id: str) -> None:
    await line.send(json.dumps({"type": "follow", "id": run_id, "run_id": run_id}))


# As programs do


@asynccontextmanager
async def program(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        yield client


async def start(client: httpx.AsyncClient, prompt: str) -> Run:
    made = (await client.post("/api/conversations", json={})).raise_for_status().json()
    answer = await client.post(f"/api/conversations/{made['id']}/runs", json={"content": prompt})
    return Run(answer.raise_for_status().json()["run_id"], made["id"])


async def stop(client: httpx.AsyncClient, runs: Sequence[str]) -> None:
    """Returns when they have ended."""
    for run_id in runs:
        (await client.post(f"/api/runs/{run_id}/cancel")).raise_for_status()
    async with asyncio.timeout(PATIENCE):
        for run_id in runs:
            await client.get(f"/api/runs/{run_id}/events")


MEASURES: dict[str, Callable[[Place], Coroutine[Any, Any, list[Figure]]]] = {
    "reconnects": reconnects,
    "snapshot": snapshot,
    "takeover": takeover,
    "socket": socket,
}
