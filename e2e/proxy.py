"""A proxy as people sit behind: it passes everything on, and can hold a stream's bytes back or cut it."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
STREAMS = (b"/stream?", b"/events ", b"/events?")  # the pages' and the programs'


class Proxy:
    """On a free port of 127.0.0.1, in front of a port there. Its methods may be called from any thread."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._streams: set[asyncio.StreamWriter] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hold_streams(self) -> None:
        """As a proxy that buffers: from now on nothing of a stream arrives."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def release_streams(self) -> None:
        self._loop.call_soon_threadsafe(self._flowing.set)

    def cut_streams(self) -> None:
        """In the middle, with a reset."""

        def cut() -> None:
            for stream in self._streams:
                stream.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    @contextmanager
    def running(self) -> Iterator["Proxy"]:
        # In a thread of its own, because the browser's driver already has a loop in this one.
        thread = Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        server = self._do(self._open())
        try:
            yield self
        finally:
            self._do(self._close(server))
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> asyncio.Server:
        self._flowing.set()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. What it carries is known from its last request."""
        with suppress(OSError, asyncio.CancelledError):
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            try:
                back = asyncio.create_task(self._pass_back(upstream_reader, writer))
                while data := await reader.read(65536):
                    line = data.split(b"\r\n", 1)[0]
                    if line.endswith(b"HTTP/1.1"):
                        streamed = any(path in line for path in STREAMS)
                        (self._streams.add if streamed else self._streams.discard)(writer)
                    upstream_writer.write(data)
                back.cancel()
            finally:
                self._streams.discard(writer)
                upstream_writer.transport.abort()
                writer.transport.abort()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if writer in self._streams:
                    await self._flowing.wait()
                writer.write(data)
                await writer.drain()
            writer.close()
