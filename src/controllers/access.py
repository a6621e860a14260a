"""Who may come in by the doors for programs: their tokens, and what each of them may do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, Literal, get_args
from uuid import UUID

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from sqlalchemy.exc import SQLAlchemyError

from ..errors import Forbidden, StorageUnavailable, Unauthorized
from ..persistence.repositories import ApiTokens, KnownToken
from ..persistence.statements import NOTE_TOKEN_USE, Write
from ..persistence.writer import is_passing
from ..runs.journal import Sessions, now
from .origin import is_for_programs

Scope = Literal["read", "chat", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each includes those before it
CHAT: dict[str, Scope] = {"scope": "chat"}  # the `opt` of a route through which people's conversations go on
PREFIX = "rr_"
SHOWN = 6  # characters after the prefix by which a person knows a token again
NOTED_EVERY = timedelta(minutes=1)

AnyConnection = ASGIConnection[Any, Any, Any, Any]


def new_token() -> str:
    return PREFIX + token_urlsafe(32)


def shown_part(token: str) -> str:
    return token[len(PREFIX) : len(PREFIX) + SHOWN]


def hash_of(token: str) -> str:
    """What is kept instead of a token. It is 256 random bits, so that no guessing leads back to it from a quick hash;
    a slow one, as passwords need, would only make every request slow."""
    return sha256(token.encode(errors="replace")).hexdigest()


class Gate:
    """`required`: whether who brings no token is turned away. Nothing of a token is kept here: a revoked one is out."""

    def __init__(self, sessions: Sessions, save: Callable[[Write], Awaitable[None]], required: bool) -> None:
        self.required = required
        self._sessions = sessions
        self._save = save
        self._noted: dict[UUID, datetime] = {}
        self._noting: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            for task in self._noting:
                task.cancel()
            await asyncio.gather(*self._noting, return_exceptions=True)

    async def admit(self, bearer: str | None, scope: Scope) -> None:
        """Returns when whoever brings this may do what needs this scope.

        What does not begin as our tokens do counts as none: clients of other servers always send some key.

        Raises Unauthorized, Forbidden, or StorageUnavailable when the database is away.
        """
        if bearer is None or not bearer.startswith(PREFIX):
            if self.required:
                raise Unauthorized(f"This needs a token: “Authorization: Bearer {PREFIX}…”.")
            return
        token = await self._find(bearer)
        if token is None:
            raise Unauthorized("This token is not known here; it may have been revoked.", error="invalid_token")
        self._note(token.id, token.last_used_at)
        if SCOPES.index(token.scope) < SCOPES.index(scope):
            raise Forbidden(f"This needs a token with the scope “{scope}”; this one has “{token.scope}”.", scope=scope)

    async def _find(self, bearer: str) -> KnownToken | None:
        # Looked up by its hash in an index: how long that takes tells nothing of any token.
        try:
            async with self._sessions() as session:
                return await ApiTokens(session=session).known(hash_of(bearer))
        except (SQLAlchemyError, OSError) as failure:
            if is_passing(failure):
                raise StorageUnavailable from failure
            raise

    def _note(self, id: UUID, last_used_at: datetime | None) -> None:
        """That it was used, at most once a minute, while the request goes on."""
        at = now()
        last = max(filter(None, (last_used_at, self._noted.get(id))), default=None)
        if last is None or at - last >= NOTED_EVERY:
            self._noted[id] = at
            task = asyncio.create_task(self._save_use(id, at), name="token use")
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _save_use(self, id: UUID, at: datetime) -> None:
        """By the process's one writer: with SQLite, who writes beside it makes all streams wait."""
        with suppress(StorageUnavailable, SQLAlchemyError):  # the next use is noted again
            await self._save({NOTE_TOKEN_USE: [{"token": id, "at": at}]})


async def check_token(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """A guard for every route. A WebSocket asks the gate itself, since its token may be in its first message."""
    scope = connection.scope
    if scope["type"] != ScopeType.HTTP or not is_for_programs(scope) or scope["method"] == "OPTIONS":
        return  # a browser that asks whether it may ask brings no token
    gate: Gate = connection.app.state.gate
    await gate.admit(bearer_of(connection), needed_scope(handler, scope["method"]))


def needed_scope(handler: BaseRouteHandler, method: str) -> Scope:
    """As the route's `opt` has it; a change that does not say is for administrators."""
    default: Scope = "read" if method in ("GET", "HEAD") else "admin"
    scope: Scope = handler.opt.get("scope", default)
    return scope


def bearer_of(connection: AnyConnection) -> str | None:
    kind, _, value = connection.headers.get("authorization", "").partition(" ")
    return value.strip() or None if kind.lower() == "bearer" else None
