"""A program that talks over the WebSocket, and answers pings while it listens."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tests.controllers.api_kit import Json

PATIENCE = 30.0  # seconds, so that what never comes fails a test instead of stopping it


class Talk:
    def __init__(self, socket: ClientConnection, connected: Json) -> None:
        self.socket = socket
        self.connected = connected

    async def say(self, type: str, **message: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **message}))

    async def ask(self, type: str, **message: Any) -> Json:
        """Says it and returns what comes next, which is its answer where nothing is followed."""
        await self.say(type, **{"id": "1", **message})
        return await self.hear()

    async def start(self, content: str, **message: Any) -> Json:
        started = await self.ask("send", content=content, **message)
        assert started["type"] == "started", started
        return started

    async def hear(self) -> Json:
        message: Json = json.loads(await self.hear_text())
        return message

    async def hear_text(self) -> str:
        """The next message that is not a ping, as it came."""
        async with asyncio.timeout(PATIENCE):
            while (text := await self.socket.recv()) == '{"type":"ping"}':
                await self.say("pong")
        assert isinstance(text, str)
        return text

    async def events(self, *runs: str) -> dict[str, list[Json]]:
        """What is told of these runs until all of them are complete, in the order in which it came."""
        told: dict[str, list[Json]] = {run: [] for run in runs}
        open_runs = set(runs)
        while open_runs:
            event = await self.hear()
            told[event["run_id"]].append(event)
            if event["type"] == "complete":
                open_runs.remove(event["run_id"])
        return told

    async def first_text(self, run: str) -> list[Json]:
        """The run's events up to its first text."""
        told: list[Json] = []
        while not told or told[-1]["type"] != "agent_chunk":
            event = await self.hear()
            assert event["run_id"] == run
            told.append(event)
        return told

    async def closed(self) -> tuple[int | None, str | None]:
        """Code and reason with which the server ends it."""
        await self.to_the_end()
        return self.socket.close_code, self.socket.close_reason

    async def to_the_end(self) -> list[Json]:
        """Everything that comes until the connection is closed, with pings, which are not answered."""
        told: list[Json] = []
        with suppress(websockets.ConnectionClosed):
            for _ in range(100_000):
                async with asyncio.timeout(PATIENCE):
                    told.append(json.loads(await self.socket.recv()))
        return told


@asynccontextmanager
async def talk(url: str, **options: Any) -> AsyncIterator[Talk]:
    async with connect(url, **options) as socket:
        connected = json.loads(await socket.recv())
        assert connected["type"] == "connected", connected
        yield Talk(socket, connected)


async def refusal(url: str, **options: Any) -> tuple[int | None, str | None]:
    """The close code and reason of a connection that is not welcome."""
    async with connect(url, **options) as socket:
        return await Talk(socket, {}).closed()


def connect(url: str, **options: Any) -> websockets.connect:
    """Without the library's own limits and pings: a test may read nothing for a while."""
    address = url.replace("http", "ws", 1) + "/api/ws"
    return websockets.connect(address, proxy=None, max_size=None, ping_interval=None, **options)
