"""A connection to an MCP server, found at a URL (streamable HTTP) or started (stdio), for `toolboxes` alone."""

import asyncio
import json
import logging
import os
import re
import shlex
from collections.abc import Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

import httpx2
import msgspec
from mcp import Client, MCPError, StdioServerParameters, stdio_client, types
from mcp.client.streamable_http import streamable_http_client

from .addresses import is_url, without_secrets
from .events import UNREADABLE
from .exchange import ToolSchema
from .fetching import Allowance, Refused, web_client
from .toolboxes import Server
from .tools import Answer, Origin, Tool, ToolError

log = logging.getLogger(__name__)
# It logs, as errors with a traceback, what servers print that is not of the protocol.
logging.getLogger("mcp").setLevel(logging.CRITICAL)

START_LIMIT = 10.0  # seconds for a server to start and to tell its tools
END_LIMIT = 10.0  # seconds for it to end; the client needs 7 to end a process that does not want to
MOST_TOOLS = 128  # of a server
ENVIRONMENT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "SSL_CERT_FILE")  # beside what the mcp package passes on
LAST_WORDS = 2_000  # bytes of its standard error
NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")
LONGEST_NAME = 64  # characters, as model servers have it


class Connection:
    """One server. Its client lives in a task of its own, in which it is entered and left, however that comes about."""

    def __init__(self, server: Server, allowance: Allowance) -> None:
        self.server = server
        self._address = server.address or ""
        self._allowance = allowance
        self.tools: Sequence[Tool] = ()
        self._leave = asyncio.Event()
        self._outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(), name=f"MCP server {server.name}")

    async def opened(self) -> str:
        """Why it cannot be used, as a sentence; empty when it can."""
        await asyncio.wait([self._outcome], timeout=START_LIMIT)
        if not self._outcome.done():
            self._cancel()
            self._outcome.set_result(f"did not answer within {START_LIMIT:g} s.")
        failure = self._outcome.result()
        return failure and f"The tool server {self.server.name} {failure}"

    async def close(self) -> None:
        if not self._outcome.done():
            self._cancel()
        self._leave.set()
        _, late = await asyncio.wait([self._task], timeout=END_LIMIT)
        if late:
            self._cancel()
            await asyncio.wait(late)

    def _cancel(self) -> None:
        """Once: a second time would interrupt how the client ends the server's process."""
        if not self._task.cancelling():
            self._task.cancel()

    async def _live(self) -> None:
        with overhearing() as (errors, last_words):
            try:
                async with AsyncExitStack() as opened:
                    client = await client_of(self._address, self._allowance, errors, opened)
                    tools = await self._tools(client)
                    if not self._outcome.done():
                        self.tools = tools
                        self._outcome.set_result("")
                    await self._leave.wait()
            except Exception as failure:
                # No traceback, for errors of all kinds quote the address.
                verdict = without_secrets(verdict_on(failure, last_words()), self._address)
                log.debug("The tool server %s %s", self.server.name, verdict)
                if not self._outcome.done():
                    self._outcome.set_result(verdict)

    async def _tools(self, client: Client) -> Sequence[Tool]:
        told = await listed(client)
        names = unique([f"{self.server.name}__{tool.name}" for tool in told])
        return [self._tool(client, name, tool) for name, tool in zip(names, told, strict=True)]

    def _tool(self, client: Client, name: str, told: types.Tool) -> Tool:
        async def call(**arguments: Any) -> Answer:
            try:
                return answer_of(await client.call_tool(told.name, arguments))
            except MCPError as refusal:
                raise ToolError(f"The tool server {self.server.name} failed: {reason_of(refusal)}") from refusal

        schema = ToolSchema(name, told.description or told.title or "", told.input_schema)
        return Tool(schema, call, json_object, origin=Origin(self.server.name, told.name))


@contextmanager
def overhearing() -> Generator[tuple[TextIO, Any], None, None]:
    """A file for a server's standard error, and a function that gives the last line that was written there.

    All is read, for a server must not wait for us, but only the end is kept.
    """
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    heard = b""

    def hear() -> None:
        nonlocal heard
        try:
            said = os.read(reading, 65_536)
        except BlockingIOError:
            return
        heard = (heard + said)[-LAST_WORDS:]

    def last_words() -> str:
        hear()
        lines = heard.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    with open(writing, "w") as file:  # never blocks
        loop.add_reader(reading, hear)
        try:
            yield file, last_words
        finally:
            loop.remove_reader(reading)
            os.close(reading)


