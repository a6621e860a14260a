"""Those who follow a run: over every interface, over connections that are cut, with nothing but what they got."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from random import Random
from typing import Any
from uuid import UUID

import httpx
import websockets
from msgspec import Struct, field

from riverrun.agents.events import encode
from riverrun.client import Client as Library
from riverrun.client import ClientError, Refused
from tests.server import Server

Json = dict[str, Any]
PASSING = {502, 503, 504}
TRANSPORT = (httpx.TransportError, OSError, TimeoutError, websockets.WebSocketException)
MOST_CUTS = 6  # of one client's connection; then it stays to the end


class Fault(Exception):
    """Something that must never be."""


class Client(Struct):
    """One follower. `first` is its first cursor; `events` is all that it got, in that order."""

    kind: str
    run_id: str
    servers: list[Server]
    random: Random
    first: int = 0
    leaves: bool = False  # for good, before the end
    events: list[Json] = field(default_factory=list)
    ended: bool = False
    left: bool = False
    connections: int = 0
    seen: list[tuple[int, str, str]] = field(default_factory=list)  # seq, status and text, of one that only looks

    @property
    def cursor(self) -> int:
        return self.events[-1]["seq"] if self.events else self.first

    @property
    def url(self) -> str:
        return self.random.choice(self.servers).url

    def take(self, event: Json) -> None:
        self.events.append(event)
        self.ended = event["type"] == "complete"

    async def follow(self) -> None:
        """Until the run's end, unless it leaves. Raises Fault."""
        await asyncio.sleep(self.random.choice([0, 0, 0.05, 0.5, 2]))  # some come late
        await self._reach_first()
        while not (self.ended or self.left):
            self.connections += 1
            patience = self.random.expovariate(1 / 2) if self.connections < MOST_CUTS else None
            with suppress(TimeoutError, *TRANSPORT):
                async with asyncio.timeout(patience):
                    await WAYS[self.kind](self)
            if self.leaves and self.connections >= 2:
                self.left = not self.ended
            await asyncio.sleep(self.random.choice([0, 0.1, 0.5, 1]))

    async def _reach_first(self) -> None:
        """A cursor that nobody has given out yet is refused."""
        async with httpx.AsyncClient(timeout=40, verify=False) as http:
            while self.first:
                with suppress(*TRANSPORT):
                    answer = await http.get(f"{self.url}/api/runs/{self.run_id}")
                    if answer.status_code == 200 and answer.json()["seq"] >= self.first:
                        return
                await asyncio.sleep(0.1)


async def stream(client: Client) -> None:
    """Server-Sent Events by hand; the cursor goes as either of the two ways in which it may."""
    address, headers = f"{client.url}/api/runs/{client.run_id}/events", {}
    if client.random.random() < 0.5:
        headers["Last-Event-ID"] = str(client.cursor)
    else:
        address += f"?after={client.cursor}"
    async with (
        httpx.AsyncClient(timeout=40, verify=False) as http,
        http.stream("GET", address, headers=headers) as answer,
    ):
        if answer.status_code in PASSING:
            return
        if answer.status_code == 204:
            require(bool(client.events) or client.first > 0, "204 for a client that has nothing")
            client.ended = True
            return
        require(answer.status_code == 200, f"{answer.status_code} for a run's events: {(await answer.aread())[:300]!r}")
        async for number, name, event in messages(answer):
            if not number and name == "error":
                return  # the database is away
            require(name == event["type"] and number == str(event["seq"]), f"id {number}, event {name} for {event}")
            client.take(event)


async def messages(answer: httpx.Response) -> AsyncIterator[tuple[str, str, Json]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"])
            fields = {}
        else:
            fields = {}


async def socket(client: Client) -> None:
    address = f"ws{client.url.removeprefix('http')}/api/ws"
    async with websockets.connect(address, max_size=None, close_timeout=0.5, open_timeout=20) as link:
        follow = {"type": "follow", "id": "1", "run_id": client.run_id, "after": client.cursor}
        await link.send(json.dumps(follow))
        async for text in link:
            said = json.loads(text)
            match said["type"]:
                case "connected" | "following":
                    pass
                case "ping":
                    await link.send('{"type":"pong"}')
                case "unfollowed":
                    client.ended = True
                    return
                case "refused":
                    require(said["status"] in PASSING, f"the socket refuses: {said}")
                    return
                case _:
                    client.take(said)
                    if client.ended:
                        return
    require(link.close_code in (1000, 1001, 1006, 1012, 4503), f"the socket was closed with {link.close_code}")


async def library(client: Client) -> None:
    """`riverrun.client`, which reconnects by itself; what is cut here is the loop around it."""
    async with Library(client.url, attempts=12, backoff=0.1) as known:
        try:
            async with aclosing(known.follow(UUID(client.run_id), client.cursor)) as events:
                async for event in events:
                    client.take(json.loads(encode(event)))
            client.ended = True
        except Refused as refusal:
            require(refusal.status in PASSING, f"the client is refused: {refusal}")
        except ClientError:
            return


async def library_socket(client: Client) -> None:
    async with Library(client.url, attempts=12, backoff=0.1) as known:
        try:
            async with known.socket() as line, aclosing(line.follow(UUID(client.run_id), client.cursor)) as events:
                async for event in events:
                    client.take(json.loads(encode(event)))
            client.ended = True
        except Refused as refusal:
            require(refusal.status in PASSING, f"the client's socket is refused: {refusal}")
        except ClientError:
            return


async def reloads(client: Client) -> None:
    """Somebody who looks at the run and its conversation again and again."""
    async with httpx.AsyncClient(timeout=40, verify=False) as http:
        while not client.ended:
            run = await http.get(f"{client.url}/api/runs/{client.run_id}")
            if run.status_code in PASSING:
                return
            require(run.status_code == 200, f"{run.status_code} for a run: {run.text[:300]}")
            told = run.json()
            client.seen.append((told["seq"], told["status"], told["content"]))
            shown = await http.get(f"{client.url}/api/conversations/{told['conversation_id']}?limit=500")
            if shown.status_code in PASSING:
                return
            require(shown.status_code == 200, f"{shown.status_code} for a conversation: {shown.text[:300]}")
            client.ended = told["status"] != "running"
            await asyncio.sleep(client.random.choice([0.02, 0.2, 0.6]))


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Fault(otherwise)


WAYS: dict[str, Callable[[Client], Any]] = {
    "stream": stream,
    "socket": socket,
    "library": library,
    "library socket": library_socket,
    "reloads": reloads,
}
