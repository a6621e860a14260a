"""Where a server is, and what its answers mean, over whichever protocol they come."""

from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.parse import urlsplit

import msgspec

from ..agents.events import UNREADABLE
from .errors import Lost, Refused

PASSING = frozenset({502, 503, 504})  # of a server that restarts, or of a proxy before it
MISSED_HEARTBEATS = 3  # after which a connection counts as dead
LARGEST_EVENT = 64 * 2**20  # bytes
UNCERTAIN = "The connection was lost while the message was sent. Whether it has arrived, its conversation shows."


def address_of(server: str) -> str:
    parts = urlsplit(server.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{server!r} is no server's address: that begins with http:// or https://")
    return server.strip().rstrip("/")


def authorization(token: str | None) -> dict[str, str]:
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()):
        raise ValueError("A token has letters, digits and signs only.")
    return {"Authorization": f"Bearer {token}"}


def is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reject(status: int, body: bytes, headers: Mapping[str, str]) -> NoReturn:
    """An answer that is none. Raises Lost for what may pass, and Refused."""
    refused = refusal(status, body)
    if status not in PASSING:
        raise refused
    asked = headers.get("Retry-After", "")
    raise Lost(str(refused), refused, float(asked) if asked.isdecimal() else 0.0)


def refusal(status: int, body: bytes) -> Refused:
    """As the server's problem document says it, or for whatever stands before the server."""
    try:
        problem = msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        problem = {}
    told = problem.get("detail") or f"The server answers {status} {phrase(status)}.".replace(" .", ".")
    return Refused(status, str(problem.get("code", "")), str(told), problem)


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
