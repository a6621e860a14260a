"""One WebSocket for everything: starts, follows and stops any number of runs, and comes back when it is cut."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from itertools import count
from typing import Any, Self
from uuid import UUID

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ..agents.events import NIL, UNREADABLE, Complete, Event, Word
from .answers import LARGEST_EVENT, MISSED_HEARTBEATS, UNCERTAIN, is_loopback, reject
from .cursor import Cursor
from .errors import ClientError, Lost, Refused, Uncertain
from .retries import Attempts, Patience
from .run import Run

ROOM = 1000  # events that wait for a reader; one that is slower reads on from its cursor

CLOSED_FOR_GOOD = {4400: "invalid", 4401: "unauthorised", 4403: "forbidden", 4413: "too_large", 4429: "too_many_runs"}
DATABASE_AWAY = 4503


class Head(msgspec.Struct):
    """What every message of the server may have. Of an event nothing else is read here: that is for its cursor."""

    type: str = ""
    run_id: UUID = NIL


class Frame(Head):
    """What an answer may have."""

    id: str | None = None
    connection_id: str = ""
    conversation_id: UUID = NIL
    message_id: UUID = NIL
    heartbeat: float = 0.0
    status: int | str = 0
    code: str = ""
    detail: str = ""


ANSWERS = {"started", "following", "unfollowed", "cancelling", "approved", "pong", "refused"}

read_head = msgspec.json.Decoder(Head).decode
read_frame = msgspec.json.Decoder(Frame).decode
encode = msgspec.json.Encoder().encode


class Dropped(Exception):
    """What was asked over a connection went with it."""


class Feed:
    """What has come of a run that is followed. `live`: the server sends; `lagging`: it was asked not to, for now."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.live = False
        self.lagging = False

    def interrupt(self) -> None:
        """To be followed again, once what is here has been read."""
        if self.live:
            self.live = self.lagging = False
            self.waiting.put_nowait(Dropped())


