"""What is said over a WebSocket: a client's requests, the answers to them, and the codes with which it is closed.

A run's own events are not among them: they are sent as the journal keeps them.
"""

from enum import IntEnum
from typing import Annotated
from uuid import UUID

import msgspec

from ..agents.events import Word
from ..errors import Invalid, RiverrunError
from .problems import field_of

Id = Annotated[str, msgspec.Meta(max_length=200)]  # the client's own name for a request, which its answer carries
Cursor = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class CloseCode(IntEnum):
    INTERNAL = 1011
    RESTART = 1012
    NOT_UNDERSTOOD = 4400
    UNAUTHORISED = 4401
    FORBIDDEN = 4403
    SILENT = 4408
    TOO_LARGE = 4413
    TOO_MANY = 4429
    UNAVAILABLE = 4503


class Message(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower):
    pass


# From both


class Ping(Message, frozen=True, omit_defaults=True):
    id: Id | None = None


class Pong(Message, frozen=True):
    id: Id | None = None


# From a client


class Auth(Message, frozen=True):
    token: str


class Send(Message, frozen=True):
    """Without a conversation it begins a new one, in the default project if none is named."""

    id: Id
    content: str
    conversation_id: UUID | None = None
    team: str | None = None
    project_id: UUID | None = None
    follow: bool = True


class Follow(Message, frozen=True):
    id: Id
    run_id: UUID
    after: Cursor = 0


class Unfollow(Message, frozen=True):
    id: Id
    run_id: UUID


class Cancel(Message, frozen=True):
    id: Id
    run_id: UUID


class Approve(Message, frozen=True):
    id: Id
    run_id: UUID
    call_id: Annotated[str, msgspec.Meta(max_length=40)]
    decision: Word
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


Request = Auth | Send | Follow | Unfollow | Cancel | Approve | Ping | Pong


# From the server


class Connected(Message, frozen=True):
    """`heartbeat`: seconds of silence after which a ping is sent."""

    connection_id: UUID
    heartbeat: float


class Started(Message, frozen=True):
    id: Id
    run_id: UUID
    conversation_id: UUID
    user_message_id: UUID
    message_id: UUID


class Following(Message, frozen=True):
    id: Id
    run_id: UUID


class Unfollowed(Message, frozen=True):
    id: Id
    run_id: UUID


class Cancelling(Message, frozen=True):
    id: Id
    run_id: UUID


class Approved(Message, frozen=True):
    """What was decided is saved, whatever that was."""

    id: Id
    run_id: UUID
    call_id: str


class Refused(Message, frozen=True):
    """As a problem document of the HTTP API: `detail` is a sentence, `field` what is wrong, where one is."""

    id: Id | None
    status: int
    code: str
    detail: str
    field: str | None = None

    @classmethod
    def of(cls, error: RiverrunError, id: str | None) -> "Refused":
        return cls(id, error.status, error.code, error.message, error.field or None)


class Named(msgspec.Struct):
    id: Id | None = None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Request).decode
decode_name = msgspec.json.Decoder(Named).decode
UNREADABLE = (
    msgspec.MsgspecError,
    ValueError,
    RecursionError,
)  # ValueError: half a character; the last: nested too deep


def parse(text: str) -> Request | Refused:
    """A client's request, or why it is none, with its id if that can be read."""
    try:
        request: Request = decode(text)
        return request
    except UNREADABLE as error:
        sentence, _, place = str(error).partition(" - at `$")
        return Refused.of(
            Invalid(f"{sentence.rstrip('.')}.", field=field_of(sentence, place.strip("`.") or "data")), id_in(text)
        )


def id_in(text: str) -> str | None:
    try:
        return decode_name(text).id
    except UNREADABLE:
        return None