async def client_of(address: str, allowance: Allowance, errors: TextIO, opened: AsyncExitStack) -> Client:
    """By the older handshake, which nearly all servers know; some of those end at the first words of the newer one.

    A server that answers it with an error may know the newer one only.
    """

    async def dialled() -> Any:
        """What the client takes."""
        if is_url(address):
            return await dial_url(address, allowance, errors, opened)
        return dial_command(address, errors)

    try:
        return await opened.enter_async_context(Client(await dialled(), mode="legacy"))
    except Exception as failure:
        refusal = first_of(failure)
        if not isinstance(refusal, MCPError) or refusal.code == types.CONNECTION_CLOSED:
            raise
    return await opened.enter_async_context(Client(await dialled()))


async def dial_url(address: str, allowance: Allowance, errors: TextIO, opened: AsyncExitStack) -> Any:
    """A status that tells why a request was refused is written to `errors`."""
    parts = urlsplit(address)
    headers = {}
    if parts.username and parts.password is None:
        headers["Authorization"] = f"Bearer {unquote(parts.username)}"
        address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    async def note(response: httpx2.Response) -> None:
        if response.is_error and response.request.method == "POST":
            print(response.status_code, response.reason_phrase, file=errors, flush=True)

    # A server may be silent for as long as nothing happens: who waits for an answer sets the limit.
    http = web_client(allowance, headers=headers, event_hooks={"response": [note]}, read_limit=None)
    return streamable_http_client(address, http_client=await opened.enter_async_context(http))


def dial_command(address: str, errors: TextIO) -> Any:
    """The process gets none of our environment but what every program needs.

    It runs in the home folder, for the one that we run in may hold a `.env` with our keys. Raises ValueError.
    """
    command, *arguments = shlex.split(address) or [""]
    home = Path.home()
    process = StdioServerParameters(
        command=command,
        args=arguments,
        env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        cwd=home if home.is_dir() else "/",
        encoding_error_handler="replace",
    )
    return stdio_client(process, errlog=errors)


async def listed(client: Client) -> Sequence[types.Tool]:
    page = await client.list_tools()
    tools = list(page.tools)
    while page.next_cursor and len(tools) < MOST_TOOLS:
        page = await client.list_tools(cursor=page.next_cursor)
        tools += page.tools
    return tools[:MOST_TOOLS]


def unique(names: Sequence[str]) -> list[str]:
    """As model servers take them, and no two the same."""
    taken: dict[str, None] = {}
    for name in names:
        cleaned = NOT_IN_NAMES.sub("_", name)
        end, number = "", 1
        while (whole := cleaned[: LONGEST_NAME - len(end)] + end) in taken:
            number += 1
            end = f"_{number}"
        taken[whole] = None
    return list(taken)


def json_object(arguments: str) -> dict[str, Any]:
    """The server checks what is in it. Raises ToolError."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except UNREADABLE as failure:
        raise ToolError(f"The arguments are not JSON: {failure}") from failure
    if not isinstance(value, dict):
        raise ToolError("The arguments are not a JSON object.")
    return value


def answer_of(result: types.CallToolResult) -> Answer:
    parts = [told(part) for part in result.content]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return Answer("\n".join(parts) or "Done.", failed=result.is_error)


def told(part: types.ContentBlock) -> str:
    match part:
        case types.TextContent():
            return part.text
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return resource.text
        case types.ResourceLink():
            return f"[{part.name}]({part.uri})"
        case _:
            return f"[{part.type}]"


def verdict_on(failure: BaseException, last_words: str) -> str:
    failure = first_of(failure)
    return failure.sentence if isinstance(failure, Refused) else f"cannot be used: {reason_of(failure, last_words)}"


def reason_of(failure: BaseException, last_words: str = "") -> str:
    """In a line."""
    failure = first_of(failure)
    if isinstance(failure, FileNotFoundError):
        return f"there is no command {failure.filename}."
    reason = " ".join(str(failure).split())[:300].rstrip(".") or type(failure).__name__
    return f"{reason}. It says: {last_words[:300]}" if last_words else f"{reason}."


def first_of(failure: BaseException) -> BaseException:
    """Of failures that came together."""
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure
