"""Under which names riverrun answers, and over what.

A site can let its own name lead here (DNS rebinding). For the browser riverrun is then a part of that site, which may
read and change everything; only the Host header tells. An address in it is no danger: nobody can make theirs of it.

Litestar's AllowedHostsMiddleware takes a port for a part of the name, knows no IPv6 and answers with JSON throughout.
"""

import re
from collections.abc import Awaitable, Callable, Set
from ipaddress import ip_address
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.handlers import BaseRouteHandler
from litestar.types import Message, Scope

from ..errors import Forbidden, Misdirected
from ..settings import Settings

OURS = ("localhost", "*.localhost")  # no name server has a say in these
NEEDS_ACCOUNTS = (
    "Without accounts riverrun is for this machine alone, and this is an address that others can reach: whoever does "
    "so could read and change everything. Set RIVERRUN_AUTH=accounts, in a container too; or listen on 127.0.0.1, "
    "where a proxy on this machine can ask who is there."
)
HOST = re.compile(r"(?:\[([0-9a-f:.]+)]|([a-z0-9_.-]+?)\.?)(?::\d+)?", re.IGNORECASE)


async def check_host(connection: ASGIConnection[Any, Any, Any, Any], _handler: BaseRouteHandler) -> None:
    """A guard for every route."""
    settings: Settings = connection.app.state.settings
    server = connection.scope["server"]
    if settings.auth == "local" and server and is_open(server[0]):  # started by something else than `riverrun run`
        raise Forbidden(NEEDS_ACCOUNTS)
    host = connection.headers.get("host")
    # Browsers always say it, and it is browsers that are led astray.
    if host and not is_ours(host, {*OURS, settings.host.lower(), *settings.hosts}):
        raise Misdirected(
            "riverrun does not answer under this name. Its administrator can add the name to RIVERRUN_HOSTS."
        )


def is_ours(host: str, names: Set[str]) -> bool:
    """Whether this Host header, with a port or without, has an address or one of the names.

    `*.name` among them is whatever is below that name.
    """
    told = HOST.fullmatch(host)
    if told is None:
        return False
    name = (told[1] or told[2]).lower()
    if is_address(name):
        return True
    parents = name.split(".")[1:]
    above = {f"*.{'.'.join(parents[place:])}" for place in range(len(parents))}
    return not names.isdisjoint({name, *above})


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_open(address: str) -> bool:
    """Whether others than this machine's own programs can reach what listens there. A socket's file is no address."""
    return is_address(address) and not ip_address(address).is_loopback


def keep_to_tls(seconds: int) -> Callable[[Message, Scope], Awaitable[None]]:
    """A `before_send` hook: who has come over TLS is told to do so for that long (HSTS)."""

    async def tell(message: Message, scope: Scope) -> None:
        if seconds and message["type"] == "http.response.start" and scope["scheme"] == "https":
            MutableScopeHeaders.from_message(message)["Strict-Transport-Security"] = f"max-age={seconds}"

    return tell
