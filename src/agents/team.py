"""What a team is to the rest of the house: a task in, events out."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from itertools import count
from typing import Protocol

from msgspec import Struct, field

from .events import Event, Progress
from .model import Message, Model


class Task(Struct, frozen=True):
    """What a team is asked: the conversation so far, the last message being the person's.

    `turns` numbers the turns of all its agents.
    """

    messages: Sequence[Message]
    model: Model
    turns: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def question(self) -> str:
        return self.messages[-1].content if self.messages else ""


class Team(Protocol):
    name: str
    title: str
    description: str

    def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """Works, and tells it event by event. `start`, `error` and `complete` are the runner's to tell."""
        ...


class Steps:
    """Honest progress: the share of the known pieces of work that are done."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._done = 0

    def begin(self, step: str, message: str, details: str = "", part: float = 0.0) -> Progress:
        """`part`: how much of this piece is done already, below 1."""
        return Progress(fraction=(self._done + part) / self.total, step=step, message=message, details=details)

    def end(self, step: str, message: str, details: str = "") -> Progress:
        self._done = min(self._done + 1, self.total)
        return self.begin(step, message, details)
