"""A scripted OpenAI-compatible model server, and a client that starts and steers it.

    with ModelServer.start() as server:          # a process of its own on a free port of 127.0.0.1
        server.url                               # "http://127.0.0.1:40123/v1"
        server.script([{"text": "Hello "}, {"gate": "more"}, {"text": "world"}], match="greet")
        ...                                      # the page shows "Hello ", deterministically
        server.open_gate("more")
        server.requests()                        # what came in
        server.wait_closed(0)                    # returns when the first request's client has hung up

Every method blocks. In a coroutine that is fine for all but `wait_gate` and `wait_closed`, whose cause may be
in the same event loop: use `await asyncio.to_thread(server.wait_closed, 0)` there.

A request takes the oldest script that matches and is not used up. `match` is a part of the last user message
or the name of the model ("" matches all), `times` says how often it serves (None: always) and `stream`
restricts it to requests that ask for a stream (True) or do not (False). `system` is a part of what the system
says, and `answers` how many answers of tools came before: by these an agent's request gets the same script
however often it is asked. Without a script the last user message comes back as markdown.

A script is a list of steps, done in order:

| step | does |
|---|---|
| `{"text": s}`, `{"reasoning": s}` | says it, in parts |
| `{"tool_call": {"name", "arguments", "id", "index"}}` | calls a tool, `arguments` (JSON text) in parts |
| `{"delta": {...}}`, `{"chunk": {...}}` | sends a delta, or a whole chunk, of any shape |
| `{"raw": s}` | sends these characters as they are |
| `{"gate": name}` | waits until the gate is opened (and stays open) |
| `{"pause": s}`, `{"stall": true}` | waits s seconds, or until the client leaves |
| `{"open": {headers}}` | sends status 200 and headers now, `{}` being the usual ones of an event stream |
| `{"status": n, "headers": {...}, "body": str or object}` | answers this instead of a stream |
| `{"finish": reason, "usage": {...}}` | ends as OpenAI does; a script that just stops does this with "stop" |
| `{"end": true}` | ends the HTTP body properly, but with neither a finish reason nor `[DONE]` |
| `{"cut": "clean"}`, `{"cut": "reset"}` | ends the connection in the middle of the body, with FIN or RST |

Parts: `"pieces": n` of them or `"per": n` characters each, `"pause": s` seconds apart; one if nothing is
said.

A request without `stream` runs through the same steps and then gets all of it as one JSON object.

Over HTTP: `POST /_script` (`{"steps", "match", "times", "stream", "system", "answers"}`), `DELETE /_script`
(forgets scripts, gates and requests), `POST /_gate/{name}` opens a gate and `GET /_gate/{name}` answers when a
request has arrived there, `GET /_requests`, `GET /_requests/{n}/closed`; `/v1/models` and
`/v1/chat/completions`.

From a shell: `python tests/model_server.py --port 0 [--key K] [--models a,b] [--no-stream] [--latency S]
[--embeddings]`.
"""

import argparse
import asyncio
import hashlib
import json
import re
import socket
import struct
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any, NamedTuple, Self

Step = dict[str, Any]

GREETING = "You said:\n\n> {text}\n\n- a list\n- of **two** points\n\n```python\nprint('and code')\n```\n"


# The client


