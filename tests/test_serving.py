"""What uvicorn leaves open: heads of requests that are too large, and those that do not come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from riverrun.serving import HEAD_LIMIT, HttpProtocol
from tests.server import serving

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n"


class Impatient(HttpProtocol):
    patience = 0.3


@asynccontextmanager
async def answering(protocol: type[HttpProtocol] = HttpProtocol, app: Any = None) -> AsyncIterator[int]:
    async with asyncio.timeout(30), serving(app or hello, http=protocol, log_level="error") as port:
        yield port


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        REQUEST + b"X: " + b"x" * HEAD_LIMIT + b"\r\n\r\n",
        REQUEST + b"".join(b"X-%d: x\r\n" % number for number in range(10_000)) + b"\r\n",
        b"GET /" + b"x" * HEAD_LIMIT + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        REQUEST + b"X: " + b"x" * 20 * HEAD_LIMIT,  # and never an end
    ],
    ids=["header", "headers", "address", "endless"],
)
async def test_a_head_that_is_too_large_is_refused(head: bytes) -> None:
    async with answering() as port, connection(port) as (reader, writer):
        writer.write(head)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"may have 64 kB together" in answer


async def test_a_head_that_is_large_is_taken_and_so_is_the_next() -> None:
    async with answering() as port, connection(port) as (reader, writer):
        for _ in range(3):
            writer.write(REQUEST + b"X: " + b"x" * (HEAD_LIMIT - 1000) + b"\r\n\r\n")
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")


async def test_who_begins_a_request_and_does_not_end_it_is_told() -> None:
    async with answering(Impatient) as port, connection(port) as (reader, writer):
        writer.write(REQUEST)
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_a_head_by_the_byte_is_no_faster() -> None:
    async with answering(Impatient) as port, connection(port) as (reader, writer):
        writer.write(REQUEST + b"X: ")
        answer = asyncio.create_task(reader.read())
        for _ in range(900):
            if answer.done():
                break
            writer.write(b"x")
            await asyncio.wait({answer}, timeout=0.02)
        assert (await answer).startswith(b"HTTP/1.1 408 ")


async def test_who_says_nothing_is_left_without_a_word() -> None:
    """Browsers take what comes over a connection that they hold ready for the answer to their next request."""
    async with answering(Impatient) as port, connection(port) as (reader, _):
        assert await reader.read() == b""


async def test_who_begins_the_next_request_while_a_reply_grows_gets_all_of_it() -> None:
    more = asyncio.Event()

    async def growing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"world"})

    class Seen(Impatient):
        def _look_after(self) -> None:
            super()._look_after()
            more.set()

    async with answering(Seen, growing) as port, connection(port) as (reader, writer):
        writer.write(REQUEST + b"\r\n" + REQUEST)
        assert (await reader.readuntil(b"helloworld")).startswith(b"HTTP/1.1 200 ")
