"""uvicorn's protocols, and what they leave open: clients that take nothing, or send too much, or too slowly."""

from asyncio import TimerHandle, Transport
from asyncio.transports import BaseTransport
from http import HTTPStatus
from socket import SO_SNDBUF, SOL_SOCKET

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.frames import CloseCode as Standard

from .controllers.socket_messages import CloseCode

HEAD_LIMIT = 64 * 1024  # bytes of a request's address and headers
KERNEL_BUFFER = 128 * 1024  # bytes; by itself it grows to megabytes, behind which a ping would wait


def plain(status: HTTPStatus, sentence: str) -> bytes:
    """An answer to a request of which not enough is known to answer it in another way."""
    body = f"{sentence}\n".encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


TOO_LARGE_HEAD = plain(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The address and the headers of a request may have {HEAD_LIMIT // 1024} kB together.",
)
TOO_SLOW_HEAD = plain(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.")


class HttpProtocol(HttpToolsProtocol):
    """Heads of requests, which the parser would gather for as long as they come, of any length.

    `patience`: seconds in which a head has to be complete, on a new connection and on one that goes on.
    """

    patience = 30.0
    lingering = 5.0
    _watch: TimerHandle | None = None
    _unfinished = 0  # bytes of a head that is not complete
    _in_head = False
    _refused = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's has it
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        was_in_head = self._in_head
        super().data_received(data)
        self._unfinished = self._unfinished + len(data) if was_in_head and self._in_head else 0
        if self._unfinished > HEAD_LIMIT and not self._refused:
            self._refuse(TOO_LARGE_HEAD)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_watching()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_LIMIT:
            self._refuse(TOO_LARGE_HEAD)
            raise ValueError  # so that the parser goes no further
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._stop_watching()
        if not self._refused:
            super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watching()

    def _expect_head(self) -> None:
        self._stop_watching()
        self._watch = self.loop.call_later(self.patience, self._look_after)

    def _look_after(self) -> None:
        if self.cycle and not self.cycle.response_complete:
            self._expect_head()  # nothing more is read before that is answered
        elif self._in_head:
            self._refuse(TOO_SLOW_HEAD)
        else:  # browsers open connections that they may never need
            self.transport.close()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _refuse(self, answer: bytes) -> None:
        """Says why, and lets what is still on its way come: a socket closed before that would lose what it has said."""
        self._refused = True
        self._stop_watching()
        self.transport.write(answer)
        self.transport.write_eof()
        self._watch = self.loop.call_later(self.lingering, self.transport.abort)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """`patience`: seconds in which a client has to take something of what waits for it."""

    patience = 60.0
    _watch: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        if (socket := transport.get_extra_info("socket")) is not None:
            socket.setsockopt(SOL_SOCKET, SO_SNDBUF, KERNEL_BUFFER)

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close":
            # What a client does not take must not hold up that it is let go.
            self.writable.set()
            await super().send(message)
            self._let_go()
            return
        await self.writable.wait()
        if self.close_sent and self.handshake_complete:
            raise ClientDisconnected
        await super().send(message)

    # A client that takes nothing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_it(self.transport.get_write_buffer_size())

    def _watch_it(self, unsent: int) -> None:
        self._watch = self.loop.call_later(self.patience, self._look_after, unsent)

    def _look_after(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent < before:
            self._watch_it(unsent)
        elif not self.close_sent:
            self._end(CloseCode.SILENT, f"Nothing was taken for {self.patience:g} s.")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    # A client that sends too much, or what is no WebSocket

    def handle_parser_exception(self) -> None:
        if self.close_sent or self.conn.close_sent is None:
            return
        code, reason = self.conn.close_sent.code, self.conn.close_sent.reason
        self.conn.data_to_send()
        if code == Standard.MESSAGE_TOO_BIG:
            code, reason = CloseCode.TOO_LARGE, f"A message may have {self.config.ws_max_size:,} bytes."
        self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        """Says why, and takes in what is still on its way: a socket closed before that would lose what it has said."""
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=False))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._let_go()

    def _let_go(self) -> None:
        """By force if the client does not close its side, for what it has not taken would keep the socket."""
        if self.close_timer is not None:
            self.close_timer.cancel()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)
