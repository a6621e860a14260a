"""Server-Sent Events as bytes.

Lines end with a bare `\\n`: hx-sse breaks when a network chunk splits a `\\r\\n`.
"""

# A comment alone: after a blank line, clients that keep the last id would dispatch an empty event.
HEARTBEAT = b":\n"
MEDIA_TYPE = "text/event-stream"
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold the stream back otherwise
}


def message(data: str | bytes, event: str = "", id: int | None = None) -> bytes:
    """One message. `data` may have several lines."""
    body = data.encode() if isinstance(data, str) else data
    if b"\r" in body:  # it would end a line of the stream; in HTML it is a line feed all the same
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    head = b"" if id is None else b"id: %d\n" % id
    if event:
        head += b"event: %s\n" % event.encode()
    if b"\n" in body:
        body = body.replace(b"\n", b"\ndata: ")
    return b"%sdata: %s\n\n" % (head, body)
