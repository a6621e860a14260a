"""What a turn had done before its run was interrupted, put together from the run's own events.

A turn that had ended is told again as it was recorded, so that its team goes on from there. One that had not ended goes
on after the last tool that answered: the model is told what it said and what came of it, and never has a tool that ran
called for it again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from .events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Asked,
    CodeChange,
    Decided,
    Event,
    Interaction,
    Progress,
    approval_in,
)
from .exchange import Message, ToolCall
from .inbox import add

INTERRUPTED = (
    "This call was interrupted: the server was restarted while the tool was at work, so what it should do may or may "
    "not have been done. Look before you call it again."
)
LEFT_OUT = "Left out: "  # how a supporting agent's failure is told


class Round(Struct):
    """One answer of the model that is not its last: what people had added before, its text, calls and their answers."""

    heard: list[str] = field(default_factory=list)
    text: str = ""
    calls: list[Interaction] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)  # by call_id


class Waiting(NamedTuple):
    """A call that a person had been asked about, and had not decided. `told` is what it was told by."""

    call: Interaction
    asked: Asked
    told: Progress


class Past:
    """One turn's events, and what they come to. Those of them that the runner sees again it knows by their `seq`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.complete: AgentComplete | None = None
        self.rounds: list[Round] = []
        self._open = Round()
        self._asked: dict[str, tuple[Asked, Progress]] = {}  # and not decided, by call_id
        self._told_again = 0  # characters at the beginning of this attempt that an earlier one had written

    def add(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case AgentStart():
                self._begin_again()
            case AgentChunk():
                self._write(event.text[max(0, self._told_again - event.offset) :])
            case Interaction(kind="tool_call"):
                if self._open.answers:
                    self._close()
                self._open.calls.append(event)
            case Interaction(kind="tool_response"):
                self._round_of(event.call_id).answers[event.call_id or ""] = event.content
            case Interaction(kind="message", agent=None):
                if self._open.calls or self._open.text:
                    self._close()
                self._open.heard.append(event.content)
            case AgentComplete():
                self.complete = event

    def ask(self, told: Progress, approval: Asked | Decided) -> None:
        if isinstance(approval, Asked):
            self._asked[approval.call_id] = approval, told
        else:
            self._asked.pop(approval.call_id, None)

    def _round_of(self, call_id: str | None) -> Round:
        """The one in which a call was made: its answer may have come after an interruption."""
        rounds = [*self.rounds, self._open]
        return next((done for done in rounds if any(call.call_id == call_id for call in done.calls)), self._open)

    def _begin_again(self) -> None:
        """What the model was still writing is void."""
        if self._open.calls:
            self._close()
        self._open.text = ""
        self._told_again = len(self.text)

    def _write(self, text: str) -> None:
        if text and self._open.calls:
            self._close()
        self._open.text += text

    def _close(self) -> None:
        self.rounds.append(self._open)
        self._open = Round()

    def settle(self) -> "Past":
        """After the last event."""
        self._begin_again()
        return self

    @property
    def text(self) -> str:
        """What it had written in its rounds."""
        return "".join(done.text for done in self.rounds)

    @property
    def changes(self) -> list[CodeChange]:
        return [event for event in self.events if isinstance(event, CodeChange)]

    @property
    def calls(self) -> int:
        return sum(len(done.calls) for done in self.rounds)

    @property
    def unanswered(self) -> list[Interaction]:
        """The calls that were interrupted. One that waits for a person is none of them: nothing was done."""
        return [call for call in self._left if call.call_id not in self._asked]

    @property
    def waiting(self) -> list[Waiting]:
        return [Waiting(call, *self._asked[call.call_id]) for call in self._left if call.call_id in self._asked]

    @property
    def _left(self) -> list[Interaction]:
        return [call for done in self.rounds for call in done.calls if call.call_id not in done.answers]

    @property
    def failure(self) -> str | None:
        """Why it was left out, if it was."""
        if self.complete is None or self.complete.finish_reason != "error":
            return None
        told = [event.content for event in self.events if isinstance(event, Interaction)]
        return next((said.removeprefix(LEFT_OUT) for said in reversed(told) if said.startswith(LEFT_OUT)), "It failed.")

    def messages(self, answers: Mapping[str, str]) -> list[Message]:
        """What the model is told of it. `answers` are those to calls that had been waiting."""
        told: list[Message] = []
        for done in [*self.rounds, self._open]:
            for said in done.heard:
                add(told, said)
            calls = [ToolCall(call.call_id or "", call.tool_name or "", arguments(call)) for call in done.calls]
            if calls or done.text:
                told.append(Message(role="assistant", content=done.text.strip("\n"), tool_calls=calls))
            known = {**done.answers, **answers}
            told += [
                Message(role="tool", content=known.get(call.call_id, INTERRUPTED), call_id=call.call_id)
                for call in calls
            ]
        return told


def arguments(call: Interaction) -> str:
    return call.content if call.tool_arguments is None else json.dumps(call.tool_arguments)


def pasts_of(events: Iterable[Event]) -> Mapping[int, Past]:
    """By turn. A change of a file belongs to the turn in which its agent is at work."""
    pasts: dict[int, Past] = {}
    at_work: dict[str | None, int] = {}
    for event in events:
        match event:
            case AgentStart() | AgentChunk() | AgentComplete() | Interaction():
                pasts.setdefault(event.turn, Past()).add(event)
                if isinstance(event, AgentStart):
                    at_work[event.agent] = event.turn
            case CodeChange() if event.agent in at_work:
                pasts[at_work[event.agent]].add(event)
            case Progress() if (approval := approval_in(event)) and approval.turn in pasts:
                pasts[approval.turn].ask(event, approval)
    return {turn: past.settle() for turn, past in pasts.items()}


Pasts = Mapping[int, Past]
NONE: Pasts = {}


def heard_in(pasts: Pasts) -> Sequence[Interaction]:
    """What people had added to the run, in the order in which it was taken in."""
    told = [
        event
        for past in pasts.values()
        for event in past.events
        if isinstance(event, Interaction) and event.kind == "message" and event.agent is None
    ]
    return sorted(told, key=lambda event: event.seq)
