"""One agent and its turn: it asks the model and tells, event by event, what happens."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from msgspec import Struct

from .events import AgentChunk, AgentComplete, AgentStart, Event, Interaction
from .model import Finished, Message, Model, Notice, Reasoning, Text, ToolCall

THOUGHT_LENGTH = 600  # characters after which a thought is told at the next line break, so that thinking can be watched


class Agent(Struct, frozen=True):
    name: str
    role: str
    instructions: str

    async def respond(
        self, model: Model, messages: Sequence[Message], *, turn: int = 1, task: str = ""
    ) -> AsyncGenerator[Event, None]:
        """The turn's events, from `agent_start` to `agent_complete`. Raises ModelError when the model fails."""
        began = time.monotonic()
        yield AgentStart(agent=self.name, turn=turn, role=self.role, task=task)
        written: list[str] = []
        offset = 0
        thoughts = Thoughts(self.name, turn)
        finished = Finished(finish_reason="stop", usage=None)
        prompt = [Message(role="system", content=self.instructions), *messages]
        async with aclosing(model.stream(prompt)) as deltas:
            async for delta in deltas:
                match delta:
                    case Text():
                        if thought := thoughts.take():
                            yield thought
                        text = printable(delta.text)
                        yield AgentChunk(agent=self.name, turn=turn, text=text, offset=offset)
                        written.append(text)
                        offset += len(text)
                    case Reasoning():
                        thoughts.add(printable(delta.text))
                        if thoughts.ripe and (thought := thoughts.take()):
                            yield thought
                    case Notice():
                        yield Interaction(agent=self.name, turn=turn, kind="thought", content=delta.content)
                    case ToolCall():
                        pass  # no tools are offered yet, so a call here is the model's invention
                    case Finished():
                        finished = delta
        if thought := thoughts.take():
            yield thought
        yield AgentComplete(
            agent=self.name,
            turn=turn,
            content="".join(written),
            duration_ms=round((time.monotonic() - began) * 1000),
            usage=finished.usage,
            finish_reason=finished.finish_reason,
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


def printable(text: str) -> str:
    """Without what no database and no page can hold: NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
