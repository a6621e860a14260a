"""The yardstick: an ASGI application that passes a model's bytes on and does nothing else.

MODEL_URL=http://127.0.0.1:11500 uvicorn benchmarks.relay:app --no-access-log
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

Message = dict[str, Any]

MODEL = urlsplit(os.environ.get("MODEL_URL", "http://127.0.0.1:11500"))
HEADERS = [(b"content-type", b"text/event-stream")]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        return
    body = (await receive())["body"]
    reader, writer = await asyncio.open_connection(MODEL.hostname, MODEL.port)
    # HTTP/1.0: the bytes come as they are and end with the connection, so there is nothing to parse.
    writer.write(b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readuntil(b"\r\n\r\n")
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    while data := await reader.read(65536):
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    writer.close()
