"""Keeps other sites from changing things through a person's browser.

A browser says where a request comes from (`Sec-Fetch-Site`, `Origin`); a program that is no browser says neither and
carries nobody's cookies, so it is not in the way.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from litestar import Request

from ..errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def check_origin(allowed: frozenset[str]) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """A `before_request` hook (async, or each request would cost a thread). `allowed`: further `https://host:port`."""

    async def check(request: Request[Any, Any, Any]) -> None:
        if request.method in SAFE_METHODS:
            return
        origin = request.headers.get("origin")
        if origin in allowed:
            return
        if origin is not None:
            same = origin != "null" and urlsplit(origin).netloc == request.headers.get("host")
        else:
            same = request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        if not same:
            raise Forbidden("This came from another site, so it was not done. Open riverrun itself and try again.")

    return check
