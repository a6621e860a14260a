"""uvicorn's WebSockets, and what they leave open: clients that take nothing, and clients that send too much."""

from asyncio import TimerHandle
from asyncio.transports import BaseTransport
from socket import SO_SNDBUF, SOL_SOCKET

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.frames import CloseCode as Standard

from .controllers.socket_messages import CloseCode

KERNEL_BUFFER = 128 * 1024  # bytes; by itself it grows to megabytes, behind which a ping would wait


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
