"""What a page shows of a run: the fold of its events.

The live page, the reloaded page, the JSON surface and the runner's own bookkeeping are all this one fold.
A run whose chunks are left out folds to the same view, because `agent_complete` carries the turn's whole text.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, NamedTuple
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
from ..agents.planning import STEPS

CHARACTERS_A_TOKEN = 4  # roughly
SHORTEST_RATED = 0.1  # seconds of work of which a rate is told

Status = Literal["running", "complete", "failed", "cancelled"]
Standing = Literal["done", "current", "ended", "to come"]


@dataclass(slots=True)
class Turn:
    """One agent's turn. `texts` are its pieces in order; joining is left to whoever needs the whole."""

    number: int
    agent: str
    role: str
    task: str
    lane: Literal["answer", "support"]
    parent: int | None
    started_at: datetime
    attempt: int = 1
    texts: list[str] = field(default_factory=list)
    interactions: list[Interaction] = field(default_factory=list)
    calls: dict[str, Interaction] = field(default_factory=dict)  # those that wait for their answer, by call_id
    answers: dict[int, Interaction] = field(default_factory=dict)  # by the seq of the call
    asked: dict[str, Asked] = field(default_factory=dict)  # calls that wait for a person, by call_id
    decided: dict[int, Decided] = field(default_factory=dict)  # what was said to them, by the seq of the call
    writing: bool = False
    open: bool = True
    finish_reason: str | None = None
    duration_ms: int | None = None
    usage: Usage | None = None

    @property
    def text(self) -> str:
        if len(self.texts) > 1:
            self.texts = ["".join(self.texts)]
        return self.texts[0] if self.texts else ""

    @property
    def tokens(self) -> int:
        if self.usage is None:
            return len(self.text) // CHARACTERS_A_TOKEN
        return self.usage.input_tokens + self.usage.output_tokens

    def copy(self) -> "Turn":
        return replace(
            self,
            texts=[self.text] if self.texts else [],
            interactions=[*self.interactions],
            calls={**self.calls},
            answers={**self.answers},
            asked={**self.asked},
            decided={**self.decided},
        )

    def write(self, text: str) -> None:
        self.texts.append(text)
        self.writing = True

    def do(self, step: Interaction) -> None:
        self.interactions.append(step)
        match step.kind:
            case "tool_call" if step.call_id:
                self.calls[step.call_id] = step
            case "tool_response" if call := self.calls.pop(step.call_id or "", None):
                self.answers[call.seq] = step
                self.asked.pop(step.call_id or "", None)
        if step.kind in ("thought", "tool_call", "tool_response"):
            self.writing = False

    def ask(self, approval: Asked | Decided) -> None:
        call = self.calls.get(approval.call_id)
        if call is None:
            return
        if isinstance(approval, Asked):
            self.asked[approval.call_id] = approval
        elif self.asked.pop(approval.call_id, None):
            self.decided[call.seq] = approval

    @property
    def steps(self) -> list[Interaction]:
        """What it did beside writing, without the answers that belong to a call."""
        joined = {answer.seq for answer in self.answers.values()}
        return [step for step in self.interactions if step.seq not in joined]

    def call_of(self, step: Interaction) -> Interaction | None:
        """The call that this answers, if it is an answer."""
        answered = next((call for call, answer in self.answers.items() if answer.seq == step.seq), None)
        return next((call for call in self.interactions if call.seq == answered), None)

    @property
    def doing(self) -> str:
        """The state in words; of several tools that it waits for, the first."""
        if self.state == "asking":
            return "waiting for you"
        if self.state != "calling":
            return self.state
        return f"calling {next(iter(self.calls.values())).tool_name or 'a tool'}"

    @property
    def state(self) -> Literal["thinking", "asking", "calling", "writing", "done", "stopped", "failed"]:
        if self.open and self.asked:
            return "asking"
        if self.open:
            return "calling" if self.calls else "writing" if self.writing else "thinking"
        match self.finish_reason:
            case "cancelled":
                return "stopped"
            case "error":
                return "failed"
            case _:
                return "done"


class Asking(NamedTuple):
    """A call that waits for a person's word."""

    call: Interaction
    asked: Asked


class Stage(NamedTuple):
    """`ended`: where the run failed or was stopped."""

    name: str
    standing: Standing