class ModelServer:
    """A running server. Starts with `ModelServer.start(...)`, ends with `stop()` or the end of a `with`."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"

    @classmethod
    def start(cls, *options: str, port: int = 0) -> Self:
        process = subprocess.Popen(
            [sys.executable, __file__, "--port", str(port), *options], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("listening on "):
            process.kill()
            raise RuntimeError(f"the model server did not start: {line!r}")
        return cls(process, int(line.rsplit(" ", 1)[1]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def script(
        self,
        steps: list[Step],
        *,
        match: str = "",
        times: int | None = None,
        stream: bool | None = None,
        system: str = "",
        answers: int | None = None,
    ) -> None:
        script = Script(steps, match, times, stream, system, answers)
        self._call("POST", "/_script", asdict(script))

    def reset(self) -> None:
        """Forgets scripts, gates and requests."""
        self._call("DELETE", "/_script")

    def open_gate(self, name: str) -> None:
        self._call("POST", f"/_gate/{name}")

    def wait_gate(self, name: str, timeout: float = 10) -> None:
        """Returns when a request has arrived at the gate."""
        self._call("GET", f"/_gate/{name}", timeout=timeout)

    def requests(self) -> list[dict[str, Any]]:
        """What came in, oldest first: the fields of `Request`."""
        return list(self._call("GET", "/_requests"))

    def wait_closed(self, n: int = 0, timeout: float = 10) -> None:
        """Returns when the client of request `n` has closed its connection; `TimeoutError` if it does not."""
        self._call("GET", f"/_requests/{n}/closed", timeout=timeout)

    def _call(self, method: str, path: str, body: object = None, timeout: float = 10) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        # Not urlopen: a proxy of the environment must not come between.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
            return json.load(answer)


# What the server knows


@dataclass
class Script:
    steps: list[Step]
    match: str = ""
    times: int | None = None
    stream: bool | None = None
    system: str = ""
    answers: int | None = None

    def serves(self, body: dict[str, Any]) -> bool:
        said: list[dict[str, Any]] = body.get("messages", [])
        named = self.match in last_user_text(body) or self.match == str(body.get("model"))
        instructed = self.system in "".join(str(m.get("content")) for m in said if m.get("role") == "system")
        answered = self.answers in (None, sum(m.get("role") == "tool" for m in said))
        return self.times != 0 and named and instructed and answered and self.stream in (None, bool(body.get("stream")))


@dataclass
class Request:
    """`headers` come without the key; `connection` tells which requests came over the same one.

    `closed_early`: the client hung up before it had all of the answer.
    """

    n: int
    method: str
    path: str
    headers: dict[str, str]
    authorised: bool
    body: Any
    connection: int
    closed_early: bool = False


@dataclass
class Gate:
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class State:
    options: argparse.Namespace
    scripts: list[Script] = field(default_factory=list)
    gates: dict[str, Gate] = field(default_factory=dict)
    requests: list[tuple[Request, asyncio.Event]] = field(default_factory=list)
    connections: Iterator[int] = field(default_factory=count)

    def gate(self, name: str) -> Gate:
        return self.gates.setdefault(name, Gate())

    def steps_for(self, body: dict[str, Any]) -> list[Step]:
        text = last_user_text(body)
        stream = bool(body.get("stream"))
        if self.options.no_stream and stream:
            return [{"status": 400, "body": {"error": {"message": "This model does not support streaming."}}}]
        for script in self.scripts:
            if script.serves(body):
                if script.times is not None:
                    script.times -= 1
                return script.steps
        return [{"text": GREETING.format(text=text.replace("\n", "\n> ")), "per": 4}]


def last_user_text(body: dict[str, Any]) -> str:
    said = [m.get("content") or "" for m in body.get("messages", []) if m.get("role") == "user"]
    return str(said[-1]) if said else ""


# HTTP/1.1, by hand: a server framework would not let us send half a line or cut a connection


class Head(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]


class ConnectionProtocol(asyncio.StreamReaderProtocol):
    """Tells that the client has hung up while its request is still being answered."""

    def __init__(self, state: State) -> None:
        self.gone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        super().__init__(asyncio.StreamReader(), lambda r, w: Connection(state, r, w, self.gone).serve())

    def eof_received(self) -> bool | None:
        self.gone.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        super().connection_lost(exc)


class Connection:
    def __init__(
        self, state: State, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gone: asyncio.Event
    ) -> None:
        self.state, self.reader, self.writer, self.gone = state, reader, writer, gone
        self.number = next(state.connections)

    async def serve(self) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while not self.writer.is_closing():
                head = await self.read_head()
                length = int(head.headers.get("content-length", 0))
                body = await self.reader.readexactly(length)
                answer = self.control if head.path.startswith("/_") else self.answer
                await answer(head, json.loads(body) if body else None)
        self.writer.close()

    async def read_head(self) -> Head:
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if line)}
        return Head(method, path, headers)

    async def answer(self, head: Head, body: Any) -> None:
        key = self.state.options.key
        authorised = key is None or head.headers.get("authorization") == f"Bearer {key}"
        headers = {k: v for k, v in head.headers.items() if k != "authorization"}
        n = len(self.state.requests)
        request = Request(n, head.method, head.path, headers, authorised, body, self.number)
        self.state.requests.append((request, self.gone))

        if not authorised:
            await self.respond(401, {"error": {"message": "Incorrect API key provided.", "code": "invalid_api_key"}})
        elif head.path == "/v1/models":
            models = [{"id": name, "object": "model"} for name in self.state.options.models.split(",")]
            await self.respond(200, {"object": "list", "data": models})
        elif head.path == "/v1/chat/completions":
            await self.complete(request)
        elif head.path == "/v1/embeddings" and self.state.options.embeddings:
            data = [{"index": n, "embedding": embedding_of(text)} for n, text in enumerate(body["input"])]
            await self.respond(200, {"object": "list", "data": data})
        else:
            await self.respond(404, "<html><body>Not Found</body></html>")

    async def complete(self, request: Request) -> None:
        """Runs the script, and drops it at once when the client leaves."""
        steps = self.state.steps_for(request.body)
        kind = Stream if request.body.get("stream") else Whole
        work = asyncio.create_task(kind(self, request).run(steps))
        leaving = asyncio.create_task(self.gone.wait())
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            request.closed_early = not work.done()
        finally:
            work.cancel()
            leaving.cancel()
        with suppress(asyncio.CancelledError, ConnectionError):
            await work

    async def respond(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if isinstance(body, str) else "application/json"
        data = text.encode()
        await self.send_head(status, {"content-type": kind, "content-length": str(len(data)), **(headers or {})})
        self.writer.write(data)
        await self.writer.drain()

    async def send_head(self, status: int, headers: dict[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def reset(self) -> None:
        """Lets the kernel answer with RST: pending data is dropped, as when a server dies."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def control(self, head: Head, body: Any) -> None:
        state, parts = self.state, head.path.strip("/").split("/")
        answer: Any = {}
        match head.method, parts:
            case "POST", ["_script"]:
                state.scripts.append(Script(**body))
            case "DELETE", ["_script"]:
                state.scripts.clear()
                state.gates.clear()
                state.requests.clear()
            case "POST", ["_gate", name]:
                state.gate(name).opened.set()
            case "GET", ["_gate", name]:
                await state.gate(name).reached.wait()
            case "GET", ["_requests"]:
                answer = [asdict(request) for request, _ in state.requests]
            case "GET", ["_requests", n, "closed"]:
                await state.requests[int(n)][1].wait()
            case _:
                answer = {"error": "no such control"}
        await self.respond(404 if "error" in answer else 200, answer)


