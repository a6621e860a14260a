"""A run that is at work in this process."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from ..agents.events import Error, Event
from ..agents.inbox import Inbox
from .view import RunView, Status


class Started(NamedTuple):
    run_id: UUID
    conversation_id: UUID
    user_message_id: UUID
    message_id: UUID
    title: str


Reason = Error | Literal["cancelled", "suspended"]


class Work:
    """A run under way: its task, and whether it was told to end.

    `recorded` is what was told of it before an interruption, `follows` the message that its reply stands after.
    """

    def __init__(
        self,
        started: Started,
        project_id: UUID,
        created_at: datetime,
        instructions: str = "",
        recorded: Sequence[Event] = (),
    ) -> None:
        self.started = started
        self.project_id = project_id
        self.created_at = created_at
        self.instructions = instructions
        self.recorded = list(recorded)
        self.follows = started.user_message_id
        self.view = RunView(started.run_id, started.message_id)
        for event in recorded:
            self.view.apply(event)
        self.inbox = Inbox()
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.is_added_to = bool(recorded)  # something may wait for its end
        self.stop: Reason | Status | None = None

    def end(self, reason: Reason) -> None:
        """The first reason counts. A run that is already writing its last events is let be."""
        if self.stop is not None:
            return
        self.stop = reason
        if self.task is not None and self.begun:  # a task that has not begun would vanish without a word
            self.task.cancel()
