"""Finding what a request names."""

from typing import Any
from uuid import UUID

from litestar import Request

from ..errors import Invalid, NotFound
from ..persistence.repositories import Conversations, Projects, Runs
from ..persistence.tables import Conversation, Project, Run
from ..runs.journal import Journal


async def found(conversations: Conversations, id: UUID) -> Conversation:
    if row := await conversations.find(id):
        return row
    raise missing_conversation()


async def found_run(runs: Runs, id: UUID) -> Run:
    """A run; the connection is given back, because whoever asks goes on to read or follow its log with another."""
    run = await runs.find(id)
    await runs.session.close()
    if run is None:
        raise NotFound("There is no such run.")
    return run


def missing_conversation() -> NotFound:
    return NotFound("There is no such conversation; it may have been deleted.")


def missing_project() -> NotFound:
    return NotFound("There is no such project; it may have been deleted.")


async def found_project(projects: Projects, id: UUID) -> Project:
    if row := await projects.find(id):
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
