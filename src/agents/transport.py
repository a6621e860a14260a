"""Carries the openai client's requests over aiohttp.

The client's own transport costs about 100 µs for each read of a stream, its aiohttp variant 35 to 40, through
layers of generators. This one lets the reply be read where it arrives (28), and tells a connection that was
lost from one that was never made.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

from .failures import Failure, Server

MOMENT = 0.05
PARTING = 2.0
"""Seconds."""


class Body(httpx2.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._response.content.readany():
            yield data

    async def aclose(self) -> None:
        self._response.close()


class Reading:
    """Reads a response with bounded patience; `failure` says what went wrong.

    Only waiting is timed: the time that the reader itself takes between two reads does not count. One timer
    serves the whole response, for setting one for every read costs as much as parsing it.
    """

    def __init__(self, response: httpx2.Response, server: Server, first_byte: float, stall: float) -> None:
        self.failure: Failure | None = None
        self._response = response
        self._reader: aiohttp.StreamReader = response.extensions["reader"]
        self._server = server
        self._stall = stall
        self._patience = first_byte
        self._begun = False
        self._waiting_since: float | None = None
        self._now = asyncio.get_running_loop().time
        self._timer = asyncio.get_running_loop().call_later(first_byte, self._check)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connection at once, unless the body had come to its end."""
        self._timer.cancel()
        await self._response.aclose()

    def _check(self) -> None:
        waited = 0.0 if self._waiting_since is None else self._now() - self._waiting_since
        if waited >= self._patience:
            self._reader.set_exception(TimeoutError())
        else:
            self._timer = asyncio.get_running_loop().call_later(self._patience - waited, self._check)

    async def read(self, *, closing: bool = False) -> bytes:
        """What has arrived, as soon as there is something; nothing at the end and after a failure.

        `closing`: little is still to come, and nothing that is worth a long wait.
        """
        if self.failure:
            return b""
        if closing and self._patience > PARTING:
            self._wait_for(PARTING)
        self._waiting_since = self._now()
        try:
            data = await self._reader.readany()
        except TimeoutError:
            failure = self._server.stalled if self._begun else self._server.silent
            self.failure = failure(self._patience)
            return b""
        except (aiohttp.ClientError, OSError):
            self.failure = self._server.cut_off()
            return self._unread()
        self._waiting_since = None
        if not self._begun:
            self._begun = True
            self._wait_for(self._stall)
        return data

    def _wait_for(self, seconds: float) -> None:
        self._patience = seconds
        self._timer.cancel()
        self._check()

    def _unread(self) -> bytes:
        """What had arrived when the connection broke: aiohttp keeps it back behind the error."""
        self._reader.set_exception(None)  # type: ignore[arg-type]
        return self._reader.read_nowait()

    async def opening(self) -> bytes:
        """The first bytes. Some servers send empty lines for as long as they have nothing to say."""
        while data := await self.read():
            if data := data.lstrip():
                break
        return data

    async def rest(self) -> bytes:
        parts = []
        while data := await self.read():
            parts.append(data)
        return b"".join(parts)

    async def end(self) -> None:
        """Waits a moment for the end of a body that has said all: its connection can then serve again."""
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(MOMENT):
                while not self.failure and await self._reader.readany():
                    pass


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """For one server. A response's `extensions["reader"]` is aiohttp's `StreamReader` of the body.

    Raises aiohttp's own exceptions.
    """

    def __init__(self, url: str, connect_timeout: float) -> None:
        self._secure = urlsplit(url).scheme == "https"
        self._proxy = proxy_for(url)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # A password in the address has become a header by now, and aiohttp will not have both.
        url = request.url.copy_with(userinfo=b"") if request.url.userinfo else request.url
        response = await self._open_session().request(
            request.method,
            URL(str(url), encoded=True),
            headers=request.headers,
            data=await request.aread() or None,
            allow_redirects=False,
            timeout=self._timeout,
        )
        # The body is already inflated.
        headers = [(name, value) for name, value in response.headers.items() if name.lower() != "content-encoding"]
        return httpx2.Response(
            response.status, headers=headers, stream=Body(response), extensions={"reader": response.content}
        )

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            certificates = httpx2.create_ssl_context() if self._secure else True
            connector = aiohttp.TCPConnector(limit=0, ssl=certificates)
            self._session = aiohttp.ClientSession(connector=connector, proxy=self._proxy)
        return self._session

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()


def proxy_for(url: str) -> str | None:
    """The environment's proxy, looked up once and not for every request; none for this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
