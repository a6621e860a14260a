"""A small async client for programs: starts runs, follows them and survives a dropped connection.

Everything public is here; `docs/client.md` describes it. It needs nothing of the server.
"""

from .client import LOCAL, Client
from .errors import ClientError, Refused, RunFailed, Uncertain, Unreachable
from .reply import Reply, Turn
from .retries import Retry
from .run import Run
from .socket import Socket

__all__ = [
    "LOCAL",
    "Client",
    "ClientError",
    "Refused",
    "Reply",
    "Retry",
    "Run",
    "RunFailed",
    "Socket",
    "Turn",
    "Uncertain",
    "Unreachable",
]
