"""A model server that costs next to nothing: OpenAI-compatible chat completions at a set rate, or unpaced.

The last user message, or else the model's name, says what to emit: `rate-10-tokens-100` is 10 tokens a
second, 100 of them, each one write; `rate-max-tokens-2000` is as fast as the socket takes them, many tokens a
write; `rate-500-markdown-10000` is formatted text, with code of its own in every reply; `rate-500-held-10000` is such a
text, after which nothing comes, and no end. Every token but those of markdown carries the time at
which it was written (`t0123456789 `, microseconds of the monotonic clock), so that a receiver on the same
machine can tell what was added on the way. Markdown ends with the wall clock in milliseconds:
`ended 1700000000000`.

HTTP/1.1 gets chunked encoding and keep-alive, as from real servers; HTTP/1.0 gets bare bytes until the
connection closes.
"""

import argparse
import asyncio
import itertools
import json
import re
import time
from collections import defaultdict
from typing import Any, cast

import uvloop

WRAP = 10**10  # stamps have ten digits of microseconds: they begin again every 2.8 hours
PARAGRAPH = 40  # tokens, so that a long reply has the shape of text
BATCH = 32  # tokens a write when unpaced
ORDER = re.compile(r"rate-(max|[\d.]+)-(tokens|markdown|held)-(\d+)")


def stamp() -> int:
    return time.monotonic_ns() // 1000 % WRAP


class Wheel:
    """One timer for all streams: each waits in the slot of the millisecond in which its next token is due."""

    def __init__(self) -> None:
        self.slots: defaultdict[int, list[Reply]] = defaultdict(list)
        self.at = 0
        self.turning = False

    def wait(self, reply: "Reply") -> None:
        if not self.turning:
            self.turning = True
            self.at = int(time.monotonic() * 1000)
            asyncio.get_running_loop().call_soon(self.turn)
        self.slots[max(int(reply.due * 1000), self.at)].append(reply)

    def turn(self) -> None:
        now = int(time.monotonic() * 1000)
        while self.at <= now:
            due = self.slots.pop(self.at, ())
            self.at += 1
            for reply in due:
                reply.emit()
        self.turning = bool(self.slots)
        if self.turning:
            asyncio.get_running_loop().call_later(0.001, self.turn)


wheel = Wheel()


