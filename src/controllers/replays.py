"""A run shown again: as it was after any of its events, and played from there on."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated
from uuid import UUID

from litestar import Controller, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, Parameter
from litestar.response import Stream
from sqlalchemy.exc import SQLAlchemyError

from ..errors import Busy, StorageUnavailable
from ..persistence.repositories import Conversations, Messages, Runs
from ..rendering import sse
from ..rendering.fragments import Fragments, announce, partial
from ..rendering.templates import to_html
from ..runs.journal import Journal
from ..runs.replay import LONGEST_PAUSE, Moment, moment_of, paced
from .answers import PageRequest, html, is_scripted, partials
from .finding import cursor_of, found, found_run
from .limits import STREAMING
from .runs import Cursor

SPEEDS = {1: "1×", 2: "2×", 5: "5×", 10: "10×", 0: "as fast as it goes"}
SHORTEST = 100  # frames that a run has when it is played as fast as it goes: about three seconds

At = Annotated[int | None, Parameter(ge=1, le=2**63 - 1)]
Speed = Annotated[int, Parameter(ge=0, le=100)]


class ReplayPages(Controller):
    path = "/runs/{run_id:uuid}/replay"
    include_in_schema = False

    @get()
    async def show(
        self,
        request: PageRequest,
        run_id: FromPath[UUID],
        runs: NamedDependency[Runs],
        messages: NamedDependency[Messages],
        conversations: NamedDependency[Conversations],
        journal: NamedDependency[Journal],
        at: At = None,
    ) -> Response[str]:
        """The run as it was after event `at`. Without `at` it is played from the beginning, where scripts may."""
        run = await found_run(runs, run_id)
        moment = await moment_of(run, journal, at or 1)
        if is_scripted(request):
            return partials(*moved(moment))
        known = {
            "conversation": await found(conversations, run.conversation_id),
            "asked": (await messages.get(run.user_message_id)).content,
            "run": moment.view,
            "moment": moment,
            "finished": run.status != "running",
            "plays": at is None,
            "speeds": SPEEDS,
            "longest_pause": LONGEST_PAUSE,
        }
        await conversations.session.close()
        return html(await asyncio.to_thread(to_html, "replays/show.html", **known))

    @get("/stream", opt=STREAMING)
    async def stream(
        self,
        request: PageRequest,
        run_id: FromPath[UUID],
        runs: NamedDependency[Runs],
        journal: NamedDependency[Journal],
        after: Cursor = 0,
        speed: Speed = 1,
    ) -> Stream:
        """What came after `after` or Last-Event-ID as partials over Server-Sent Events, in its own time."""
        run = await found_run(runs, run_id)
        if run.status == "running":
            raise Busy("This reply is still being written. It can be played again when it is done.")
        moment = await moment_of(run, journal, cursor_of(request, after))
        return Stream(frames(journal, moment, speed), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


def moved(moment: Moment) -> list[str]:
    """Shows another moment; whatever was being played ends."""
    return [
        Fragments(moment.view).snapshot(),
        partial(f"#stream-{moment.view.message_id}", "delete", ""),
        told(moment),
        *steps(moment),
        announce(to_html("replays/_moment.html", moment=moment)),
    ]


def told(moment: Moment) -> str:
    return partial("#moment", "outerHTML", to_html("replays/_position.html", moment=moment))


def steps(moment: Moment) -> list[str]:
    """The ways to other events. While a run is played they stay as they were: nobody could follow them so fast."""
    return [
        partial(f"#replay-{way}", "outerHTML", to_html(f"replays/_{way}.html", run=moment.view, moment=moment))
        for way in ("back", "on")
    ]


async def frames(journal: Journal, moment: Moment, speed: int) -> AsyncGenerator[bytes, None]:
    fragments = Fragments(moment.view)
    most = max(1, (moment.last - moment.seq) // SHORTEST) if speed == 0 else moment.last
    try:
        async for events in paced(journal.read(moment.view.run_id, moment.seq), moment.event.at, speed, most):
            changes = await fragments.apply(events)
            back = events[-2].seq if len(events) > 1 else moment.seq
            moment = moment._replace(event=events[-1], back=back, on=moment.last)
            is_last = moment.seq == moment.last
            changes += told(moment) + "".join(steps(moment) if is_last else ())
            yield sse.message(changes, id=moment.seq)
    except (StorageUnavailable, SQLAlchemyError, OSError):
        return  # without the closing event the page comes back by itself
    yield sse.message("", event="done")
