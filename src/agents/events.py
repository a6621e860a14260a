"""The vocabulary in which a run is told: a closed union of frozen types.

An agent yields events without `run_id`, `seq` and `at`; the journal stamps them when it writes them down. JSON on every
wire is exactly the object that `encode` gives.
"""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What reading JSON raises, and not only of events: half characters and what is nested too deep among it."""
DEEPEST = 64  # levels of nesting in an event

NIL = UUID(int=0)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the model counts them."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens)


class Stamped(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every event carries. `seq` counts from 1 within a run, without a gap; `at` is UTC to the millisecond."""

    seq: int = 0
    run_id: UUID = NIL
    at: datetime = EPOCH
    agent: str | None = None


class Start(Stamped, frozen=True, tag="start"):
    """Always the first event of a run. `message_id` is the reply's."""

    conversation_id: UUID
    user_message_id: UUID
    message_id: UUID
    team: str
    model: str


class AgentStart(Stamped, frozen=True, tag="agent_start"):
    """`turn` counts the turns of all agents of the run from 1; `parent` is the turn that asked for this one.

    `attempt` is 2 and more after a crash: what this turn wrote before is void.
    """

    turn: int
    attempt: int = 1
    role: str = ""
    task: str = ""
    lane: Literal["answer", "support"] = "answer"
    parent: int | None = None


class AgentChunk(Stamped, frozen=True, tag="agent_chunk"):
    """`offset` is how many characters this turn had written before `text`."""

    turn: int
    text: str
    offset: int = 0


class AgentComplete(Stamped, frozen=True, tag="agent_complete"):
    """A turn's end, with all that it wrote. `decision` is what it decided, as data, where the turn was for that."""

    turn: int
    content: str
    duration_ms: int
    usage: Usage | None = None
    finish_reason: str | None = None
    decision: dict[str, Any] | None = None


class Interaction(Stamped, frozen=True, tag="interaction"):
    """Something an agent did beside writing. `call_id` joins a tool's response to its call.

    A `message` of no agent is what a person added while the run was at work; `message_id` is its id.
    """

    turn: int
    kind: Literal["thought", "tool_call", "tool_response", "message", "memory", "retrieval"]
    content: str = ""
    tool_name: str | None = None
    tool_arguments: dict[str, Any] | None = None
    call_id: str | None = None
    to_agent: str | None = None
    message_id: UUID | None = None


class Progress(Stamped, frozen=True, tag="progress"):
    """`fraction` is 0.0 to 1.0 and never falls within a run."""

    fraction: float
    step: str = ""
    message: str = ""
    details: str = ""
    metadata: dict[str, Any] = {}


APPROVAL = "approval"  # the step of a progress that tells of a call which asks a person, or what was said to it

Word = Literal["once", "run", "always", "decline"]
Decision = Literal["once", "run", "always", "decline", "expired"]
SAID: dict[Decision, str] = {
    "once": "Approved once",
    "run": "Approved for this reply",
    "always": "Approved always",
    "decline": "Declined",
    "expired": "Declined, as nobody answered in time",
}


class Asked(msgspec.Struct, frozen=True):
    """A call that waits for a person's word. `input` is what the tool will be given; `until` when that is declined."""

    call_id: str
    turn: int
    server: str
    tool: str
    input: dict[str, Any]
    until: datetime


class Decided(msgspec.Struct, frozen=True):
    """`reason` is what the person said to it; `expired`: nobody said anything in time."""

    call_id: str
    turn: int
    server: str
    tool: str
    decision: Decision
    reason: str = ""

    @property
    def said(self) -> str:
        return f"{SAID[self.decision]}: {self.reason}" if self.reason else SAID[self.decision]


def approval_in(progress: Progress) -> Asked | Decided | None:
    """What a progress tells of an approval. One that was imported may tell anything, and then it is none."""
    if progress.step != APPROVAL:
        return None
    kind: type[Asked | Decided] = Decided if "decision" in progress.metadata else Asked
    try:
        return msgspec.convert(progress.metadata, kind)
    except msgspec.ValidationError:
        return None


class CodeChange(Stamped, frozen=True, tag="code_change"):
    """A change of a project's file, as a unified diff. With a `revision_id` it can be taken back."""

    path: str
    change: Literal["created", "modified", "deleted"]
    diff: str
    revision_id: UUID | None = None


class Error(Stamped, frozen=True, tag="error"):
    """`message` is a sentence for a person that says what to do; `code` is for a program."""

    message: str
    code: str
    retryable: bool = False


class FinalMessage(msgspec.Struct, frozen=True):
    """The reply as it is saved."""

    id: UUID
    role: Literal["assistant"]
    content: str
    agent_name: str | None
    created_at: datetime


class Complete(Stamped, frozen=True, tag="complete"):
    """Always the last event of a run, exactly once."""

    status: Literal["complete", "failed", "cancelled"]
    message: FinalMessage
    code_changes: list[CodeChange] = []
    usage: Usage | None = None


Event = Start | AgentStart | AgentChunk | AgentComplete | Interaction | Progress | CodeChange | Error | Complete

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Event).decode
decode_many = msgspec.json.Decoder(list[Event]).decode


def is_deep(value: Any, levels: int = DEEPEST) -> bool:
    """Whether it is nested deeper than may be kept."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(is_deep(one, levels - 1) for one in inner)


def type_of(event: Event) -> str:
    """The event's name on the wire, as in `event:` of a Server-Sent Event."""
    tag = event.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
