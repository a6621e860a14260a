"""The client: JSON for what is asked, Server-Sent Events for what happens."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote
from uuid import UUID

import httpx2
import msgspec

from ..agents.events import UNREADABLE, Complete, Event, Word
from .answers import (
    LARGEST_EVENT,
    MISSED_HEARTBEATS,
    PASSING,
    UNCERTAIN,
    address_of,
    authorization,
    is_loopback,
    reject,
)
from .cursor import Cursor, number_in
from .errors import ClientError, Lost, Refused, Uncertain, Unreachable
from .reply import Reply
from .retries import Attempts, Patience, Retry
from .run import Run
from .socket import Socket

LOCAL = "http://127.0.0.1:8000"
NOTHING_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Health(msgspec.Struct):
    """`model` is the one that the server uses, `runs` how many are at work."""

    status: str = ""
    model: str = ""
    runs: int = 0


class Client:
    """Of one server. Used as a context: `async with Client() as client`.

    `attempts`: how often a lost connection is tried again, counted from the last event; `backoff`: the first pause in
    seconds, doubled from then on; `heartbeat`: the server's own (RIVERRUN_HEARTBEAT), after three of which in silence
    a stream counts as dead; `timeout`: seconds for any other answer; `on_retry` is told of every further attempt.
    """

    def __init__(
        self,
        server: str = LOCAL,
        token: str | None = None,
        *,
        attempts: int = 5,
        backoff: float = 1.0,
        heartbeat: float = 15.0,
        timeout: float = 30.0,
        on_retry: Callable[[Retry], object] | None = None,
    ) -> None:
        self.server = address_of(server)
        self.heartbeat = heartbeat
        self.patience = Patience(self.server, attempts, backoff, on_retry)
        self._headers = authorization(token)
        self._timeout = timeout
        self._http = httpx2.AsyncClient(
            base_url=self.server,
            headers=self._headers,
            timeout=timeout,
            trust_env=not is_loopback(self.server),  # no proxy leads to this machine
            limits=httpx2.Limits(max_connections=None),  # each run that is followed takes one
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *problem: Any) -> None:
        await self._http.__aexit__(*problem)

    async def health(self) -> Health:
        """Whether a riverrun is there, asked once: raises Unreachable at once, and Refused by anything else."""
        try:
            answer = await self._http.get("health")
        except httpx2.TransportError as failure:
            raise Unreachable(f"No connection to {self.server}: {lost_by(failure).reason}") from failure
        if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return Health("unavailable")
        try:
            return msgspec.json.decode(checked(answer).content, type=Health)
        except UNREADABLE:
            raise Refused(answer.status_code, "invalid", f"{self.server} is no riverrun.") from None

    async def send(
        self,
        content: str,
        *,
        conversation: UUID | str | None = None,
        team: str | None = None,
        project: UUID | str | None = None,
    ) -> Run:
        """Starts a run, in a new conversation unless one is named.

        Where a lost connection leaves it open whether the message has arrived, the client looks into its new
        conversation before it sends again, and raises Uncertain for one that was there before.
        """
        if conversation is not None:
            return await self._start(UUID(str(conversation)), given(content=content, team=team))
        about = given(team=team, project_id=str(project) if project else None)
        made = await self._ask("POST", "api/conversations", about)
        return await self._start_new(UUID(made["id"]), content)

    async def ask(
        self,
        content: str,
        *,
        conversation: UUID | str | None = None,
        team: str | None = None,
        project: UUID | str | None = None,
    ) -> Reply:
        """Sends a message and waits for the whole reply. Raises RunFailed."""
        run = await self.send(content, conversation=conversation, team=team, project=project)
        return await run.reply()

    async def find(self, run_id: UUID | str) -> Run:
        """A run that was started elsewhere or earlier."""
        known = await self._ask("GET", f"api/runs/{UUID(str(run_id))}")
        return Run(UUID(known["id"]), UUID(known["conversation_id"]), UUID(known["message_id"]), self)

    async def follow(self, run_id: UUID, after: int = 0) -> AsyncGenerator[Event, None]:
        """A run's events after a cursor, to its end: each once, in order, whatever happens to connections."""
        cursor = Cursor(after)
        attempts = Attempts(self.patience)
        while True:
            try:
                async with aclosing(self._stream(run_id, cursor)) as events:
                    async for event in events:
                        attempts.succeed()
                        yield event
                        if isinstance(event, Complete):
                            return
                return
            except Stood as failure:
                attempts.succeed()
                await attempts.pause(failure)
            except Lost as failure:
                await attempts.pause(failure)

    async def cancel(self, run_id: UUID) -> None:
        """Stops a run; its end follows as events. Stopping a run that has ended changes nothing."""
        await self._ask("POST", f"api/runs/{run_id}/cancel")

    async def approve(self, run_id: UUID, call_id: str, decision: Word = "once", reason: str = "") -> None:
        """Says whether a call that asks may be made. Raises Refused where something else was said before."""
        said = {"decision": decision, "reason": reason}
        try:
            await self._ask("POST", f"api/runs/{run_id}/approvals/{quote(call_id, safe='')}", said)
        except Refused as refusal:
            if refusal.problem.get("decision") != decision:  # otherwise it had arrived before a connection was lost
                raise

    def socket(self) -> AbstractAsyncContextManager[Socket]:
        """One connection for everything, where many runs are followed at once."""
        return Socket(self.server, self._headers, self.patience, self.heartbeat)

    async def _start_new(self, conversation_id: UUID, content: str) -> Run:
        attempts = Attempts(self.patience)
        while True:
            try:
                return await self._start(conversation_id, {"content": content})
            except Uncertain as failure:
                lost = Lost(str(failure))
            except Refused as refusal:
                if refusal.code != "busy":  # then the message had arrived, later than it was looked for
                    with suppress(ClientError):
                        await self._ask("DELETE", f"api/conversations/{conversation_id}")  # nobody wants it empty
                    raise
                lost = Lost(str(refusal))
            await attempts.pause(lost)
            if run := await self._newest_run(conversation_id):
                return run

    async def _start(self, conversation_id: UUID, message: dict[str, str]) -> Run:
        attempts = Attempts(self.patience)
        while True:
            try:
                answer = await self._http.post(f"api/conversations/{conversation_id}/runs", json=message)
                # A server that answers 503 has started nothing; a proxy's 502 and 504 say nothing about that.
                if answer.status_code in PASSING - {HTTPStatus.SERVICE_UNAVAILABLE}:
                    raise Uncertain(UNCERTAIN)
                started = checked(answer).json()
                return Run(UUID(started["run_id"]), conversation_id, UUID(started["message_id"]), self)
            except NOTHING_SENT as failure:
                await attempts.pause(lost_by(failure))
            except Lost as failure:
                await attempts.pause(failure)
            except httpx2.TransportError as failure:
                raise Uncertain(UNCERTAIN) from failure

    async def _newest_run(self, conversation_id: UUID) -> Run | None:
        shown = await self._ask("GET", f"api/conversations/{conversation_id}")
        replies = [message for message in shown["messages"] if message["run_id"]]
        if not replies:
            return None
        return Run(UUID(replies[-1]["run_id"]), conversation_id, UUID(replies[-1]["id"]), self)

    async def _ask(self, method: str, address: str, body: dict[str, str] | None = None) -> Any:
        """What can be asked again without harm."""
        attempts = Attempts(self.patience)
        while True:
            try:
                answer = checked(await self._http.request(method, address, json=body))
                return answer.json() if answer.content else None
            except Lost as failure:
                await attempts.pause(failure)
            except httpx2.TransportError as failure:
                await attempts.pause(lost_by(failure))

    async def _stream(self, run_id: UUID, cursor: Cursor) -> AsyncGenerator[Event, None]:
        """As far as one connection brings it. Ends without Lost only where the run has ended and all of it is known."""
        opened = asyncio.get_running_loop().time()
        silence = httpx2.Timeout(self._timeout, read=MISSED_HEARTBEATS * self.heartbeat)
        stream = self._http.sse(
            f"api/runs/{run_id}/events", params={"after": cursor.at}, timeout=silence, max_event_size=LARGEST_EVENT
        )
        try:
            async with stream as source:
                if not source.response.is_success:
                    await source.response.aread()
                if checked(source.response).status_code == HTTPStatus.NO_CONTENT:
                    return
                async for message in source:
                    event = cursor.take(message.data, number_in(message.id))
                    if event is not None:
                        yield event
            lost = Lost("The stream ended too early.")
        except httpx2.TimeoutException as failure:
            raise lost_by(failure) from failure
        except httpx2.TransportError as failure:
            lost = lost_by(failure)
        if asyncio.get_running_loop().time() - opened > self.heartbeat:
            raise Stood(lost.reason)
        raise lost


class Stood(Lost):
    """A connection that was good for longer than a heartbeat, though the run may have had nothing to tell."""


def given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}


def checked(answer: httpx2.Response) -> httpx2.Response:
    if not answer.is_success:
        reject(answer.status_code, answer.content, answer.headers)
    return answer


def lost_by(failure: httpx2.TransportError) -> Lost:
    match failure:
        case httpx2.ConnectError():
            # Such as a name that does not resolve, or a certificate that is not trusted.
            detail = str(failure).removeprefix("All connection attempts failed")
            return Lost(f"Nothing answers there ({detail})." if detail else "Nothing answers there.")
        case httpx2.TimeoutException():
            return Lost("It does not answer in time.")
        case _:
            return Lost("The connection was lost.")
