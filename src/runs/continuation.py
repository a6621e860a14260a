"""Where somebody goes on who brings the whole conversation with every message, as clients of other protocols do."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from ..agents.exchange import Message
from ..persistence.repositories import Messages

LATEST = 200  # conversations that are looked through


class Place(NamedTuple):
    """The message after which a conversation goes on."""

    conversation_id: UUID
    parent_id: UUID


async def place_after(history: Sequence[Message], messages: Messages) -> Place | None:
    """The reply that was given at the end of exactly these messages; None where no known conversation has them."""
    said = [(message.role, message.content) for message in history if message.role != "system"]
    if not said or said[-1][0] != "assistant":
        return None
    for reply in await messages.replies(said[-1][1], LATEST):
        if await messages.path_to(reply, len(said) + 1) == said:
            return Place(reply.conversation_id, reply.id)
    return None
