"""What a team is to the rest of the house: a task in, events out."""

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from msgspec import Struct

from .events import Event
from .model import Message, Model


class Task(Struct, frozen=True):
    """What a team is asked: the conversation so far, the last message being the person's."""

    messages: Sequence[Message]
    model: Model


class Team(Protocol):
    name: str
    title: str
    description: str

    def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """Works, and tells it event by event. `start`, `error` and `complete` are the runner's to tell."""
        ...
