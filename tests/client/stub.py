"""A server that answers each request with the bytes that a test lays ready, and then hangs up."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

HANG_UP = b""  # no answer at all
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

RUN = "01a1fd67-cbe6-7622-bdf3-269e3546791d"
NAMES = {"run_id": RUN, "at": "2026-11-21T09:20:00.480Z", "agent": "Writer"}


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: Any


class Stub:
    """Takes the answers in turn, and the last one again and again. `silence`: seconds until it hangs up after them."""

    def __init__(self, *answers: bytes, silence: float = 0.0) -> None:
        self._answers = list(answers)
        self._silence = silence
        self.requests: list[Request] = []
        self._open: set[asyncio.Task[Any] | None] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Stub"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await asyncio.gather(*filter(None, self._open))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(asyncio.current_task())
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(Request(method, target, headers, json.loads(body) if body else None))
            writer.write(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])
            await writer.drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(), self._silence)  # or until the client leaves
        writer.close()

    @property
    def cursors(self) -> list[int]:
        """From where each stream was asked for."""
        return [int(request.target.split("after=")[1]) for request in self.requests if "after=" in request.target]


def answer(status: int, body: object = None, **headers: str) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Told", f"Content-Length: {len(data)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def problem(status: int, code: str, detail: str, **headers: str) -> bytes:
    return answer(status, {"status": status, "code": code, "detail": detail}, **headers)


def stream(*messages: bytes) -> bytes:
    return STREAM + b"".join(messages)


def event(type: str, seq: int, **about: Any) -> bytes:
    return message(json.dumps({"type": type, "seq": seq, **NAMES, **about}), type, seq)


def message(data: str, type: str, seq: int | None = None) -> bytes:
    """As the server writes it; `seq` None: not an event of the run."""
    name = "" if seq is None else f"id: {seq}\n"
    return f"{name}event: {type}\ndata: {data}\n\n".encode()


def chunk(seq: int, text: str = "x", offset: int = 0) -> bytes:
    return event("agent_chunk", seq, turn=1, text=text, offset=offset)


def complete(seq: int, content: str = "", status: str = "complete") -> bytes:
    told = {"id": RUN, "role": "assistant", "content": content, "agent_name": "Writer", "created_at": NAMES["at"]}
    return event("complete", seq, status=status, message=told)
