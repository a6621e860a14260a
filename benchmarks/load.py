"""Opens streams against a server and measures what they get and what they cost.

    python -m benchmarks.load riverrun --port 8000 --server PID --streams 200 --rate 10 --tokens 100

The tokens carry the time at which `benchmarks.model` sent them, so the latency that was added on the way is
known for each of them, however many arrive in one chunk. A token that is told twice (by `complete`, or by the
tail that a page replaces) counts once.
"""

import argparse
import asyncio
import html
import json
import os
import re
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from typing import Protocol, cast
from urllib.parse import quote_plus

import uvloop

from .model import WRAP, stamp
from .process import cpu_seconds, machine_seconds, resident_bytes

TOKEN = re.compile(rb"t(\d{10})")
STREAM_URL = re.compile(rb'hx-sse:connect="([^"]+)"')
ERROR_CODE = re.compile(rb'event: error\n(?:id: .*\n)?data: .*"code":"([^"]+)"')
JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded\r\nHX-Request: true"
SETTLE = 0.5  # seconds after the last stream, so that work which a server puts off is counted too


class StreamError(Exception):
    """What went wrong with one stream, in a few words that are the same for all of its kind."""


class Sink(Protocol):
    def feed(self, data: bytes) -> None: ...


class Whole:
    """Keeps a short body as it is."""

    def __init__(self) -> None:
        self.body = b""

    def feed(self, data: bytes) -> None:
        self.body += data


class Stream:
    """Counts and times the tokens of one reply."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.began = time.monotonic()
        self.asked = 0.0
        self.first = 0.0
        self.first_added = 0
        self.tokens = 0
        self.last = -1
        self.rest = b""
        self.code = ""

    def feed(self, data: bytes) -> None:
        now = stamp()
        lines, _, self.rest = (self.rest + data).rpartition(b"\n")
        news = 0
        for digits in TOKEN.findall(lines):
            sent = int(digits)
            if sent > self.last:
                self.last = sent
                self.load.added.append((now - sent) % WRAP)
                news += 1
        if news:
            if not self.tokens:
                self.first = time.monotonic()
                self.first_added = self.load.added[-news]
            self.tokens += news
            self.load.tokens += news
            self.load.chunks += 1
        if b"event: error" in lines and (code := ERROR_CODE.search(lines)):
            self.code = code[1].decode()


class Client(asyncio.Protocol):
    """One connection: as little HTTP/1.1 as a stream needs, because it shares a processor with the model."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = b""
        self.answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail("cut off")

    async def ask(self, line: str, body: bytes, sink: Sink, headers: str = JSON) -> None:
        """Ends with the response; `line` is method and path."""
        head = f"{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}\r\n"
        self.sink = sink
        self.head = b""
        self.left = 0
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body))
        await self.answer

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        if not self.head:
            self.head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                self.head, self.buffer = b"", data
                return
            data = rest
            self.chunked = b"\r\ntransfer-encoding: chunked" in self.head.lower()
            if length := re.search(rb"(?i)\r\ncontent-length: *(\d+)", self.head):
                self.left = int(length[1])
        self.buffer = self.chunks(data) if self.chunked else self.part(data)

    def chunks(self, data: bytes) -> bytes:
        """Feeds the chunks that are whole and returns what is left."""
        at = 0
        while (line := data.find(b"\r\n", at)) > 0:
            size = int(data[at:line], 16)
            end = line + 2 + size
            if len(data) < end + 2:
                break
            if not size:
                self.succeed()
                return data[end + 2 :]
            self.sink.feed(data[line + 2 : end])
            at = end + 2
        return data[at:]

    def part(self, data: bytes) -> bytes:
        self.left -= len(data)
        self.sink.feed(data)
        if self.left <= 0:
            self.succeed()
        return b""

    def succeed(self) -> None:
        status = self.head.split(b" ", 2)[1].decode()
        if status >= "400":
            self.fail(f"status {status}")
        elif self.answer and not self.answer.done():
            self.answer.set_result(None)

    def fail(self, why: str) -> None:
        if self.answer and not self.answer.done():
            self.answer.set_exception(StreamError(why))


