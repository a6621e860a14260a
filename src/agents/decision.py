"""What an agent decides, as data: the model answers with one JSON object, which is checked before it is used."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Generic, TypeVar

import msgspec

from .agent import Agent, Lane, Telling, again
from .calls import printable
from .events import UNREADABLE, AgentStart, Event, Interaction
from .exchange import Finished, Message, Model, Notice, Reasoning, Text
from .inbox import Hearing, Inbox

T = TypeVar("T", bound=msgspec.Struct)

ATTEMPTS = 2  # the second one is told what was wrong with the first


class Unfit(ValueError):
    """A decision that has the right shape and still cannot be used; the sentence says why."""


class Decision(Generic[T]):
    """A turn that ends in a `shape`. `value` is None when the model could not be brought to give one.

    `told` puts the decision into Markdown for people, `check` raises Unfit.
    """

    def __init__(self, shape: type[T], told: Callable[[T], str], check: Callable[[T], None] = lambda _: None) -> None:
        self.shape = shape
        self.value: T | None = None
        self._told = told
        self._check = check

    async def by(
        self,
        agent: Agent,
        model: Model,
        messages: Sequence[Message],
        *,
        turn: int,
        task: str = "",
        lane: Lane = "support",
        parent: int | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The turn's events. Raises ModelError when the model fails."""
        if (past := agent.pasts.get(turn)) and past.complete:
            if past.complete.decision is not None:
                self.value = msgspec.convert(past.complete.decision, self.shape)
            for event in again(past):
                yield event
            return
        yield AgentStart(agent=agent.name, turn=turn, role=agent.role, task=task, lane=lane, parent=parent)
        telling = Telling(agent.name, turn)
        schema = msgspec.json.encode(msgspec.json.schema(self.shape)).decode()
        form = f"{agent.instructions}\n\nAnswer with one JSON object and nothing else. Its JSON schema:\n{schema}"
        prompt = [Message(role="system", content=form), *messages]
        for event in Hearing(agent.inbox or Inbox(), turn, agent.name, prompt).take():
            yield event
        written = ""
        for attempt in range(ATTEMPTS):
            written = ""
            async with aclosing((agent.model or model).stream(prompt)) as deltas:
                async for delta in deltas:
                    match delta:
                        case Text():
                            written += printable(delta.text)
                        case Reasoning() | Notice():
                            for event in telling.thinking(delta):
                                yield event
                        case Finished():
                            telling.finished(delta)
            for event in telling.thoughts():
                yield event
            try:
                self.value = self._read(written)
                break
            except (*UNREADABLE, ValueError) as refusal:
                reason = f"That cannot be used: {refusal}"
                yield Interaction(agent=agent.name, turn=turn, kind="thought", content=reason)
                if attempt + 1 < ATTEMPTS:
                    prompt.append(Message(role="assistant", content=written))
                    prompt.append(Message(role="user", content=f"{reason} Answer again, with the whole JSON object."))
        if self.value is None:
            yield telling.complete(written)
        else:
            yield telling.complete(self._told(self.value), decision=msgspec.to_builtins(self.value))

    def _read(self, text: str) -> T:
        value = msgspec.json.decode(object_in(text), type=self.shape)
        self._check(value)
        return value


def object_in(text: str) -> str:
    """The JSON object in a reply, which some models put into a fence or between words."""
    first, last = text.find("{"), text.rfind("}")
    if first < 0 or last < first:
        raise ValueError("there is no JSON object in it")
    return text[first : last + 1]
