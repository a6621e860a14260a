"""Who comes in: people who have signed in, programs with their tokens, and what each of them may do."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar, get_args
from uuid import UUID

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from sqlalchemy.exc import SQLAlchemyError

from ..accounts.accounts import note_once
from ..accounts.person import SOLE, Person, asking, reading
from ..accounts.secrets import hash_of, new_secret
from ..errors import Forbidden, NotFound, SignInNeeded, StorageUnavailable, Unauthorized
from ..persistence.reach import Reach, keep_within, within_reach
from ..persistence.repositories import ApiTokens, Known, Memberships, Projects, Runs, SignIns
from ..persistence.statements import NOTE_SIGN_IN, NOTE_TOKEN_USE, Write
from ..persistence.writer import passing_as_unavailable
from ..runs.journal import Sessions, now
from ..settings import Settings
from .finding import found_run, missing_project
from .origin import SAFE_METHODS, SESSION_COOKIE, is_for_programs, is_welcome

Scope = Literal["read", "chat", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)  # each includes those before it
CHAT: dict[str, Scope] = {"scope": "chat"}  # the `opt` of a route through which people's conversations go on
PREFIX = "rr_"
SHOWN = 6  # characters after the prefix by which a person knows a token again
NOTED_EVERY = timedelta(minutes=1)
WRITTEN = ("content", "instructions")  # the fields into which people write at length


T = TypeVar("T")
Admission = Callable[[], Awaitable[None]]
AnyConnection = ASGIConnection[Any, Any, Any, Any]


def new_token() -> str:
    return PREFIX + new_secret()


def shown_part(token: str) -> str:
    return token[len(PREFIX) : len(PREFIX) + SHOWN]


class Gate:
    """`accounts`: whether people sign in, for so many `days`. `required`: whether who brings no token is turned away.

    Nothing of a token or a cookie is kept here: one that was revoked is out.
    """

    def __init__(
        self,
        sessions: Sessions,
        save: Callable[[Write], Awaitable[None]],
        *,
        accounts: bool = False,
        required: bool = False,
        days: int = 30,
    ) -> None:
        self.accounts = accounts
        self.required = accounts or required
        self._sessions = sessions
        self._save = save
        self._signed_in_for = timedelta(days=days)
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

    async def recognise(self, cookie: str | None) -> tuple[Person | None, UUID | None]:
        """Who has signed in with this browser, and when that was done (its id). Raises StorageUnavailable."""
        if not self.accounts:
            return SOLE, None
        known = await self._find(SignIns, cookie) if cookie else None
        if known is None or known.seen_at is None or now() - known.seen_at > self._signed_in_for:
            return None, None
        self._note(known, {NOTE_SIGN_IN: [{"sign_in": known.id, "at": now()}]})
        return person_of(known), known.id

    async def admit(self, bearer: str | None, scope: Scope, address: str = "") -> Person:
        """Whoever brings this, when they may do what needs this scope.

        What does not begin as our tokens do counts as none: clients of other servers always send some key.

        Raises Unauthorized, Forbidden, or StorageUnavailable when the database is away.
        """
        if bearer is None or not bearer.startswith(PREFIX):
            if self.required:
                raise Unauthorized(f"This needs a token: “Authorization: Bearer {PREFIX}…”.")
            return SOLE
        token = await self._find(ApiTokens, bearer)
        if token is None:
            raise Unauthorized("This token is not known here; it may have been revoked.", error="invalid_token")
        self._note(token, {NOTE_TOKEN_USE: [{"token": token.id, "at": now()}]}, address)
        if SCOPES.index(token.scope) < SCOPES.index(scope):
            raise Forbidden(f"This needs a token with the scope “{scope}”; this one has “{token.scope}”.", scope=scope)
        return person_of(token) if self.accounts else SOLE

    async def _find(self, kind: type[ApiTokens | SignIns], secret: str) -> Known | None:
        # Looked up by its hash in an index: how long that takes tells nothing of any secret.
        with passing_as_unavailable():
            async with self._sessions() as session:
                return await kind(session=session).known(hash_of(secret))

    def _note(self, known: Known, use: Write, address: str = "") -> None:
        """That it came, at most once a minute, while the request goes on."""
        at = now()
        last = max(filter(None, (known.seen_at, self._noted.get(known.id))), default=None)
        if last is None or at - last >= NOTED_EVERY:
            self._noted[known.id] = at
            task = asyncio.create_task(self._save_use(known, use, address), name="use")
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _save_use(self, known: Known, use: Write, address: str) -> None:
        """By the process's one writer: with SQLite, who writes beside it makes all streams wait."""
        with suppress(StorageUnavailable, SQLAlchemyError, OSError):  # the next use is noted again
            await self._save(use)
            if self.accounts and address:
                async with self._sessions() as session:
                    await note_once(session, "token_used", known.name, f"{known.title} ({known.scope})", address)


def person_of(known: Known) -> Person:
    return Person(known.account_id, known.name, "admin" if known.role == "admin" else "member", known.home_id)


class Recognition(AbstractAuthenticationMiddleware):
    """Finds out who asks, for pages; programs are asked for their token by a guard, which knows what they want."""

    async def authenticate_request(self, connection: AnyConnection) -> AuthenticationResult:
        gate: Gate = connection.app.state.gate
        if is_for_programs(connection.scope):
            return AuthenticationResult(user=None, auth=None)
        person, sign_in = await gate.recognise(connection.cookies.get(SESSION_COOKIE))
        asking.set(person)
        return AuthenticationResult(user=person, auth=sign_in)


