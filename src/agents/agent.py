"""One agent and its turn: it asks the model, uses tools, and tells, event by event, what happens."""

import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from itertools import count
from typing import Any, Literal

from msgspec import Struct

from .calls import Calls, printable
from .consent import NOBODY, Consent
from .events import AgentChunk, AgentComplete, AgentStart, Event, Interaction, Usage
from .exchange import Finished, Message, Model, ModelError, Notice, Reasoning, Text, ToolCall
from .inbox import Hearing, Inbox
from .past import INTERRUPTED, NONE, Past, Pasts
from .tools import Answer, Tool

THOUGHT_LENGTH = 600  # characters after which a thought is told at the next line break, so that thinking can be watched
ROUNDS = 12  # of asking the model in one turn; in the last it is offered no tools, so that it has to answer

Lane = Literal["answer", "support"]


class Agent(Struct, frozen=True):
    """`model` is its own, or None for the one that its task comes with. `kits` names tools of the project.

    `pasts` is what the run's turns had done before it was interrupted, `inbox` what people add meanwhile,
    `consent` theirs to what its tools do outside the project.
    """

    name: str
    role: str
    instructions: str
    tools: Sequence[Tool] = ()
    model: Model | None = None
    kits: Sequence[str] = ()
    pasts: Pasts = NONE
    inbox: Inbox | None = None
    consent: Consent = NOBODY

    async def respond(
        self,
        model: Model,
        messages: Sequence[Message],
        *,
        turn: int = 1,
        task: str = "",
        lane: Lane = "answer",
        parent: int | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The turn's events, from `agent_start` to `agent_complete`. Raises ModelError when the model fails."""
        past = self.pasts.get(turn) or Past()
        if past.complete:
            for event in again(past):
                yield event
            return
        yield AgentStart(agent=self.name, turn=turn, role=self.role, task=task, lane=lane, parent=parent)
        told = Telling(self.name, turn)
        prompt = [Message(role="system", content=self.instructions), *messages]
        hearing = Hearing(self.inbox or Inbox(), turn, self.name, prompt)
        use = Calls(self.name, turn, self.tools, self.consent)
        for event in told.past(past):
            yield event
        answers: dict[str, Answer] = {}
        async with aclosing(use.waited_for(past.waiting, answers)) as events:
            async for event in events:
                yield event
        prompt += past.messages({call_id: answer.content for call_id, answer in answers.items()})
        ids = (f"{turn}.{number}" for number in count(1 + past.calls))
        for left in reversed(range(max(1, ROUNDS - len(past.rounds)))):
            tools = [tool.schema for tool in self.tools] if left else []
            for event in hearing.take():
                yield event
            calls: list[ToolCall] = []
            said: list[str] = []
            async with aclosing((self.model or model).stream(prompt, tools)) as deltas:
                async for delta in deltas:
                    match delta:
                        case Text():
                            said.append(printable(delta.text))
                            for event in told.text(said[-1], opens=len(said) == 1):
                                yield event
                        case ToolCall():
                            calls.append(delta)
                        case Reasoning() | Notice():
                            for event in told.thinking(delta):
                                yield event
                        case Finished():
                            told.finished(delta)
            for event in told.thoughts():
                yield event
            if not (calls and tools):
                if not (left and self.inbox and self.inbox.pending):
                    break
                prompt.append(Message(role="assistant", content="".join(said)))
                continue
            prompt.append(Message(role="assistant", content="".join(said), tool_calls=calls))
            known = {next(ids): call for call in calls}
            async with aclosing(use.made(known, answers)) as events:
                async for event in events:
                    yield event
            prompt += [
                Message(role="tool", content=answers[call_id].content, call_id=call.call_id)
                for call_id, call in known.items()
            ]
        yield told.complete()


def again(past: Past) -> Iterator[Event]:
    """A turn that had ended. Raises ModelError where it had failed, so that its team does what it did then."""
    yield from past.events
    if past.failure is not None:
        raise ModelError(past.failure, "interrupted")


class Telling:
    """What a turn has told so far: its text, its thoughts, its count of tokens."""

    def __init__(self, agent: str, turn: int) -> None:
        self._agent, self._turn = agent, turn
        self._began = time.monotonic()
        self._written: list[str] = []
        self._offset = 0
        self._thoughts = Thoughts(agent, turn)
        self._usage: Usage | None = None
        self._finish_reason = "stop"

    def past(self, past: Past) -> Iterator[Event]:
        """What an earlier attempt at this turn came to, and the end of what was interrupted in it."""
        yield from past.changes
        if past.text:
            yield from self.text(past.text, opens=False)
        for call in past.unanswered:
            yield Interaction(
                agent=self._agent,
                turn=self._turn,
                kind="tool_response",
                content=INTERRUPTED,
                tool_name=call.tool_name,
                call_id=call.call_id,
            )

    def text(self, text: str, opens: bool) -> Iterator[Event]:
        """`opens`: the first of a round, which begins a paragraph of its own."""
        yield from self.thoughts()
        if opens and self._written:
            text = f"\n\n{text}"
        yield AgentChunk(agent=self._agent, turn=self._turn, text=text, offset=self._offset)
        self._written.append(text)
        self._offset += len(text)

    def thinking(self, delta: Reasoning | Notice) -> Iterator[Event]:
        if isinstance(delta, Notice):
            yield Interaction(agent=self._agent, turn=self._turn, kind="thought", content=delta.content)
            return
        self._thoughts.add(printable(delta.text))
        if self._thoughts.ripe:
            yield from self.thoughts()

    def thoughts(self) -> Iterator[Event]:
        if thought := self._thoughts.take():
            yield thought

    def finished(self, delta: Finished) -> None:
        self._finish_reason = delta.finish_reason
        if delta.usage is not None:
            self._usage = delta.usage if self._usage is None else self._usage + delta.usage

    def complete(self, content: str | None = None, decision: dict[str, Any] | None = None) -> AgentComplete:
        """`content`: instead of what was written."""
        return AgentComplete(
            agent=self._agent,
            turn=self._turn,
            content="".join(self._written) if content is None else content,
            duration_ms=round((time.monotonic() - self._began) * 1000),
            usage=self._usage,
            finish_reason=self._finish_reason,
            decision=decision,
        )


class Thoughts:
    """Gathers a model's reasoning into thoughts that are worth an event each."""

    def __init__(self, agent: str, turn: int) -> None:
        self._agent, self._turn = agent, turn
        self._pending = ""

    def add(self, text: str) -> None:
        self._pending += text

    @property
    def ripe(self) -> bool:
        return "\n\n" in self._pending.strip("\n") or (len(self._pending) > THOUGHT_LENGTH and "\n" in self._pending)

    def take(self) -> Interaction | None:
        content, self._pending = self._pending.strip("\n"), ""
        if not content.strip():
            return None
        return Interaction(agent=self._agent, turn=self._turn, kind="thought", content=content)
