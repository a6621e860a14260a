"""A line between a client and a server, which can be bad in every way that lines are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random


class Line:
    """On a free port of 127.0.0.1, in front of a port there. `opened` counts connections."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._open: set[asyncio.Task[None]] = set()
        self._random: Random | None = None
        self._shortest = self._longest = 0
        self.opened = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Every connection that is open, in the middle, with a reset."""
        for connection in self._open:
            connection.cancel()

    def crumble(self, seed: int, shortest: int, longest: int) -> None:
        """From now on each connection breaks after so many bytes for the client, which come in pieces of any size."""
        self._random, self._shortest, self._longest = Random(seed), shortest, longest

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Line"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        connection = asyncio.create_task(self._connect(reader, writer))
        self._open.add(connection)
        with suppress(asyncio.CancelledError, OSError):
            await connection
        self._open.discard(connection)
        writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            there = asyncio.create_task(pass_on(reader, far_writer))
            back = asyncio.create_task(self._pass_back(far_reader, writer))
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            back.cancel()
        finally:
            far_writer.transport.abort()

    async def _pass_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._random is None:
            return await pass_on(reader, writer)
        left = self._random.randint(self._shortest, self._longest)
        while left > 0 and (data := await reader.read(min(left, self._random.randint(1, 300)))):
            left -= len(data)
            writer.write(data)
            await writer.drain()
        return None


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