async def check_person(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """A guard for every route: pages are for people who are known, unless they are `public`.

    So is the document that describes the interfaces for programs: it is the same in every riverrun.
    """
    scope = connection.scope
    is_public = handler.opt.get("public") or scope["path"].startswith("/schema")
    if is_for_programs(scope) or is_public or is_asking_ahead(connection):
        return
    if connection.scope["user"] is None:
        raise SignInNeeded(await written_in(connection))


def is_asking_ahead(connection: AnyConnection) -> bool:
    """Whether a browser asks if it may ask, which tells nobody anything: it brings neither token nor cookie."""
    return connection.scope.get("method") == "OPTIONS"


async def written_in(connection: AnyConnection) -> str:
    """What somebody wrote into a form of ours who was signed out meanwhile."""
    settings: Settings = connection.app.state.settings
    form = connection.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if not (form and isinstance(connection, Request) and is_welcome(connection, frozenset(settings.allowed_origins))):
        return ""
    fields = await connection.form()
    return "\n\n".join(str(fields[name]) for name in WRITTEN if fields.get(name))


async def check_admin(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard for what only administrators may do."""
    person: Person | None = connection.scope["user"]
    if person is None or not person.is_admin:
        raise NotFound("There is nothing at this address.")


async def check_accounts(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard for what there is only where people sign in."""
    gate: Gate = connection.app.state.gate
    if not gate.accounts:
        raise NotFound("Nobody signs in here; RIVERRUN_AUTH=accounts changes that.")


async def check_token(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """A guard for every route. A WebSocket asks the gate itself, since its token may be in its first message."""
    scope = connection.scope
    if scope["type"] != ScopeType.HTTP or not is_for_programs(scope) or is_asking_ahead(connection):
        return
    gate: Gate = connection.app.state.gate
    needed = needed_scope(handler, scope["method"])
    scope["user"] = await gate.admit(bearer_of(connection), needed, address_of(connection))


def address_of(connection: AnyConnection) -> str:
    return connection.client.host if connection.client else ""


def needed_scope(handler: BaseRouteHandler, method: str) -> Scope:
    """As the route's `opt` has it; a change that does not say is for administrators."""
    default: Scope = "read" if method in ("GET", "HEAD") else "admin"
    scope: Scope = handler.opt.get("scope", default)
    return scope


def bearer_of(connection: AnyConnection) -> str | None:
    kind, _, value = connection.headers.get("authorization", "").partition(" ")
    return value.strip() or None if kind.lower() == "bearer" else None


def still_admitted(connection: AnyConnection, run_id: UUID) -> Admission | None:
    """Asks again whether whoever asked may follow this run, as a new request would. None: nobody is turned away."""
    gate: Gate = connection.app.state.gate
    if not gate.required and bearer_of(connection) is None:
        return None
    sessions: Sessions = connection.app.state.sessions

    async def check() -> None:
        if is_for_programs(connection.scope):
            person: Person | None = await gate.admit(bearer_of(connection), "read", address_of(connection))
        else:
            person, _ = await gate.recognise(connection.cookies.get(SESSION_COOKIE))
        if person is None:
            raise SignInNeeded
        await check_run(sessions, run_id, reach_to(person, write=False))

    return check


async def check_run(sessions: Sessions, run_id: UUID, reach: Reach | None) -> None:
    if reach is not None:
        async with sessions() as session:
            await found_run(Runs(session=keep_within(session, reach)), run_id)


async def while_admitted(
    batches: AsyncGenerator[T, None], check: Admission | None, every: float
) -> AsyncGenerator[T, None]:
    """Asks again after so many seconds, for who may follow today may be gone tomorrow, and a stream goes on.

    Raises what a new request would be refused with.
    """
    clock = asyncio.get_running_loop().time
    due = clock() + every
    async with aclosing(batches):
        async for batch in batches:
            if check and clock() >= due:
                await check()
                due = clock() + every
            yield batch


async def check_project(connection: AnyConnection, _: BaseRouteHandler) -> None:
    """A guard for every route: of a project that is named in the address, what is to be done there may be done."""
    project_id = connection.path_params.get("project_id")
    if project_id is None or is_asking_ahead(connection) or (reach := reach_of_request(connection)) is None:
        return
    sessions: Sessions = connection.app.state.sessions
    async with sessions() as session:
        projects = Projects(session=keep_within(session, reach))
        # One that was deleted can be restored.
        project = await within_reach(session, lambda: projects.get_one_or_none(id=project_id))
        if project is None:
            raise missing_project()
        if project.owner_id != reach.account_id and not is_for_programs(connection.scope):
            reading.set(not await Memberships(session=session).may_write(project.id, reach.account_id))


def reach_of_request(connection: AnyConnection) -> Reach | None:
    """What whoever asks may find: to read for what only reads. None where nobody signs in: everything."""
    person: Person = connection.scope["user"]
    return reach_to(person, write=connection.scope.get("method", "GET") not in SAFE_METHODS)


def reach_to(person: Person, *, write: bool) -> Reach | None:
    return None if person.alone else Reach(person.id, write)