class Socket:
    """Made by `Client.socket()` and used as a context. Its runs have the same methods as the client's."""

    def __init__(self, server: str, headers: dict[str, str], patience: Patience, heartbeat: float) -> None:
        self._address = f"ws{server.removeprefix('http')}/api/ws"
        self._headers = headers
        self._patience = patience
        self._heartbeat = heartbeat  # until the server has told its own
        self._link: ClientConnection | None = None
        self._open = asyncio.Event()
        self._failure: ClientError | None = None
        self._ids = map(str, count(1))
        self._answers: dict[str, asyncio.Future[Frame]] = {}
        self._feeds: dict[UUID, Feed] = {}
        self.connection_id = ""

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep_connected(), name="riverrun socket")
        try:
            await self._connected()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._keeping.cancel()
        with suppress(asyncio.CancelledError):
            await self._keeping

    # What a program asks

    async def send(
        self,
        content: str,
        *,
        conversation: UUID | str | None = None,
        team: str | None = None,
        project: UUID | str | None = None,
    ) -> Run:
        """Starts a run, in a new conversation unless one is named. Raises Uncertain if the connection is lost then."""
        about = {"conversation_id": conversation, "team": team, "project_id": project}
        try:
            started = await self._ask_once("send", content=content, follow=False, **about)
        except Dropped:
            raise Uncertain(UNCERTAIN) from None
        return Run(started.run_id, started.conversation_id, started.message_id, self)

    async def follow(self, run_id: UUID, after: int = 0) -> AsyncGenerator[Event, None]:
        """A run's events after a cursor, to its end: each once, in order, whatever happens to connections."""
        if run_id in self._feeds:
            raise ClientError("This socket follows the run already.")
        cursor = Cursor(after)
        attempts = Attempts(self._patience)
        feed = self._feeds[run_id] = Feed()
        try:
            while True:
                try:
                    async with aclosing(self._events(run_id, feed, cursor)) as events:
                        async for event in events:
                            attempts.succeed()
                            yield event
                            if isinstance(event, Complete):
                                feed.live = False
                                return
                    return
                except Dropped:
                    continue
                except Lost as failure:
                    await self._leave(run_id, feed)
                    await attempts.pause(failure)
        finally:
            await self._leave(run_id, feed)
            del self._feeds[run_id]

    async def cancel(self, run_id: UUID) -> None:
        """Stops a run; its end follows as events. Stopping a run that has ended changes nothing."""
        await self._ask("cancel", run_id=run_id)

    async def approve(self, run_id: UUID, call_id: str, decision: Word = "once", reason: str = "") -> None:
        """Says whether a call that asks may be made. Raises Uncertain if the connection is lost then."""
        try:
            await self._ask_once("approve", run_id=run_id, call_id=call_id, decision=decision, reason=reason)
        except Dropped:
            raise Uncertain("The connection was lost. Whether what you said has arrived, the run tells.") from None

    async def ping(self) -> float:
        """Seconds to the server and back."""
        clock = asyncio.get_running_loop().time
        began = clock()
        await self._ask("ping")
        return clock() - began

    async def _events(self, run_id: UUID, feed: Feed, cursor: Cursor) -> AsyncGenerator[Event, None]:
        await self._ask_once("follow", run_id=run_id, after=cursor.at)
        while (item := await feed.waiting.get()) is not None:
            if isinstance(item, Exception):
                raise item
            if (event := cursor.take(item)) is not None:
                yield event

    async def _leave(self, run_id: UUID, feed: Feed) -> None:
        if feed.live and not feed.lagging:
            with suppress(Dropped, ClientError):
                await self._ask_once("unfollow", run_id=run_id)
        feed.live = feed.lagging = False
        feed.waiting = asyncio.Queue()

    async def _ask(self, type: str, **about: Any) -> Frame:
        """What can be asked again without harm."""
        while True:
            with suppress(Dropped):
                return await self._ask_once(type, **about)

    async def _ask_once(self, type: str, **about: Any) -> Frame:
        """Raises Dropped when the connection was lost before the answer."""
        link = await self._connected()
        name = next(self._ids)
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._answers[name] = answer
        try:
            await self._put(link, {"type": type, "id": name, **about})
            return await answer
        finally:
            del self._answers[name]
            if answer.done() and not answer.cancelled():
                answer.exception()  # known, also where the connection was lost while this was being asked

    async def _connected(self) -> ClientConnection:
        await self._open.wait()
        if self._failure:
            raise self._failure
        assert self._link
        return self._link

    async def _put(self, link: ClientConnection, message: dict[str, Any]) -> None:
        try:
            await link.send(encode(message), text=True)
        except ConnectionClosed:
            if link is self._link:
                self._open.clear()  # whoever asks again waits, so that the listener gets to know of it too
            raise Dropped from None

    # What the server says

    async def _keep_connected(self) -> None:
        attempts = Attempts(self._patience)
        try:
            while True:
                try:
                    await self._listen(attempts)
                except Lost as failure:
                    self._drop()
                    await attempts.pause(failure)
        except ClientError as failure:
            self._drop()
            self._failure = failure
            self._open.set()  # whoever waits for a connection shall see why there will be none

    async def _listen(self, attempts: Attempts) -> None:
        """As long as one connection lasts. Raises Lost or Refused."""
        link = connect(
            self._address,
            additional_headers=self._headers,
            proxy=None if is_loopback(self._address) else True,
            max_size=LARGEST_EVENT,
            ping_interval=None,  # the protocol has heartbeats of its own
        )
        try:
            async with link as self._link:
                try:
                    while True:
                        async with asyncio.timeout(MISSED_HEARTBEATS * self._heartbeat):
                            message = await self._link.recv(decode=False)
                        await self._take(self._link, message, attempts)
                except asyncio.CancelledError:
                    await self._link.close()  # as one who has finished; an exception here would look like a failure
                    raise
        except ConnectionClosed as failure:
            raise closed(failure) from failure
        except InvalidStatus as failure:
            reject(failure.response.status_code, bytes(failure.response.body or b""), failure.response.headers)
        except TimeoutError as failure:
            raise Lost("It does not answer in time.") from failure
        except (OSError, InvalidHandshake, Dropped) as failure:
            raise Lost(f"Nothing answers there ({failure}).") from failure

    async def _take(self, link: ClientConnection, message: bytes, attempts: Attempts) -> None:
        try:
            head = read_head(message)
            is_event = head.run_id in self._feeds and head.type not in ANSWERS
            frame = Frame(head.type, head.run_id) if is_event else read_frame(message)
        except UNREADABLE:
            return  # if it was an event, its number will be missed
        match frame.type:
            case "connected":
                self._heartbeat = frame.heartbeat or self._heartbeat
                self.connection_id = frame.connection_id
                self._open.set()
            case "ping":
                attempts.succeed()
                await self._put(link, {"type": "pong"})
            case "refused":
                status = frame.status if isinstance(frame.status, int) else 0
                self._answer(frame, Refused(status, frame.code, frame.detail, msgspec.json.decode(message)))
            case "started" | "following" | "unfollowed" | "cancelling" | "approved" | "pong":
                if frame.run_id in self._feeds:
                    self._change(self._feeds[frame.run_id], frame)
                self._answer(frame)
            case _ if frame.run_id in self._feeds:
                attempts.succeed()
                await self._feed(link, frame.run_id, message)

    def _change(self, feed: Feed, frame: Frame) -> None:
        match frame.type:
            case "following":
                feed.live = True
            case "unfollowed" if feed.lagging:
                feed.interrupt()
            case "unfollowed" if frame.id not in self._answers:
                feed.live = False
                feed.waiting.put_nowait(None)  # the run has ended, and nothing came after the cursor

    async def _feed(self, link: ClientConnection, run_id: UUID, message: bytes) -> None:
        feed = self._feeds[run_id]
        if not feed.live or feed.lagging:
            return
        feed.waiting.put_nowait(message)
        if feed.waiting.qsize() >= ROOM:
            feed.lagging = True
            await self._put(link, {"type": "unfollow", "id": next(self._ids), "run_id": run_id})

    def _answer(self, frame: Frame, refused: Refused | None = None) -> None:
        answer = self._answers.get(frame.id or "")
        if answer is None or answer.done():
            return
        if refused:
            answer.set_exception(refused)
        else:
            answer.set_result(frame)

    def _drop(self) -> None:
        """The connection is gone: whoever waits for something asks again over the next one."""
        self._open.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Dropped())
        for feed in self._feeds.values():
            feed.interrupt()


def closed(failure: ConnectionClosed) -> Refused | Lost:
    code, reason = (failure.rcvd.code, failure.rcvd.reason) if failure.rcvd else (0, "")
    if code in CLOSED_FOR_GOOD:
        return Refused(code - 4000, CLOSED_FOR_GOOD[code], reason)
    if code == DATABASE_AWAY:
        return Lost(reason, Refused(503, "database_unavailable", reason))
    return Lost(reason or "The connection was lost.")