async def relay(client: Client, stream: Stream, prompt: str) -> None:
    body = {"model": "benchmark", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    stream.asked = time.monotonic()
    await client.ask("POST /", json.dumps(body).encode(), stream)


async def riverrun(client: Client, stream: Stream, prompt: str) -> None:
    made = Whole()
    await client.ask("POST /api/conversations", b"{}", made)
    stream.asked = time.monotonic()
    path = f"/api/conversations/{json.loads(made.body)['id']}/messages/stream"
    await client.ask(f"POST {path}", json.dumps({"content": prompt}).encode(), stream)


async def page(client: Client, stream: Stream, prompt: str) -> None:
    """As the page does it: the composer's form makes a conversation and answers with where to listen."""
    answer = Whole()
    stream.asked = time.monotonic()
    form = f"content={quote_plus(prompt)}&stream=on".encode()
    await client.ask("POST /messages", form, answer, FORM)
    if not (found := STREAM_URL.search(answer.body)):
        raise StreamError("no stream in the answer")
    await client.ask(f"GET {html.unescape(found[1].decode())}", b"", stream)


TARGETS: dict[str, Callable[[Client, Stream, str], Awaitable[None]]] = {
    "relay": relay,
    "riverrun": riverrun,
    "page": page,
}


@dataclass
class Sample:
    at: float
    cpu: float
    tokens: int
    resident: int


@dataclass
class Figures:
    """Times in milliseconds, processors in percent of one; `elsewhere` is what other processes used."""

    target: str
    streams: int
    tokens: int
    seconds: float
    errors: dict[str, int]
    made_p50: float
    made_p99: float
    first_p50: float
    first_p99: float
    first_added_p50: float
    first_added_p99: float
    added_p50: float
    added_p99: float
    tokens_per_second: float
    chunks_per_second: float
    cpu_per_1000_tokens: float
    cpu_per_1000_tokens_steady: float | None
    cpu_per_1000_chunks: float
    cpu_per_start: float | None
    kilobytes_per_stream: float
    idle_megabytes: float
    server_cpu: float
    model_cpu: float
    client_cpu: float
    elsewhere_cpu: float


@dataclass
class Load:
    """`rate` is tokens a second of each stream (None is unpaced), `ramp` the streams started a second."""

    target: str
    port: int
    server: int
    model: int
    streams: int
    rate: float | None
    count: int
    ramp: float
    deadline: float
    tokens: int = 0
    chunks: int = 0
    added: "array[int]" = field(default_factory=lambda: array("Q"))
    samples: list[Sample] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    firsts: list[Stream] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    async def run(self) -> Figures:
        await self.warm_up()
        sampler = asyncio.create_task(self.sample())
        before = self.costs()
        await self.start_all()
        finished = time.monotonic()
        await asyncio.sleep(SETTLE)
        sampler.cancel()
        spent = [after - was for after, was in zip(self.costs(), before, strict=True)]
        return self.figures(finished, spent)

    async def warm_up(self) -> None:
        """What a server loads once is neither a stream's time nor its memory."""
        for _ in range(3):
            await self.follow("rate-100-tokens-5")
        await asyncio.sleep(SETTLE)
        if self.errors:
            raise SystemExit(f"{self.target} does not answer: {dict(self.errors)}")
        self.tokens = self.chunks = 0
        self.added = array("Q")
        self.firsts, self.ends = [], []
        self.idle = resident_bytes(self.server)

    async def start_all(self) -> None:
        prompt = f"rate-{self.rate or 'max'}-tokens-{self.count}"
        self.began = time.monotonic()
        tasks = []
        for number in range(self.streams):
            await asyncio.sleep(self.began + number / self.ramp - time.monotonic())
            tasks.append(asyncio.create_task(self.follow(prompt, self.count)))
        _, late = await asyncio.wait(tasks, timeout=self.began + self.deadline - time.monotonic())
        for task in late:
            task.cancel()
            self.errors["not done in time"] += 1

    async def follow(self, prompt: str, count: int | None = None) -> None:
        stream = Stream(self)
        try:
            _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", self.port)
            try:
                await TARGETS[self.target](client, stream, prompt)
            finally:
                client.transport.abort()
            if stream.code:
                raise StreamError(f"error event: {stream.code}")
            if count and stream.tokens < count:
                raise StreamError("tokens missing")
        except (StreamError, OSError) as failure:
            self.errors[str(failure) if isinstance(failure, StreamError) else type(failure).__name__] += 1
        if stream.tokens:
            self.firsts.append(stream)
            self.ends.append(time.monotonic())

    async def sample(self) -> None:
        while True:
            self.samples.append(
                Sample(time.monotonic(), cpu_seconds(self.server), self.tokens, resident_bytes(self.server))
            )
            await asyncio.sleep(0.1)

    def costs(self) -> tuple[float, float, float, float]:
        return cpu_seconds(self.server), cpu_seconds(self.model), cpu_seconds(os.getpid()), machine_seconds()

    def figures(self, finished: float, spent: list[float]) -> Figures:
        server, model, client, machine = spent
        seconds = finished - self.began
        first = sorted((stream.first - stream.asked) * 1000 for stream in self.firsts)
        made = sorted((stream.asked - stream.began) * 1000 for stream in self.firsts)
        first_added = sorted(stream.first_added / 1000 for stream in self.firsts)
        added = sorted(self.added)
        steady = self.steady()
        most = max(sample.resident for sample in self.samples)
        return Figures(
            target=self.target,
            streams=self.streams,
            tokens=self.tokens,
            seconds=seconds,
            errors=dict(self.errors),
            made_p50=percentile(made, 50),
            made_p99=percentile(made, 99),
            first_p50=percentile(first, 50),
            first_p99=percentile(first, 99),
            first_added_p50=percentile(first_added, 50),
            first_added_p99=percentile(first_added, 99),
            added_p50=percentile(added, 50) / 1000,
            added_p99=percentile(added, 99) / 1000,
            tokens_per_second=self.tokens / seconds,
            chunks_per_second=self.chunks / seconds,
            cpu_per_1000_tokens=server * 1e6 / max(self.tokens, 1),
            cpu_per_1000_tokens_steady=steady and steady * 1e6,
            cpu_per_1000_chunks=server * 1e6 / max(self.chunks, 1),
            cpu_per_start=steady and (server - steady * self.tokens) * 1000 / self.streams,
            kilobytes_per_stream=(most - self.idle) / 1000 / self.streams,
            idle_megabytes=self.idle / 1e6,
            server_cpu=100 * server / (seconds + SETTLE),
            model_cpu=100 * model / (seconds + SETTLE),
            client_cpu=100 * client / (seconds + SETTLE),
            elsewhere_cpu=100 * max(machine - server - model - client, 0) / (seconds + SETTLE),
        )

    def steady(self) -> float | None:
        """Seconds of processor a token while all streams run: neither starts nor ends are in it."""
        if len(self.firsts) < self.streams:
            return None
        begin, end = max(stream.first for stream in self.firsts), min(self.ends)
        inside = [sample for sample in self.samples if begin <= sample.at <= end]
        if len(inside) < 10:
            return None
        return (inside[-1].cpu - inside[0].cpu) / max(inside[-1].tokens - inside[0].tokens, 1)


def percentile(ordered: "list[float] | list[int]", percent: int) -> float:
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description="Opens streams and measures what they get and cost.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--server", type=int, required=True, help="process id of the server")
    parser.add_argument("--model", type=int, default=os.getpid(), help="process id of the model server")
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rate", type=float, help="tokens a second of each stream; unpaced without it")
    parser.add_argument("--tokens", type=int, default=100, dest="count")
    parser.add_argument("--ramp", type=float, default=200, help="streams started a second")
    parser.add_argument("--deadline", type=float, default=60, help="seconds")
    figures = uvloop.run(Load(**vars(parser.parse_args())).run())
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
