"""Those who talk: each in a conversation of their own, impatient, and with whoever follows what they started."""

import asyncio
import time
from collections import Counter
from random import Random
from typing import Any
from uuid import UUID

import httpx
from msgspec import Struct, field

from riverrun.client import Client as Library
from riverrun.client import ClientError
from tests.server import Server
from tests.torture.clients import PASSING, WAYS, Client, Fault, Json
from tests.torture.scripts import TEAMS, mark

PATIENCE = 150.0  # seconds for a run to end, whatever happens to it
MARKS = 8


class Book(Struct):
    """What everybody saw and was told, to be compared with what was saved."""

    servers: list[Server]
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    following: list[asyncio.Task[None]] = field(default_factory=list)
    runs: set[str] = field(default_factory=set)
    stops: dict[str, float] = field(default_factory=dict)  # by run: when Stop was acknowledged, or infinity
    said: dict[str, str] = field(default_factory=dict)  # by id: what was acknowledged of what people said
    withdrawn: set[str] = field(default_factory=set)

    def know(self, run_id: str) -> None:
        """A run that has begun gets its followers."""
        if run_id in self.runs:
            return
        self.runs.add(run_id)
        random = Random(f"{self.seed} followers {len(self.runs)}")
        for kind in random.sample(sorted(WAYS), random.randint(2, 4)):
            first = random.choice([0, 0, 0, 1, 4]) if kind != "reloads" else 0
            client = Client(
                kind,
                run_id,
                self.servers,
                Random(f"{self.seed} {kind} {len(self.clients)}"),
                first,
                leaves=random.random() < 0.15,
            )
            self.clients.append(client)
            self.following.append(asyncio.create_task(self._follow(client)))

    async def _follow(self, client: Client) -> None:
        try:
            await client.follow()
        except Fault as fault:
            self.faults.append(f"{client.kind} of run {client.run_id}: {fault}")
        except Exception as failure:
            self.faults.append(f"{client.kind} of run {client.run_id}: {failure!r}")


