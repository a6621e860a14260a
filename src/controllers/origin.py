"""Keeps other sites from changing things through a person's browser, and lets chosen ones use what is for programs.

A browser says where a request comes from (`Sec-Fetch-Site`, `Origin`); a program that is no browser says neither and
carries nobody's cookies, so it is not in the way. What brings a session's cookie has to say it. That is enough for
forms to need no token (OWASP's Fetch Metadata policy), together with check_host and the cookie's SameSite.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import Message, Scope

from ..errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
SAME = frozenset({"same-origin", "none"})  # none: the person's own doing, as with a bookmark
SESSION_COOKIE = "riverrun_session"
FOR_PROGRAMS = ("/api/", "/v1/", "/agui/")
ANY = "*"
# `*` does not cover Authorization. The rest cannot be listed: OpenAI's client alone adds ten headers of its own.
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, *",
    "Access-Control-Max-Age": "600",
}


def is_for_programs(scope: Scope) -> bool:
    """By the route that was found, however its path was written; by the path where there is none."""
    return f"{scope.get('path_template') or scope['path']}/".startswith(FOR_PROGRAMS)


def check_origin(own: frozenset[str], guests: frozenset[str]) -> Callable[[Request[Any, Any, Any]], Awaitable[None]]:
    """A `before_request` hook (async, or each request would cost a thread)."""

    async def check(request: Request[Any, Any, Any]) -> None:
        if request.method not in SAFE_METHODS and not is_welcome(request, own, guests):
            raise Forbidden("This came from another site, so it was not done. Open riverrun itself and try again.")

    return check


def is_welcome(
    connection: ASGIConnection[Any, Any, Any, Any], own: frozenset[str], guests: frozenset[str] = frozenset()
) -> bool:
    """Whether a change may come from there. `own`: further `https://host:port` at which riverrun itself is reached;
    `guests`: other origins, which may only use what is for programs."""
    origin, site = connection.headers.get("origin"), connection.headers.get("sec-fetch-site")
    if origin is None:
        return site in SAME or (site is None and not brings_session(connection))
    if origin in own or (is_for_programs(connection.scope) and is_guest(origin, guests)):
        return True
    if origin == "null" or urlsplit(origin).netloc != connection.headers.get("host"):
        return False
    return site is None or site in SAME  # else it is the same host over another scheme, as a network can forge it


def brings_session(connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """So it is a browser, which acts for somebody. One too old to say where a change comes from may change nothing."""
    return SESSION_COOKIE in connection.cookies


def is_guest(origin: str, guests: frozenset[str]) -> bool:
    return origin in guests or ANY in guests


def share_with(guests: frozenset[str]) -> Callable[[Message, Scope], Awaitable[None]]:
    """A `before_send` hook: CORS without credentials, for programs in the pages of these origins.

    Litestar's own would open the people's pages too, which hold everything and ask for no token.
    """

    async def share(message: Message, scope: Scope) -> None:
        if message["type"] != "http.response.start" or scope["type"] != ScopeType.HTTP or not guests:
            return
        if not is_for_programs(scope) and not scope["path"].startswith("/schema"):
            return
        headers = MutableScopeHeaders.from_message(message)
        headers.add("Vary", "Origin")
        asked = Headers.from_scope(scope)
        if (origin := asked.get("origin")) is None or not is_guest(origin, guests):
            return
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = "WWW-Authenticate"
        if scope["method"] == "OPTIONS" and "access-control-request-method" in asked:
            headers.update(PREFLIGHT)

    return share
