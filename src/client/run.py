"""A run that was started, whichever way it is followed."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from ..agents.events import Event, Word
from .errors import ClientError, RunFailed
from .reply import Reply


class Way(Protocol):
    """To the server: over Server-Sent Events or a WebSocket."""

    def follow(self, run_id: UUID, after: int = 0) -> AsyncGenerator[Event, None]: ...

    async def cancel(self, run_id: UUID) -> None: ...

    async def approve(self, run_id: UUID, call_id: str, decision: Word = "once", reason: str = "") -> None: ...


@dataclass(frozen=True)
class Run:
    """`message_id` is that of the reply. The run goes on whether it is followed or not."""

    id: UUID
    conversation_id: UUID
    message_id: UUID
    way: Way = field(repr=False, compare=False)

    def events(self, after: int = 0) -> AsyncGenerator[Event, None]:
        """The run's events after a cursor, to its end: each once, in order, whatever happens to connections."""
        return self.way.follow(self.id, after)

    async def reply(self) -> Reply:
        """Waits for the end. Raises RunFailed, which carries what was written; a run that was stopped has a reply."""
        reply = self.begin()
        async with aclosing(self.events()) as events:
            async for event in events:
                reply.apply(event)
        if reply.status == "failed":
            raise RunFailed(reply)
        if reply.status == "running":
            raise ClientError("The run has ended in a way that this client does not know.")
        return reply

    def begin(self) -> Reply:
        """An empty reply, to which its events can be applied."""
        return Reply(self.id, self.conversation_id, self.message_id)

    async def cancel(self) -> None:
        """Stops it; its end follows as events. Stopping a run that has ended changes nothing."""
        await self.way.cancel(self.id)

    async def approve(self, call_id: str, decision: Word = "once", reason: str = "") -> None:
        """Says whether a call that asks may be made. Raises Refused where something else was said before."""
        await self.way.approve(self.id, call_id, decision, reason)
