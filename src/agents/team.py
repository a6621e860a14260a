"""What a team is to the rest of the house: a task in, events out."""

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from itertools import count
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from .agent import Agent
from .consent import NOBODY, Consent
from .context import Context
from .events import AgentChunk, Event, Progress
from .exchange import Message, Model
from .inbox import Inbox
from .kits import kit
from .past import NONE, Pasts


class Task(Struct, frozen=True):
    """What a team is asked: the conversation so far, the last message being the person's.

    `turns` numbers the turns of all its agents; `context` is what the project gives them. A run that goes on after an
    interruption begins anew, with `pasts`: turns that had ended are told again as they were. So a team has to take its
    turns' numbers in the same order each time.
    """

    messages: Sequence[Message]
    model: Model
    turns: Iterator[int] = field(default_factory=lambda: count(1))
    context: Context = Context()
    pasts: Pasts = NONE
    inbox: Inbox | None = None
    consent: Consent = NOBODY

    @property
    def question(self) -> str:
        return self.messages[-1].content if self.messages else ""

    def brief(self, agent: Agent, *kits: str) -> Agent:
        """The agent as it works in this project: it knows what holds there, and has its own kits and these."""
        known = [agent.instructions]
        if self.context.instructions.strip():
            known.append(f"What holds for all work in this project:\n{self.context.instructions.strip()}")
        if self.context.memories:
            memories = "\n".join(f"- {memory}" for memory in self.context.memories)
            known.append(f"What is known from earlier work in this project:\n{memories}")
        tools = [*agent.tools, *kit(self.context, agent.name, {*agent.kits, *kits})]
        given = {"tools": tools, "pasts": self.pasts, "inbox": self.inbox, "consent": self.consent}
        return replace(agent, instructions="\n\n".join(known), **given)


class Team(Protocol):
    name: str
    title: str
    description: str

    def run(self, task: Task) -> AsyncGenerator[Event, None]:
        """Works, and tells it event by event. `start`, `error` and `complete` are the runner's to tell."""
        ...


async def answering(
    events: AsyncGenerator[Event, None], writing: Callable[[], Progress]
) -> AsyncGenerator[Event, None]:
    """The turn of who answers, with the progress that is told when its text begins."""
    begun = False
    async with aclosing(events):
        async for event in events:
            if not begun and isinstance(event, AgentChunk):
                begun = True
                yield writing()
            yield event


def counted(things: Sequence[object], one: str, many: str = "") -> str:
    return f"{len(things)} {one if len(things) == 1 else many or one + 's'}"


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

    def finish_after_this(self) -> None:
        """Fewer pieces were needed than there might have been: one is left."""
        self.total = self._done + 1