def message(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
    chunk = {
        "id": "chatcmpl-benchmark",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "benchmark",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: " + json.dumps(chunk | more, separators=(",", ":")).encode() + b"\n\n"


def framed(data: bytes) -> bytes:
    """As one chunk of HTTP/1.1's chunked encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Stamps:
    """Where a stamp stands in the bytes of a chunk is the same for all: only its digits are written anew."""

    def __init__(self, chunked: bool) -> None:
        frame = framed if chunked else bytes
        self.word = frame(message({"content": "t0123456789 "})).split(b"0123456789")
        self.paragraph = frame(message({"content": "t0123456789\n\n"})).split(b"0123456789")

    def token(self, number: int, at: int) -> bytes:
        before, after = self.word if number % PARAGRAPH else self.paragraph
        return b"%b%010d%b" % (before, at, after)


STAMPS = {chunked: Stamps(chunked) for chunked in (True, False)}

SECTION = """## What a river carries

A river moves *water*, **sand** and stories; `flow` is measured in [cubic metres](https://example.org/flow) a
second, and nobody steps into the same one twice. It bends where the ground is soft and hurries elsewhere.

- the spring, where it starts
- the middle, where it works
  - mills
  - ferries
- the mouth, where it rests

| river | length | countries |
|---|---:|---:|
| Danube | 2850 | 10 |
| Rhine | 1233 | 6 |

```python
def depth(readings: list[float]) -> float:
    \"\"\"The mean of what was measured.\"\"\"
    return sum(readings) / len(readings)
```

> What is read stays read.

1. Measure.
2. Compare.
3. Decide.

"""


replies = itertools.count()


def markdown(count: int) -> list[str]:
    """`count` tokens of four characters of formatted text; the last is left for the time."""
    reply = next(replies)
    sections = (SECTION.replace("depth", f"depth_{reply}_{n}") for n in range(count * 4 // len(SECTION) + 1))
    text = "".join(sections)
    return [text[at : at + 4] for at in range(0, (count - 1) * 4, 4)] + ["\n\n"]


class Reply:
    """One stream of tokens to one connection."""

    def __init__(self, connection: "Connection", rate: float | None, kind: str, count: int, chunked: bool):
        self.connection = connection
        self.interval = 1 / rate if rate else 0.0
        self.count = count
        self.chunked = chunked
        self.text = None if kind == "tokens" else markdown(count)
        self.held = kind == "held"
        self.sent = 0
        self.last = 0
        self.due = time.monotonic()

    def start(self) -> None:
        if self.interval:
            wheel.wait(self)
        else:
            self.pour()

    def token(self) -> bytes:
        number, self.sent = self.sent, self.sent + 1
        if self.text:
            last = f"ended {time.time() * 1000:.0f}" if self.sent == self.count else ""
            data = message({"content": self.text[number] + last})
            return framed(data) if self.chunked else data
        # A stream's stamps never repeat, so that a receiver can tell a token that is told twice.
        self.last = max(stamp(), self.last + 1)
        return STAMPS[self.chunked].token(number, self.last)

    def emit(self) -> None:
        """One token in one write, then wait for the next to be due."""
        if self.connection.reply is not self:
            return
        self.connection.write(self.token())
        self.due += self.interval
        if self.sent < self.count:
            wheel.wait(self)
        elif not self.held:
            self.connection.finish()

    def pour(self) -> None:
        """Many tokens in one write, as long as the socket takes them."""
        if self.connection.reply is not self or self.connection.paused:
            return
        self.connection.write(b"".join(self.token() for _ in range(min(BATCH, self.count - self.sent))))
        if self.sent < self.count:
            asyncio.get_running_loop().call_soon(self.pour)
        else:
            self.connection.finish()


class Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self) -> None:
        self.buffer = b""
        self.reply: Reply | None = None
        self.usage = False
        self.keep = True
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.write = self.transport.write

    def connection_lost(self, exc: Exception | None) -> None:
        self.reply = None

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.reply and not self.reply.interval:
            self.reply.pour()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self.buffer = rest[size:]
        self.keep = b" HTTP/1.1\r\n" in head
        if head.startswith(b"POST"):
            self.complete(json.loads(rest[:size]))
        else:
            self.answer({"object": "list", "data": [{"id": "benchmark", "object": "model"}]})

    def complete(self, body: dict[str, Any]) -> None:
        if not body.get("stream"):
            text = {"role": "assistant", "content": "A benchmark"}
            self.answer({"id": "1", "choices": [{"index": 0, "message": text, "finish_reason": "stop"}]})
            return
        self.usage = bool((body.get("stream_options") or {}).get("include_usage"))
        encoding = b"Transfer-Encoding: chunked\r\n" if self.keep else b"Connection: close\r\n"
        self.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n" + encoding + b"\r\n")
        self.reply = Reply(self, *order(body), chunked=self.keep)
        self.reply.start()

    def finish(self) -> None:
        assert self.reply
        end = message({}, "stop")
        if self.usage:
            count = self.reply.count
            usage = {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}
            end += message({}, choices=[], usage=usage)
        end += b"data: [DONE]\n\n"
        self.reply = None
        self.write(framed(end) + b"0\r\n\r\n" if self.keep else end)
        if not self.keep:
            self.transport.close()

    def answer(self, value: dict[str, Any]) -> None:
        body = json.dumps(value).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.write(head + body)


def order(body: dict[str, Any]) -> tuple[float | None, str, int]:
    """What is asked for: tokens a second (None is unpaced), the kind of text, the number of tokens."""
    asked = [json.dumps(message) for message in body["messages"] if message["role"] == "user"]
    found = ORDER.findall(asked[-1] if asked else "") or ORDER.findall(body["model"])
    rate, kind, count = found[-1] if found else ("10", "tokens", "100")
    return None if rate == "max" else float(rate), kind, int(count)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A model server that emits at a set rate.")
    parser.add_argument("--port", type=int, default=11500)
    uvloop.run(serve(parser.parse_args().port))
