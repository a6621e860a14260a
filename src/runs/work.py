"""A run that is at work in this process."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import Literal, NamedTuple
from uuid import UUID

from ..agents.events import AgentChunk, Error, Event
from ..agents.inbox import Inbox
from .consent import RunConsent
from .view import RunView, Status


class Started(NamedTuple):
    run_id: UUID
    conversation_id: UUID
    user_message_id: UUID
    message_id: UUID
    title: str


Reason = Error | Literal["cancelled", "suspended"]


class Work:
    """A run under way: its task, and whether it was told to end. `consent` is what people allow its agents.

    `recorded` is what was told of it before an interruption, `follows` the message that its reply stands after.
    """

    def __init__(
        self,
        started: Started,
        project_id: UUID,
        account_id: UUID,
        created_at: datetime,
        consent: RunConsent,
        instructions: str = "",
        recorded: Sequence[Event] = (),
    ) -> None:
        self.started = started
        self.project_id = project_id
        self.account_id = account_id
        self.created_at = created_at
        self.consent = consent
        self.instructions = instructions
        self.recorded = list(recorded)
        self.follows = started.user_message_id
        self.view = RunView(started.run_id, started.message_id)
        for event in recorded:
            self.view.apply(event)
            self.consent.note(event)
        self.inbox = Inbox()
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.is_added_to = bool(recorded)  # something may wait for its end
        self.stop: Reason | Status | None = None
        self.alarm: asyncio.TimerHandle | None = None
        self._begun_at = monotonic()
        self._waited = 0.0  # seconds
        self._waits_since: float | None = None

    def apply(self, event: Event) -> None:
        self.view.apply(event)
        if isinstance(event, AgentChunk):  # these are many, and nobody waits for a person meanwhile
            return
        if not self.view.is_held:
            self._waited = self.waited
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = monotonic()

    @property
    def waited(self) -> float:
        """Seconds in which nothing went on but waiting for a person."""
        return self._waited + (monotonic() - self._waits_since if self._waits_since else 0.0)

    @property
    def worked(self) -> float:
        """Seconds for which this process has been at work on it."""
        return monotonic() - self._begun_at - self.waited

    def hush(self, _: object = None) -> None:
        if self.alarm is not None:
            self.alarm.cancel()

    def end(self, reason: Reason) -> None:
        """The first reason counts. A run that is already writing its last events is let be."""
        if self.stop is not None:
            return
        self.stop = reason
        if self.task is not None and self.begun:  # a task that has not begun would vanish without a word
            self.task.cancel()
