"""Runs over a WebSocket: a program starts, follows and stops any number of them over one connection."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import Any
from uuid import UUID

from litestar import WebSocket, websocket
from litestar.datastructures import State
from litestar.exceptions import WebSocketDisconnect
from sqlalchemy.exc import SQLAlchemyError
from uuid_utils.compat import uuid7

from ..accounts.person import Person
from ..agents.events import Complete
from ..errors import (
    Forbidden,
    Internal,
    Invalid,
    NotFound,
    Restarting,
    RiverrunError,
    StorageUnavailable,
    TooManyRequests,
    TooManyStreams,
    Unauthorized,
)
from ..persistence.reach import Reach, keep_within
from ..persistence.repositories import Runs
from ..persistence.tables import Run
from ..persistence.writer import is_passing
from ..runs.journal import Journal, Sessions
from ..runs.runner import Runner
from ..settings import Settings
from .access import Gate, Scope, address_of, bearer_of, check_run, reach_to, while_admitted
from .body import entry, words
from .finding import found_run, head_after
from .limits import Limits, who
from .origin import is_welcome
from .socket_messages import (
    Approve,
    Approved,
    Auth,
    Cancel,
    Cancelling,
    CloseCode,
    Connected,
    Follow,
    Following,
    Message,
    Ping,
    Pong,
    Refused,
    Request,
    Send,
    Started,
    Unfollow,
    Unfollowed,
    encode,
    parse,
)

log = logging.getLogger(__name__)

AnySocket = WebSocket[Any, Any, State]
AUTH_PATIENCE = 10.0  # seconds for a token to come
FOLLOW_LIMIT = 100  # runs that one connection may follow
PING_LIMIT = 3  # pings without an answer after which a client counts as gone


@websocket("/api/ws")
async def api_socket(socket: AnySocket) -> None:
    # Always accepted: a page's script can read a close code, but not why a handshake was refused.
    await socket.accept()
    await Connection(socket).serve()


class Ended(Exception):
    """Ends a connection; without a code because the client has left."""

    def __init__(self, code: CloseCode | None = None, reason: str = "") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Connection:
    """One client's socket. Nothing is queued for it: whoever has something to say waits until it is taken."""

    def __init__(self, socket: AnySocket) -> None:
        state = socket.app.state
        self.id: UUID = uuid7()
        self._socket = socket
        self._runner: Runner = state.runner
        self._journal: Journal = state.journal
        self._sessions: Sessions = state.sessions
        self._gate: Gate = state.gate
        self._limits: Limits = state.limits
        self._bearer = bearer_of(socket)
        self._token_may_come = "authorization" not in socket.headers
        self._tasks = asyncio.TaskGroup()
        self._follows: dict[UUID, asyncio.Task[None]] = {}
        self._writing = asyncio.Lock()
        self._clock = asyncio.get_running_loop().time
        self._told = self._heard = self._clock()
        self._listening = False
        self._unanswered = 0

    async def serve(self) -> None:
        """Returns when it has ended, on whichever side; runs go on."""
        try:
            async with self._tasks:
                with self._place():
                    await self._welcome()
                    self._tasks.create_task(self._beat(), name=f"beat {self.id}")
                    await self._listen()
        except ExceptionGroup as failures:
            endings, unexpected = failures.split(Ended)
            if unexpected is not None:
                log.error("WebSocket %s failed", self.id, exc_info=unexpected)
                await self._close(Ended(CloseCode.INTERNAL, Internal().message))
            elif endings is not None:
                await self._close(endings.exceptions[0])

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Among the streams of whoever this is."""
        try:
            with self._limits.streams.held(who(self._socket)):
                yield
        except TooManyStreams as refusal:
            raise Ended(CloseCode.TOO_MANY, refusal.message) from refusal

    # Coming in

    async def _welcome(self) -> None:
        settings: Settings = self._socket.app.state.settings
        if not is_welcome(self._socket, frozenset(settings.allowed_origins), frozenset(settings.cors_origins)):
            raise Ended(CloseCode.FORBIDDEN, "This page is from another site; RIVERRUN_CORS_ORIGINS can let it in.")
        if self._gate.required and self._token_may_come:
            await self._wait_for_token()
        try:
            await self._limits.count(self._socket)
            await self._need("read")
        except TooManyRequests as refusal:
            raise Ended(CloseCode.TOO_MANY, refusal.message) from refusal
        except StorageUnavailable as failure:
            raise Ended(CloseCode.UNAVAILABLE, failure.message) from failure
        await self._tell(Connected(self.id, self._journal.heartbeat))

    async def _wait_for_token(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(AUTH_PATIENCE):
                first = parse(await self._hear())
                if isinstance(first, Auth):
                    self._bearer = first.token
        self._token_may_come = False

    async def _need(self, scope: Scope) -> Person:
        """Who asks. Asked for each request: a token that was revoked since counts no more. Raises Forbidden."""
        try:
            return await self._gate.admit(self._bearer, scope, address_of(self._socket))
        except Unauthorized as refusal:
            raise Ended(CloseCode.UNAUTHORISED, refusal.message) from refusal

    # What the client wants

    async def _listen(self) -> None:
        while True:
            request = parse(await self._hear())
            if isinstance(request, Refused):
                await self._tell(request)
            else:
                await self._answer(request)
            self._token_may_come = False

    async def _hear(self) -> str:
        self._listening = True
        message = await self._socket.receive()
        self._listening = False
        self._heard = self._clock()
        self._unanswered = 0
        if message["type"] != "websocket.receive":
            raise Ended
        text = message.get("text")
        if text is None:
            raise Ended(CloseCode.NOT_UNDERSTOOD, "Messages are JSON in text frames.")
        return text

    async def _answer(self, request: Request) -> None:
        try:
            if not isinstance(request, Ping | Pong):
                await self._limits.count(self._socket)
            match request:
                case Send():
                    await self._send(request)
                case Follow():
                    await self._follow(request)
                case Unfollow():
                    await self._unfollow(request)
                case Cancel():
                    await self._cancel(request)
                case Approve():
                    await self._approve(request)
                case Ping(id):
                    await self._tell(Pong(id))
                case Auth(token) if self._token_may_come:
                    self._bearer = token
                    await self._need("read")
                case Auth():
                    raise Invalid("A token comes as the first message, and only without an Authorization header.")
        except (RiverrunError, SQLAlchemyError, OSError) as error:
            await self._tell(Refused.of(as_refusal(error), getattr(request, "id", None)))

    async def _send(self, request: Send) -> None:
        person = await self._need("chat")
        if request.follow:
            self._make_sure_of_room()
        content = words(request.content, self._runner.message_limit)
        project_id = request.project_id or person.home_id
        # A client that leaves meanwhile must not leave a run behind that is saved and that nobody works on.
        starting = self._runner.start(
            content, request.team, request.conversation_id, project_id, reach=reach_to(person, write=True)
        )
        started = await asyncio.shield(starting)
        await self._tell(
            Started(
                request.id,
                started.run_id,
                started.conversation_id,
                started.user_message_id,
                started.message_id,
            )
        )
        if request.follow:
            self._begin(request.id, started.run_id, 0)

    async def _follow(self, request: Follow) -> None:
        person = await self._need("read")
        if request.run_id in self._follows:
            raise Invalid("This connection follows the run already.", field="run_id")
        self._make_sure_of_room()
        await self._found_run(request.run_id, reach_to(person, write=False))
        await head_after(self._journal, request.run_id, request.after)
        await self._tell(Following(request.id, request.run_id))
        self._begin(request.id, request.run_id, request.after)

    async def _unfollow(self, request: Unfollow) -> None:
        """Also where it is not followed: its end may have crossed this request on the way."""
        if task := self._follows.get(request.run_id):
            task.cancel()
            await asyncio.wait({task})
        await self._tell(Unfollowed(request.id, request.run_id))

    async def _cancel(self, request: Cancel) -> None:
        person = await self._need("chat")
        await self._found_run(request.run_id, reach_to(person, write=True))
        await self._runner.cancel(request.run_id)
        await self._tell(Cancelling(request.id, request.run_id))

    async def _approve(self, request: Approve) -> None:
        person = await self._need("chat")
        run = await self._found_run(request.run_id, reach_to(person, write=True))
        reason = entry(request.reason, 500, "reason")
        await self._runner.decide(run, request.call_id, request.decision, reason, by=person.name)
        await self._tell(Approved(request.id, request.run_id, request.call_id))

    def _make_sure_of_room(self) -> None:
        if len(self._follows) >= FOLLOW_LIMIT:
            raise Ended(CloseCode.TOO_MANY, f"One connection follows up to {FOLLOW_LIMIT} runs; open another.")
        self._limits.streams.check(who(self._socket))

    async def _found_run(self, run_id: UUID, reach: Reach | None) -> Run:
        async with self._sessions() as session:
            return await found_run(Runs(session=keep_within(session, reach)), run_id)

    # What the client gets

    def _begin(self, request_id: str, run_id: UUID, after: int) -> None:
        task = self._tasks.create_task(self._pass_on(request_id, run_id, after), name=f"follow {run_id}")
        self._follows[run_id] = task
        task.add_done_callback(lambda _: self._follows.pop(run_id))

    async def _pass_on(self, request_id: str, run_id: UUID, after: int) -> None:
        """The run's events as fast as the client takes them; one that lags reads from the log, not from memory."""
        complete = False
        admission = None if self._bearer is None and not self._gate.required else partial(self._check, run_id)
        try:
            batches = while_admitted(self._journal.follow(run_id, after), admission, self._journal.heartbeat)
            with self._place():
                async with aclosing(batches):
                    async for batch in batches:
                        for record in batch:
                            await self._put(record.payload)
                            complete = isinstance(record.event, Complete)
        except (NotFound, Forbidden) as refusal:
            await self._tell(Refused.of(refusal, request_id))
            return
        except Restarting as failure:
            raise Ended(CloseCode.RESTART, failure.message) from failure
        except StorageUnavailable as failure:
            # Not an event of the run: the cursor stays where it was.
            raise Ended(CloseCode.UNAVAILABLE, failure.message) from failure
        if not complete:  # the cursor was at its end
            await self._tell(Unfollowed(request_id, run_id))

    async def _check(self, run_id: UUID) -> None:
        person = await self._need("read")
        await check_run(self._sessions, run_id, reach_to(person, write=False))

    async def _beat(self) -> None:
        """A ping when one side has been silent for a heartbeat, so that both know whether the other is there."""
        pinged = self._clock()
        while True:
            due = max(pinged, min(self._told, self._heard)) + self._journal.heartbeat
            if (early := due - self._clock()) > 0:
                await asyncio.sleep(early)
                continue
            # While a request is worked on here, what the client has said since waits to be heard.
            if self._unanswered >= PING_LIMIT and self._listening:
                raise Ended(CloseCode.SILENT, f"{PING_LIMIT} pings were not answered.")
            await self._tell(Ping())
            self._unanswered += 1
            pinged = self._clock()

    async def _tell(self, message: Message) -> None:
        await self._put(encode(message))

    async def _put(self, payload: bytes) -> None:
        """Returns when the client has room for more."""
        async with self._writing:
            try:
                await self._socket.send_text(payload)
            except (WebSocketDisconnect, OSError):
                raise Ended from None
            self._told = self._clock()

    async def _close(self, ending: BaseException) -> None:
        if not isinstance(ending, Ended) or ending.code is None:
            return
        with suppress(WebSocketDisconnect, OSError):  # it may have left at the same time
            await self._socket.close(ending.code, ending.reason)


def as_refusal(error: RiverrunError | SQLAlchemyError | OSError) -> RiverrunError:
    if isinstance(error, RiverrunError):
        return error
    if is_passing(error):
        log.warning("The database failed: %s", error)
        return StorageUnavailable()
    log.error("A request over a WebSocket failed", exc_info=error)
    return Internal()
