"""The runs behind a conversation's messages, as views: for pages and for programs."""

from collections.abc import Sequence
from uuid import UUID

from ..agents.events import decode
from ..persistence.repositories import Events, Runs
from ..persistence.tables import Message, Run
from .journal import Journal
from .view import RunView, fold


async def views_of(messages: Sequence[Message], runs: Runs, events: Events, journal: Journal) -> dict[UUID, RunView]:
    """Views by message id. Finished ones are read without their chunks, running ones with them."""
    found = await runs.of_messages([message.id for message in messages if message.role == "assistant"])
    finished = [run.id for run in found.values() if run.status != "running"]
    histories = await events.history(finished) if finished else {}
    await events.session.close()  # the log is read through a connection of its own, and nobody may hold two
    return {
        message_id: await view_of(run, journal)
        if run.status == "running"
        else fold(run.id, message_id, map(decode, histories[run.id]))
        for message_id, run in found.items()
    }


async def view_of(run: Run, journal: Journal) -> RunView:
    """A run as it is saved now: a finished one without its chunks, of one at work what is new since it was seen."""
    if run.status != "running":
        return fold(run.id, run.message_id, await journal.history(run.id))
    view = journal.lately.seen(run.id, run.message_id)
    async for batch in journal.read(run.id, view.seq):
        for record in batch:
            view.apply(record.event)
    journal.lately.keep(view)
    return view
