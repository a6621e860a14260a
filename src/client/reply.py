"""A reply as it grows: the fold of a run's events."""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from ..agents.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Asked,
    CodeChange,
    Complete,
    Decided,
    Error,
    Event,
    Interaction,
    Progress,
    Start,
    Usage,
    approval_in,
)


@dataclass
class Turn:
    """One agent's turn. `calls` are the names of the tools that it waits for, by `call_id`."""

    number: int
    agent: str = ""
    role: str = ""
    task: str = ""
    lane: Literal["answer", "support"] = "answer"
    attempt: int = 1
    text: str = ""
    calls: dict[str, str] = field(default_factory=dict)
    open: bool = True
    finish_reason: str | None = None


@dataclass
class Reply:
    """`status` is `running` until the end. `usage` is told at the end, too.

    `asked` are the calls that wait for a person's word, by `call_id`.
    """

    run_id: UUID
    conversation_id: UUID
    message_id: UUID
    status: Literal["running", "complete", "failed", "cancelled"] = "running"
    team: str = ""
    model: str = ""
    turns: dict[int, Turn] = field(default_factory=dict)
    progress: Progress | None = None
    asked: dict[str, Asked] = field(default_factory=dict)
    code_changes: list[CodeChange] = field(default_factory=list)
    error: Error | None = None
    usage: Usage | None = None
    _final: str | None = None

    @property
    def text(self) -> str:
        """What the answering agent has written so far."""
        if self._final is not None:
            return self._final
        return self.answer.text if self.answer else ""

    @property
    def answer(self) -> Turn | None:
        """The turn whose text is the reply; a later one may take its place."""
        return next((turn for turn in reversed(self.turns.values()) if turn.lane == "answer"), None)

    @property
    def active(self) -> list[Turn]:
        """Who is at work, in the order of their turns."""
        return [turn for turn in self.turns.values() if turn.open]

    def __str__(self) -> str:
        return self.text

    def apply(self, event: Event) -> None:
        """Takes in the next event. They need not begin with the first one."""
        match event:
            case Start():
                self.team, self.model = event.team, event.model
            case AgentStart():
                # A turn that begins again after a crash makes what it wrote before void.
                self.turns[event.turn] = Turn(
                    event.turn, event.agent or "", event.role, event.task, event.lane, event.attempt
                )
            case AgentChunk():
                turn = self._turn(event)
                turn.text = turn.text[: event.offset] + event.text
            case AgentComplete():
                turn = self._turn(event)
                turn.text, turn.open, turn.finish_reason = event.content, False, event.finish_reason
                turn.calls.clear()
                self.asked = {call_id: asked for call_id, asked in self.asked.items() if asked.turn != event.turn}
            case Interaction(kind="tool_call"):
                self._turn(event).calls[event.call_id or ""] = event.tool_name or "a tool"
            case Interaction(kind="tool_response"):
                self._turn(event).calls.pop(event.call_id or "", None)
                self.asked.pop(event.call_id or "", None)
            case Progress():
                self.progress = event
                match approval_in(event):
                    case Asked() as asked:
                        self.asked[asked.call_id] = asked
                    case Decided(call_id=call_id):
                        self.asked.pop(call_id, None)
            case CodeChange():
                self.code_changes.append(event)
            case Error():
                self.error = event
            case Complete():
                self.status, self.usage, self._final = event.status, event.usage, event.message.content

    def _turn(self, event: AgentChunk | AgentComplete | Interaction) -> Turn:
        return self.turns.setdefault(event.turn, Turn(event.turn, event.agent or ""))
