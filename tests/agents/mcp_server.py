"""An MCP server for tests: `python mcp_server.py [stdio | http]`; over HTTP it prints its port first.

`--garbage` lets it print what is no protocol before it speaks, `--silent` keeps it from ever speaking, and
`--broken` ends it with a reason on standard error. `--older` knows only the handshake, and ends at anything else that
comes first; `--newer` refuses it. `--token` is asked for over HTTP.
"""

import argparse
import asyncio
import json
import logging
import os
import socket
import sys
import threading
import time
from collections import defaultdict
from typing import Any

import uvicorn
from mcp.server.mcpserver import Image, MCPServer
from mcp.types import UNSUPPORTED_PROTOCOL_VERSION, CallToolResult, TextContent
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

logging.getLogger("mcp").setLevel(logging.ERROR)  # it does not like the unusual names
server = MCPServer("rehearsal", log_level="ERROR")
events: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
async def meet(me: str, other: str) -> str:
    """Answers when both have come, which takes two calls at the same time."""
    events[me].set()
    await events[other].wait()
    return f"{me} met {other}"


@server.tool()
async def hang() -> str:
    """Never answers; who waits for `hanging` knows that it is at work."""
    events["hanging"].set()
    await asyncio.Event().wait()
    return ""


@server.tool()
async def hanging() -> str:
    """Answers when `hang` is at work."""
    await events["hanging"].wait()
    return "yes"


@server.tool()
def refuse() -> CallToolResult:
    """Says that it could not do it."""
    return CallToolResult(content=[TextContent(type="text", text="The well is dry.")], is_error=True)


@server.tool()
def divide() -> int:
    """Fails inside."""
    return 1 // 0


@server.tool(structured_output=False)
def look() -> list[Any]:
    """A text and a picture."""
    return ["A river.", Image(data=b"\x89PNG" * 100, format="png")]


@server.tool()
def count() -> CallToolResult:
    """Only structured content."""
    return CallToolResult(content=[], structured_content={"fish": [1, 2]})


@server.tool()
def environment() -> dict[str, str]:
    """Its environment, and where it runs."""
    return {**os.environ, "cwd": os.getcwd()}


@server.tool()
def process() -> str:
    """Its number."""
    return str(os.getpid())


@server.tool()
def die() -> None:
    """Ends the server at once."""
    os._exit(1)


@server.tool(name="a tool, whose name is ünusual and " + "very " * 20 + "long")
def unusual() -> str:
    """Has a name that no model server takes."""
    return "unusual"


@server.tool(name="a tool, whose name is ünusual and " + "very " * 20 + "long indeed")
def unusual_too() -> str:
    """Has a name that begins like the other's."""
    return "unusual, too"


async def serve_http(token: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    app = guarded(server.streamable_http_app(), token) if token else server.streamable_http_app()
    config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=0)
    await uvicorn.Server(config).serve(sockets=[listening])


def guarded(app: ASGIApp, token: str) -> ASGIApp:
    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        knows = scope["type"] == "lifespan" or (b"authorization", f"Bearer {token}".encode()) in scope["headers"]
        await (app if knows else PlainTextResponse("Who are you?", 401))(scope, receive, send)

    return guard


def greet(newer: bool) -> None:
    """Reads the first message before the server does."""
    with open(0, "rb", buffering=0, closefd=False) as pipe:  # takes no more than that
        first = pipe.readline()
    message = json.loads(first)
    if newer and message["method"] == "initialize":
        refusal = {"code": UNSUPPORTED_PROTOCOL_VERSION, "message": "too old", "data": {"supported": ["2026-07-28"]}}
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": refusal}), flush=True)
    elif not newer and message["method"] != "initialize":
        sys.exit("expected initialize")
    reading, writing = os.pipe()
    os.write(writing, b"" if newer and message["method"] == "initialize" else first)
    rest = os.dup(0)
    os.dup2(reading, 0)
    threading.Thread(target=copy, args=(rest, writing), daemon=True).start()


def copy(reading: int, writing: int) -> None:
    while data := os.read(reading, 65_536):
        os.write(writing, data)
    os.close(writing)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("transport", nargs="?", choices=["stdio", "http"], default="stdio")
    parser.add_argument("--garbage", action="store_true")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--broken", action="store_true")
    parser.add_argument("--older", action="store_true")
    parser.add_argument("--newer", action="store_true")
    parser.add_argument("--token", default="")
    options = parser.parse_args()
    if options.garbage:
        print("Welcome to the rehearsal!\n{}\n[1, 2", flush=True)
    if options.broken:
        sys.exit("RIVER_KEY is not set.")
    if options.silent:
        while True:
            time.sleep(3600)
    if options.transport == "http":
        asyncio.run(serve_http(options.token))
    else:
        if options.older or options.newer:
            greet(options.newer)
        server.run()


if __name__ == "__main__":
    main()