class Person:
    def __init__(self, book: Book, number: int, share: int) -> None:
        self.book = book
        self.number = number
        self.share = share  # of the runs
        self.random = Random(f"{book.seed} person {number}")
        self.conversation = ""
        self.messages = 0
        self.last_run = ""
        self.counted: set[str] = set()  # runs of this share
        self.http = httpx.AsyncClient(timeout=60, verify=False)  # which no address here needs, and takes long to set up

    async def live(self) -> None:
        try:
            async with self.http:
                await self._settle_in()
                while self.share > 0:
                    await self._speak()
        except Fault as fault:
            self.book.faults.append(f"person {self.number}: {fault}")
        except Exception as failure:
            self.book.faults.append(f"person {self.number}: {failure!r}")

    async def ask(self, method: str, path: str, **body: Any) -> httpx.Response | None:
        """None where nobody can know what came of it, or where it has to be asked again later."""
        url = self.random.choice(self.book.servers).url
        try:
            answer = await self.http.request(method, url + path, json=body if method == "POST" else None)
        except httpx.TransportError:
            return None
        if answer.status_code in PASSING:
            return None
        if answer.status_code >= 500 or answer.status_code in (400, 404):
            self.book.faults.append(f"{method} {path} is answered {answer.status_code}: {answer.text[:300]}")
        return answer

    async def insist(self, method: str, path: str, **body: Any) -> Json:
        """What does no harm when it is done twice."""
        for _ in range(600):
            answer = await self.ask(method, path, **body)
            if answer is not None and answer.is_success:
                told: Json = answer.json()
                return told
            await asyncio.sleep(0.1)
        raise Fault(f"{method} {path} got no answer for a minute")

    async def _settle_in(self) -> None:
        project = await self.insist("POST", "/api/projects", name=f"Project {self.number}")
        conversation = await self.insist("POST", "/api/conversations", project_id=project["id"])
        self.conversation = conversation["id"]

    def words(self, number: int) -> str:
        """Unlike everything else that is said."""
        self.messages += 1
        return f"Message {self.messages} of {self.number}: where does it run? {mark(number)}"

    async def _speak(self) -> None:
        number = self.messages % MARKS
        roll = self.random.random()
        if roll < 0.15 and self.last_run:
            self.book.counts["retries"] += 1
            answer = await self.ask("POST", f"/api/runs/{self.last_run}/retries")
        elif roll < 0.3 and self.last_run:
            answer = await self._edit(number)
        elif roll < 0.5:
            answer = None
            await self._speak_by_library(number)
        else:
            team, content = self.random.choice(TEAMS), self.words(number)
            path = f"/api/conversations/{self.conversation}/runs"
            answer = await self.ask("POST", path, content=content, team=team)
        if answer is not None and answer.status_code == 202:
            started = answer.json()
            self.book.know(started["run_id"])
        await self._meddle(number)

    async def _speak_by_library(self, number: int) -> None:
        team, content = self.random.choice(TEAMS), self.words(number)
        async with Library(self.random.choice(self.book.servers).url, attempts=3, backoff=0.1) as client:
            try:
                if self.random.random() < 0.5:
                    run = await client.send(content, conversation=UUID(self.conversation), team=team)
                else:
                    async with client.socket() as socket:
                        run = await socket.send(content, conversation=UUID(self.conversation), team=team)
                self.book.know(str(run.id))
            except ClientError:
                return  # busy, uncertain or away: the conversation shows it

    async def _edit(self, number: int) -> httpx.Response | None:
        """Something else in the place of a message, or after one in the middle of the conversation."""
        said = [message for message in await self._shown() if message["role"] == "user"]
        if not said:
            return None
        self.book.counts["branches"] += 1
        message = self.random.choice(said)
        path = f"/api/conversations/{self.conversation}/runs"
        return await self.ask("POST", path, content=self.words(number), instead_of=message["id"])

    async def _shown(self) -> list[Json]:
        conversation = await self.insist("GET", f"/api/conversations/{self.conversation}?limit=500")
        messages: list[Json] = conversation["messages"]
        return messages

    async def _meddle(self, number: int) -> None:
        """Until nothing is at work here: runs may also have begun without an answer, or by themselves."""
        added: list[tuple[str, str]] = []
        deadline = time.monotonic() + PATIENCE
        while True:
            replies = [message for message in await self._shown() if message["run_id"]]
            for reply in replies:
                if reply["run_id"] not in self.book.runs:
                    self.book.know(reply["run_id"])
            working = [reply["run_id"] for reply in replies if reply["status"] == "running"]
            fresh = {reply["run_id"] for reply in replies}
            self.last_run = replies[-1]["run_id"] if replies else ""
            if not working:
                break
            if time.monotonic() > deadline:
                raise Fault(f"run {working[0]} does not end")
            await asyncio.sleep(self.random.uniform(0.05, 0.8))
            await self._interfere(working[0], number, added)
        self.share -= len(fresh - self.counted)
        self.counted |= fresh

    async def _interfere(self, run_id: str, number: int, added: list[tuple[str, str]]) -> None:
        book, roll = self.book, self.random.random()
        if roll < 0.06:
            book.stops.setdefault(run_id, float("inf"))
            answer = await self.ask("POST", f"/api/runs/{run_id}/cancel")
            if answer is not None and answer.status_code == 202:
                book.stops[run_id] = min(book.stops[run_id], time.time())
                book.counts["stops"] += 1
        elif roll < 0.2:
            when, content = self.random.choice(["now", "now", "next"]), self.words(number)
            answer = await self.ask("POST", f"/api/runs/{run_id}/messages", content=content, when=when)
            if answer is not None and answer.status_code == 202:
                book.counts["additions"] += 1
                message_id = answer.json()["message_id"]
                book.said[message_id] = content
                added.append((run_id, message_id))
        elif roll < 0.26 and added:
            run_id, message_id = self.random.choice(added)
            answer = await self.ask("DELETE", f"/api/runs/{run_id}/messages/{message_id}")
            if answer is not None and answer.status_code == 204:
                book.counts["withdrawals"] += 1
                book.withdrawn.add(message_id)
