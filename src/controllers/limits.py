"""How much one person may ask for, so that there is enough for all. Each process counts for itself.

What is limited elsewhere: the size of a body (`request_max_body_size`), of an upload (where it is taken), of a
request's head (serving), of a run (runner).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.middleware.rate_limit import RateLimitConfig, RateLimitMiddleware
from litestar.stores.memory import MemoryStore
from litestar.types import ASGIApp, Middleware, Receive, ReceiveMessage, Scope, Send

from ..accounts.person import Person
from ..errors import TooManyRequests, TooManyStreams, TooSlow
from ..tasks import beside

AnyConnection = ASGIConnection[Any, Any, Any, Any]

GROWING: dict[str, bool] = {"is_stream": True}  # the `opt` of a route whose answer may grow for as long as a run takes
STREAMING: dict[str, bool] = {**GROWING, "exclude_from_compression": True}
UNCOUNTED: dict[str, bool] = {"is_uncounted": True}  # of one that is asked often and costs little
MINUTE = 60.0  # seconds
NETWORK = 64  # bits of an IPv6 address that are the network's: its owner has all addresses in it
BODY_PATIENCE = 30.0  # seconds in which more of a body has to come
SLOWEST = 1000  # bytes of it a second, in the long run


def who(connection: AnyConnection) -> str:
    """For whom a request counts: a person who has signed in, or else its address, or that of its network."""
    person: Person | None = connection.scope.get("user")
    if person is not None and not person.alone:
        return str(person.id)
    if connection.client is None:
        return ""
    with suppress(ValueError):  # a proxy may have a word for those whom it does not know
        address = ip_address(connection.client.host)
        if isinstance(address, IPv6Address):
            return str(address.ipv4_mapped or ip_network((int(address), NETWORK), strict=False))
    return connection.client.host


class Limits:
    """`requests`: a minute and person; `streams`: at once, of one person. 0: any number."""

    def __init__(self, requests: int, streams: int) -> None:
        config = RateLimitConfig(
            rate_limit=("minute", requests),
            identifier_for_request=who,
            exclude_opt_key="is_uncounted",
            middleware_class=RequestLimit,
        )
        self.streams = Streams(streams)
        counted = [config.middleware] if requests else []
        self.middleware: list[Middleware] = [*counted, StreamLimit(self.streams), BodyPatience()]
        self._requests = RequestLimit(nowhere, config) if requests else None

    async def count(self, socket: AnyConnection) -> None:
        """What comes over a WebSocket is a request like others. Raises TooManyRequests."""
        if self._requests is not None:
            await self._requests.count(socket)


# Requests a minute


class RequestLimit(RateLimitMiddleware):
    """Litestar's, which counts requests over HTTP; and others in the same way."""

    async def count(self, connection: AnyConnection) -> None:
        store = self.config.get_store_from_app(connection.app)
        key = f"{type(self).__name__}::{self.config.identifier_for_request(connection)}"  # type: ignore[arg-type]
        counted = await self.retrieve_cached_history(key, store)
        if len(counted.history) >= self.max_requests:
            raise TooManyRequests(self.create_response_headers(counted))
        await self.set_cached_history(key, counted, store)


async def nowhere(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Behind a count that nothing passes through."""


@asynccontextmanager
async def forgetting(app: Litestar) -> AsyncIterator[None]:
    """Lets go of who has not come for a while; by itself the store does so only when they come again."""

    async def forget() -> None:
        while isinstance(store := app.stores.get("rate_limit"), MemoryStore):
            await asyncio.sleep(MINUTE)
            await store.delete_expired()

    async with beside(forget(), "forgetting"):
        yield


# Streams at once


class Streams:
    """How many everybody holds open. `limit`: for each person; 0: any number."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def check(self, person: str) -> None:
        """Raises TooManyStreams when there is no room for one more."""
        if self._limit and self._open[person] >= self._limit:
            raise TooManyStreams(f"You have {self._limit} streams open, which is as many as you may. Close some first.")

    @contextmanager
    def held(self, person: str) -> Iterator[None]:
        """Raises TooManyStreams."""
        self.check(person)
        self._open[person] += 1
        try:
            yield
        finally:
            self._open[person] -= 1
            if not self._open[person]:
                del self._open[person]


class StreamLimit(ASGIMiddleware):
    """A route that streams is in use until its last byte is sent, or nobody takes it any more."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        if not scope["route_handler"].opt.get("is_stream"):
            await next_app(scope, receive, send)
            return
        with self._streams.held(who(ASGIConnection(scope))):
            await next_app(scope, receive, send)


# Slow bodies


class BodyPatience(ASGIMiddleware):
    """A body that does not come would hold its request for ever, and one that comes by the byte nearly so."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, patience: float = BODY_PATIENCE, slowest: float = SLOWEST) -> None:
        self._patience = patience
        self._slowest = slowest

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        clock = asyncio.get_running_loop().time
        began, received, more = 0.0, 0, True

        async def receive_in_time() -> ReceiveMessage:
            nonlocal began, received, more
            if not more:  # what is waited for now is that the client leaves
                return await receive()
            began = began or clock()
            until = min(clock() + self._patience, began + self._patience + received / self._slowest)
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise TooSlow from None
            more = message["type"] == "http.request" and message["more_body"]
            if message["type"] == "http.request":
                received += len(message["body"])
            return message

        await next_app(scope, receive_in_time, send)
