"""Finding what a request names."""

from typing import Any
from uuid import UUID

from litestar import Request

from ..errors import Busy, Invalid, NotFound
from ..persistence.reach import within_reach
from ..persistence.repositories import Conversations, Messages, Projects, Runs
from ..persistence.tables import Conversation, Message, Project, Run
from ..runs.journal import Journal


async def found(conversations: Conversations, id: UUID) -> Conversation:
    if row := await within_reach(conversations.session, lambda: conversations.find(id)):
        return row
    raise missing_conversation()


async def found_run(runs: Runs, id: UUID) -> Run:
    """A run; the connection is given back, because whoever asks goes on to read or follow its log with another."""
    run = await within_reach(runs.session, lambda: runs.find(id))
    await runs.session.close()
    if run is None:
        raise NotFound("There is no such run.")
    return run


async def found_message(messages: Messages, id: UUID, role: str = "") -> Message:
    """`role`: the only one that is looked for."""
    message = await within_reach(messages.session, lambda: messages.find(id))
    if message is None or (role and message.role != role):
        raise NotFound("There is no such message.")
    return message


async def settled(runs: Runs, conversation_id: UUID) -> None:
    """Raises Busy while a reply is being written in a conversation."""
    if await runs.running_in(conversation_id):
        raise Busy("A reply is still being written here. Wait for it, or stop it first.")


def missing_conversation() -> NotFound:
    return NotFound("There is no such conversation; it may have been deleted.")


def missing_project() -> NotFound:
    return NotFound("There is no such project; it may have been deleted.")


async def found_project(projects: Projects, id: UUID) -> Project:
    if row := await within_reach(projects.session, lambda: projects.find(id)):
        return row
    raise missing_project()


def cursor_of(request: Request[Any, Any, Any], after: int) -> int:
    """`?after=` or Last-Event-ID, whichever is further: a browser that reconnects keeps the address that it had."""
    value = request.headers.get("last-event-id", "").strip()
    if value and not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Invalid("Last-Event-ID is the number of an event.", field="Last-Event-ID")
    return max(after, int(value or 0))


async def head_after(journal: Journal, run_id: UUID, cursor: int) -> int:
    """How many events the run has, which is not asked for its beginning. Raises Invalid for a cursor beyond them."""
    head = await journal.head(run_id) if cursor else 0
    if cursor > head:
        raise Invalid(f"The run has only {head} events so far.", field="after")
    return head
