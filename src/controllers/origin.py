"""Keeps other sites from changing things through a person's browser.

A browser says where a request comes from (`Sec-Fetch-Site`, `Origin`); a program that is no browser says neither and
carries nobody's cookies, so it is not in the way.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection

from ..errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def check_origin(allowed: frozenset[str]) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """A `before_request` hook (async, or each request would cost a thread). `allowed`: further `https://host:port`."""

    async def check(request: Request[Any, Any, Any]) -> None:
        if request.method not in SAFE_METHODS and is_from_elsewhere(request, allowed):
            raise Forbidden("This came from another site, so it was not done. Open riverrun itself and try again.")

    return check


def is_from_elsewhere(connection: ASGIConnection[Any, Any, Any, Any], allowed: frozenset[str]) -> bool:
    """Whether a page of another site sent this, and of none that is allowed."""
    origin = connection.headers.get("origin")
    if origin is None:
        return connection.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
    if origin in allowed:
        return False
    return origin == "null" or urlsplit(origin).netloc != connection.headers.get("host")
