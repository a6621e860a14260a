"""What was said in a conversation so far, as a model is given it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from uuid_utils.compat import uuid7

from ..agents.model import Message
from ..persistence.statements import Row
from .rows import message_row


class Known(NamedTuple):
    """A branch of a conversation. `instructions` is what a program said in the role of the system."""

    title: str
    team: str
    project_id: UUID
    last: UUID | None
    history: list[Message]
    instructions: str

    def after(self, rows: Sequence[Row], history: Sequence[Message]) -> "Known":
        """With messages that it did not have."""
        if not rows:
            return self
        said, instructions = split(history)
        return self._replace(last=rows[-1]["id"], history=[*self.history, *said], instructions=instructions)


def split(history: Sequence[Message]) -> tuple[list[Message], str]:
    """What was said, and what a program said in the role of the system."""
    said = [message for message in history if message.role != "system"]
    return said, "\n\n".join(message.content for message in history if message.role == "system")


def last_turn(history: Sequence[Message]) -> list[Message]:
    """What came after the last reply: instructions hold for the turn before which they stand."""
    ends = [number for number, message in enumerate(history, 1) if message.role == "assistant"]
    return list(history[ends[-1] if ends else 0 :])


def said_before(conversation_id: UUID, last: UUID | None, history: Sequence[Message], at: datetime) -> list[Row]:
    said, instructions = split(history)
    rows: list[Row] = []
    for message in [*said, *([Message(role="system", content=instructions)] if instructions else [])]:
        parent_id = rows[-1]["id"] if rows else last
        rows.append(message_row(uuid7(), conversation_id, message.role, message.content, at, parent_id=parent_id))
    return rows


def in_turns(messages: Sequence[Message]) -> list[Message]:
    """One message a turn, as many models insist: two questions become one, and of two replies the later counts."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1].role == message.role:
            before = turns.pop()
            if message.role == "user":
                message = Message(role="user", content=f"{before.content}\n\n{message.content}")
        turns.append(message)
    return turns
