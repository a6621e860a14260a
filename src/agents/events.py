"""The vocabulary in which a run is told: a closed union of frozen types.

An agent yields events without `run_id`, `seq` and `at`; the journal stamps them when it writes them down. JSON on every
wire is exactly the object that `encode` gives.
"""

from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

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


def type_of(event: Event) -> str:
    """The event's name on the wire, as in `event:` of a Server-Sent Event."""
    tag = event.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
