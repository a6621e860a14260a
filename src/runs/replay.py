"""A run that is shown again: as it was after any of its events, and played in its own time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import NamedTuple

from ..agents.events import Event
from ..errors import NotFound
from ..persistence.tables import Run
from .journal import Journal, Recorded
from .view import RunView

LONGEST_PAUSE = 2.0  # seconds between two events, as they were; a longer pause is shortened to this
FRAME = 1 / 30  # seconds between two frames
SHARE = 4  # a frame that took long is followed by a pause of so many times that long


class Moment(NamedTuple):
    """A run after one of its events. `back` and `on` are where the events beside that one are."""

    view: RunView
    event: Event
    back: int
    on: int
    last: int

    @property
    def seq(self) -> int:
        return self.event.seq

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return (self.event.at - (self.view.started_at or self.event.at)).total_seconds()


async def moment_of(run: Run, journal: Journal, at: int) -> Moment:
    """After event `at`, or the latest before it: of chunks that were merged only the last number is left."""
    view = RunView(run.id, run.message_id, replayed=True)
    shown: Event | None = None
    back = 0
    async for batch in journal.read(run.id):
        for event, _ in batch:
            if shown is not None and event.seq > at:
                return Moment(view, shown, back or shown.seq, event.seq, await journal.head(run.id))
            view.apply(event)
            back = shown.seq if shown is not None else 0
            shown = event
    if shown is None:
        raise NotFound("Nothing is recorded of this run.")
    return Moment(view, shown, back or shown.seq, shown.seq, shown.seq)


async def paced(
    batches: AsyncIterator[list[Recorded]], since: datetime, speed: int, most: int
) -> AsyncGenerator[list[Event], None]:
    """The events when their time has come, counted from `since`. What is due at once comes together, up to `most`."""
    clock = asyncio.get_running_loop().time
    due = free = clock()
    gathered: list[Event] = []
    async for batch in batches:
        for event, _ in batch:
            due += pause(since, event.at, speed)
            since = event.at
            if gathered and (due > clock() or len(gathered) >= most):
                began = clock()
                yield gathered
                gathered = []
                free = clock() + max(FRAME, SHARE * (clock() - began))
            await asyncio.sleep(max(due, free) - clock())
            gathered.append(event)
    if gathered:
        yield gathered


def pause(earlier: datetime, later: datetime, speed: int) -> float:
    """Seconds between two events when they are played; speed 0 is as fast as it goes."""
    gap = min(max((later - earlier).total_seconds(), 0.0), LONGEST_PAUSE)
    return gap / speed if speed else 0.0