# Steps


class Whole:
    """All that the steps say, as one answer."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self.connection = connection
        self.request = request
        self.state = connection.state
        self.message: dict[str, Any] = {"role": "assistant", "content": ""}
        self.ended = False

    async def run(self, steps: list[Step]) -> None:
        await asyncio.sleep(self.state.options.latency)
        for step in steps:
            await self.do(step)
            if self.ended:
                return
        await self.finish("stop", None)

    async def do(self, step: Step) -> None:
        match step:
            case {"gate": name}:
                gate = self.state.gate(name)
                gate.reached.set()
                await gate.opened.wait()
            case {"pause": seconds, **rest} if not rest:
                await asyncio.sleep(seconds)
            case {"stall": True}:
                await asyncio.Event().wait()
            case {"status": status}:
                self.ended = True
                await self.connection.respond(status, step.get("body", ""), step.get("headers"))
            case {"cut": "reset"}:
                self.ended = True
                self.connection.reset()
            case {"cut": "clean"}:
                self.ended = True
                self.connection.writer.close()
            case {"finish": reason}:
                await self.finish(reason, step.get("usage"))
            case _:
                await self.say(step)

    async def say(self, step: Step) -> None:
        match step:
            case {"text": text}:
                self.message["content"] += text
            case {"reasoning": text}:
                self.message["reasoning_content"] = self.message.get("reasoning_content", "") + text
            case {"tool_call": call}:
                self.message.setdefault("tool_calls", []).append(
                    {"id": call.get("id"), "type": "function", "function": function_of(call)}
                )

    async def finish(self, reason: str, usage: dict[str, int] | None) -> None:
        self.ended = True
        choice = {"index": 0, "message": self.message, "finish_reason": reason}
        usage = usage or usage_of(self.request.body, self.message["content"])
        answer = {"object": "chat.completion", "model": self.request.body.get("model"), "choices": [choice]}
        await self.connection.respond(200, answer | {"usage": usage})


class Stream(Whole):
    """The steps as Server-Sent Events, each piece flushed by itself."""

    opened = False

    async def say(self, step: Step) -> None:
        match step:
            case {"open": headers}:
                await self.open(headers)
            case {"text": text}:
                self.message["content"] += text
                async for piece in paced(text, step):
                    await self.delta({"content": piece})
            case {"reasoning": text}:
                async for piece in paced(text, step):
                    await self.delta({step.get("field", "reasoning_content"): piece})
            case {"tool_call": call}:
                await self.call(call, step)
            case {"delta": delta}:
                await self.delta(delta)
            case {"chunk": chunk}:
                await self.send(f"data: {json.dumps(chunk)}\n\n")
            case {"raw": text}:
                await self.send(text)
            case {"end": True}:
                await self.end()

    async def call(self, call: dict[str, Any], step: Step) -> None:
        """As OpenAI does: the first delta names the tool, the others carry more of its arguments."""
        position = {"index": call.get("index", 0)}
        function = function_of(call)
        opening = {"id": call.get("id"), "type": "function", "function": function | {"arguments": ""}}
        await self.delta({"tool_calls": [position | opening]})
        async for piece in paced(function["arguments"], step):
            await self.delta({"tool_calls": [position | {"function": {"arguments": piece}}]})

    async def finish(self, reason: str, usage: dict[str, int] | None) -> None:
        await self.send(self.event(choices=[{"index": 0, "delta": {}, "finish_reason": reason}]))
        if (self.request.body.get("stream_options") or {}).get("include_usage"):
            counted = usage or usage_of(self.request.body, self.message["content"])
            await self.send(self.event(choices=[], usage=counted))
        await self.send("data: [DONE]\n\n")
        await self.end()

    async def delta(self, delta: dict[str, Any]) -> None:
        await self.send(self.event(choices=[{"index": 0, "delta": delta, "finish_reason": None}]))

    def event(self, **fields: object) -> str:
        chunk = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "model": self.request.body.get("model"),
        }
        return f"data: {json.dumps(chunk | fields)}\n\n"

    async def send(self, text: str) -> None:
        if not self.opened:
            await self.open({})
        data = text.encode()
        self.connection.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.connection.writer.drain()

    async def open(self, headers: dict[str, str]) -> None:
        self.opened = True
        usual = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
        await self.connection.send_head(200, usual | headers)
        await self.connection.writer.drain()

    async def end(self) -> None:
        self.ended = True
        if not self.opened:
            await self.open({})
        self.connection.writer.write(b"0\r\n\r\n")
        await self.connection.writer.drain()


async def paced(text: str, step: Step) -> AsyncIterator[str]:
    for number, piece in enumerate(pieces_of(text, step)):
        if number:
            await asyncio.sleep(step.get("pause", 0))
        yield piece


def pieces_of(text: str, step: Step) -> Iterator[str]:
    size = step.get("per") or max(1, -(-len(text) // step.get("pieces", 1)))
    for start in range(0, len(text), size):
        yield text[start : start + size]


def function_of(call: dict[str, Any]) -> dict[str, str]:
    return {"name": call["name"], "arguments": call.get("arguments", "{}")}


def embedding_of(text: str) -> list[float]:
    """By its words alone: texts that share words point into similar directions."""
    row = [0.0] * 256
    for word in re.findall(r"\w+", text.lower()):
        row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % len(row)] += 1.0
    return row


def usage_of(body: dict[str, Any], reply: str) -> dict[str, int]:
    """Words, for want of a tokenizer."""
    asked = sum(len((m.get("content") or "").split()) for m in body.get("messages", []))
    said = len(reply.split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


async def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible model server.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", help="demand this bearer key")
    parser.add_argument("--models", default="scripted-model", help="names for /v1/models, with commas")
    parser.add_argument("--no-stream", action="store_true", help="refuse to stream")
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--latency", type=float, default=0, help="seconds before every reply")
    state = State(parser.parse_args())
    server = await asyncio.get_running_loop().create_server(
        lambda: ConnectionProtocol(state), "127.0.0.1", state.options.port
    )
    print("listening on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
