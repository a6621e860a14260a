"""Tools from MCP servers (https://modelcontextprotocol.io), for as long as a run uses them."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from ..tasks import to_the_end
from .addresses import is_url
from .fetching import Allowance
from .tools import Tool

if TYPE_CHECKING:
    from .mcp import Connection

log = logging.getLogger(__name__)


class Server(Struct, frozen=True):
    """`address` is a URL, in which a user without a password is a bearer token, or a command line.

    None: it is there, but the key that opens it is not.
    """

    name: str
    address: str | None

    def __repr__(self) -> str:
        return f"Server({self.name!r})"


class Toolbox(Struct, frozen=True):
    """`failures` are sentences on the servers that could not be had."""

    tools: Sequence[Tool] = ()
    failures: Sequence[str] = ()


class Toolboxes:
    """Connects for as long as a toolbox is in use, so that nothing a server remembers goes from one run to another.

    `commands`: whether servers may be started on this machine. `allowance`: where they may be besides the internet.
    """

    def __init__(self, allowance: Allowance, *, commands: bool = False) -> None:
        self._allowance = allowance
        self._commands = commands

    @asynccontextmanager
    async def of(self, project_id: UUID, servers: Sequence[Server]) -> AsyncGenerator[Toolbox, None]:
        """All servers at the same time; one that fails does not keep the others, or the run, from working."""
        refused = {server: refusal for server in servers if (refusal := self._refusal(server))}
        usable = [server for server in servers if server not in refused]
        connections = await connections_to(usable, self._allowance)
        try:
            outcomes = await asyncio.gather(*(connection.opened() for connection in connections))
            failures = [failure for failure in outcomes if failure]
            if failures:  # what a server says about it is not for the log
                log.warning("%s of %s tool servers of %s cannot be used.", len(failures), len(servers), project_id)
            tools = [tool for connection in connections for tool in connection.tools]
            yield Toolbox(tools, [*failures, *refused.values()])
        finally:
            await to_the_end(asyncio.gather(*(connection.close() for connection in connections)))

    def _refusal(self, server: Server) -> str:
        if server.address is None:
            return (
                f"The address of the tool server {server.name} was encrypted with a key that is not here any more. "
                "Remove the server and add it again, or have an administrator bring the key back."
            )
        if not self._commands and not is_url(server.address):
            return f"The tool server {server.name} is a command, and commands are off here."
        return ""


async def connections_to(servers: Sequence[Server], allowance: Allowance) -> "list[Connection]":
    if not servers:
        return []
    # The mcp package takes a second to import: nobody waits for it who uses no tool servers, nor a run beside this.
    connection = await asyncio.to_thread(connection_class)
    return [connection(server, allowance) for server in servers]


def connection_class() -> "type[Connection]":
    from .mcp import Connection

    return Connection