@dataclass(slots=True)
class RunView:
    run_id: UUID
    message_id: UUID
    seq: int = 0
    status: Status = "running"
    team: str = ""
    model: str = ""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    turns: dict[int, Turn] = field(default_factory=dict)
    progress: Progress | None = None
    stage: str | None = None  # of STEPS, the latest that was told
    activity: list[Event] = field(default_factory=list)  # all that was told but the text
    code_changes: list[CodeChange] = field(default_factory=list)
    taken_back: frozenset[UUID] = frozenset()  # revisions, as whoever shows it finds them
    replayed: bool = False  # whether it is shown as it was, with nothing that could be done to it
    error: Error | None = None
    usage: Usage | None = None

    def apply(self, event: Event) -> None:
        self.seq = event.seq
        if not isinstance(event, AgentChunk):
            self.activity.append(event)
        match event:
            case Start():
                self.team, self.model, self.started_at = event.team, event.model, event.at
            case AgentStart():
                self.turns[event.turn] = self._begun(event)
            case AgentChunk():
                self.turns[event.turn].write(event.text)
            case AgentComplete():
                turn = self.turns[event.turn]
                turn.open = turn.writing = False
                turn.asked = {}
                turn.texts = [event.content] if event.content else []
                turn.finish_reason, turn.duration_ms, turn.usage = event.finish_reason, event.duration_ms, event.usage
            case Interaction():
                self.turns[event.turn].do(event)
            case Progress():
                self.progress = event
                if (approval := approval_in(event)) and (asking := self.turns.get(approval.turn)):
                    asking.ask(approval)
                # Other teams have steps of the same names, but none that begins like this.
                if event.step == STEPS[0] or (self.stage and event.step in STEPS):
                    self.stage = event.step
            case CodeChange():
                self.code_changes.append(event)
            case Error():
                self.error = event
            case Complete():
                self.status, self.ended_at, self.usage = event.status, event.at, event.usage

    def copy(self) -> "RunView":
        """The same, to go on with apart from this one."""
        return replace(
            self,
            turns={number: turn.copy() for number, turn in self.turns.items()},
            activity=[*self.activity],
            code_changes=[*self.code_changes],
        )

    def _begun(self, event: AgentStart) -> Turn:
        """A further attempt makes void what the turn wrote before, and not what it did."""
        turn = Turn(
            number=event.turn,
            agent=event.agent or "",
            role=event.role,
            task=event.task,
            lane=event.lane,
            parent=event.parent,
            started_at=event.at,
            attempt=event.attempt,
        )
        if before := self.turns.get(event.turn):
            turn.interactions, turn.calls, turn.answers = before.interactions, before.calls, before.answers
            turn.asked, turn.decided = before.asked, before.decided
        return turn

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def asking(self) -> list[Asking]:
        """What waits for a person's word, in the order of the calls."""
        return [
            Asking(turn.calls[asked.call_id], asked) for turn in self.turns.values() for asked in turn.asked.values()
        ]

    @property
    def is_held(self) -> bool:
        """Whether nothing goes on but waiting for a person."""
        states = [turn.state for turn in self.turns.values() if turn.open]
        return bool(states) and all(state == "asking" for state in states)

    @property
    def stepper(self) -> list[Stage]:
        """The steps that the planning team always takes, as far as this run has come; empty for other teams."""
        if self.stage is None:
            return []
        at = STEPS.index(self.stage)
        here: Standing = "current"
        if not self.running:
            here = "done" if self.status == "complete" else "ended"
        return [Stage(name, "done" if n < at else here if n == at else "to come") for n, name in enumerate(STEPS)]

    @property
    def heard(self) -> list[Interaction]:
        """What people added while it was at work and agents took in, in that order."""
        told = (step for turn in self.turns.values() for step in turn.interactions)
        return sorted((step for step in told if step.message_id), key=lambda step: step.seq)

    @property
    def active(self) -> Turn | None:
        """The turn at work that started last."""
        return next((turn for turn in reversed(self.turns.values()) if turn.open), None)

    @property
    def answer(self) -> Turn | None:
        """The turn whose text is the reply."""
        return next((turn for turn in reversed(self.turns.values()) if turn.lane == "answer"), None)

    @property
    def content(self) -> str:
        return self.answer.text if self.answer else ""

    @property
    def total_usage(self) -> Usage | None:
        usages = [turn.usage for turn in self.turns.values() if turn.usage]
        return sum(usages[1:], usages[0]) if usages else None

    @property
    def tokens(self) -> int:
        """All that were used. Where the model's server tells nothing, four characters of what was written are one."""
        return sum(turn.tokens for turn in self.turns.values())

    @property
    def duration(self) -> float | None:
        """Seconds from start to end, once it has ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def tokens_per_second(self) -> float | None:
        """As the model counts tokens, over the time that agents worked; None where that is too short to mean much."""
        worked = sum(turn.duration_ms or 0 for turn in self.turns.values()) / 1000
        if not self.usage or not self.usage.output_tokens or worked < SHORTEST_RATED:
            return None
        return self.usage.output_tokens / worked


def closing(view: RunView, at: datetime, finish_reason: str) -> list[Event]:
    """Ends the turns that are still open, the last one first, before the run itself ends."""
    return [
        AgentComplete(
            agent=turn.agent,
            turn=turn.number,
            content=turn.text,
            duration_ms=round((at - turn.started_at).total_seconds() * 1000),
            finish_reason=finish_reason,
        )
        for turn in reversed(view.turns.values())
        if turn.open
    ]


def fold(run_id: UUID, message_id: UUID, events: Iterable[Event]) -> RunView:
    view = RunView(run_id, message_id)
    for event in events:
        view.apply(event)
    return view
