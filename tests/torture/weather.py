"""What befalls the servers and their database, at random moments."""

import asyncio
import logging
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from tests.postgres import Postgres
from tests.server import Server

log = logging.getLogger(__name__)

LEASE = 6.0  # seconds, after which another process takes a run over


class Weather:
    """`postgres` is None where the servers work on SQLite. Whatever is done is made good before the next thing."""

    def __init__(
        self, servers: Sequence[Server], postgres: Postgres | None, random: Random, pause: float, counts: Counter[str]
    ) -> None:
        self.servers = servers
        self.postgres = postgres
        self.random = random
        self.pause = pause  # seconds between two strokes, on average
        self.counts = counts
        self.strokes: list[Callable[[], Awaitable[None]]] = [self.kill, self.kill, self.restart, self.take_database]
        if len(servers) > 1:
            self.strokes += [self.freeze]

    async def blow(self, calm: asyncio.Event) -> None:
        while not calm.is_set():
            try:
                async with asyncio.timeout(self.random.uniform(0.2, 2) * self.pause):
                    await calm.wait()
            except TimeoutError:
                stroke = self.random.choice(self.strokes)
                began = time.monotonic()
                await stroke()
                log.info("%s took %.1f s", stroke.__name__, time.monotonic() - began)

    async def kill(self) -> None:
        """One, or all of them at once; sometimes again as soon as it answers."""
        struck = self.random.choice([[server] for server in self.servers] + [list(self.servers)])
        for _ in range(self.random.choice([1, 1, 1, 2])):
            for server in struck:
                self.counts["kills"] += 1
                await asyncio.to_thread(server.kill)
            if len(struck) < len(self.servers):
                await asyncio.sleep(self.random.choice([0, 1, LEASE + 3]))
            for server in struck:
                await asyncio.to_thread(server.start)

    async def restart(self) -> None:
        server = self.random.choice(self.servers)
        self.counts["restarts"] += 1
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)

    async def take_database(self) -> None:
        self.counts["database pauses"] += 1
        seconds = self.random.choice([0.2, 1, 4])
        if self.postgres is None:
            path = self.servers[0].folder / "data" / "riverrun.db"
            await asyncio.to_thread(lock, path, seconds)
            return
        await asyncio.to_thread(self.postgres.stop)
        struck = self.random.choice(self.servers) if self.random.random() < 0.3 else None
        if struck:
            self.counts["kills"] += 1
            await asyncio.to_thread(struck.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.postgres.start)
        if struck:
            await asyncio.to_thread(struck.start)

    async def freeze(self) -> None:
        """One stands still until the other has its runs, and then goes on as if nothing had been."""
        self.counts["freezes"] += 1
        server = self.random.choice(self.servers)
        server.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(LEASE + self.random.uniform(0, 4))
        finally:
            server.send(signal.SIGCONT)


def lock(database: Path, seconds: float) -> None:
    """Another process that writes, and takes its time."""
    with closing(sqlite3.connect(database, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
