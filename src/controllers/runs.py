"""A run as an open page follows it: streamed as HTML, or polled where streams do not get through."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, Parameter
from litestar.response import Stream
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from ..accounts.person import Person
from ..agents.events import AgentChunk, Word
from ..errors import RiverrunError
from ..persistence.repositories import Conversations, Runs
from ..persistence.tables import Run
from ..rendering import sse
from ..rendering.fragments import Fragments, announce, partial
from ..rendering.templates import to_html
from ..runs.history import view_of
from ..runs.journal import Journal, Recorded
from ..runs.runner import Runner
from .access import Admission, reach_to, still_admitted, while_admitted
from .answers import PageRequest, html, is_scripted, nothing, partials, see
from .body import entry, short_entry
from .exchanges import Exchanges
from .finding import cursor_of, found, found_run
from .limits import STREAMING
from .messages import branch

FRAME = 1 / 30  # seconds between two frames of text: what an eye and a page can take in
SHARE = 4  # a frame that took long is followed by a pause of so many times that long

REASON_LIMIT = 500  # characters that a person says to a call

Cursor = Annotated[int, Parameter(ge=0, le=2**63 - 1)]


class Retry(Struct):
    """Empty: the same team, the usual model."""

    team: str = ""
    model: str = ""


class Approval(Struct):
    decision: Word
    reason: str = ""


class RunPages(Controller):
    path = "/runs/{run_id:uuid}"
    include_in_schema = False

    @get("/stream", opt=STREAMING)
    async def stream(
        self,
        request: PageRequest,
        run_id: FromPath[UUID],
        runs: NamedDependency[Runs],
        journal: NamedDependency[Journal],
        after: Cursor = 0,
    ) -> Stream:
        """The run as partials over Server-Sent Events, from `after` or Last-Event-ID, whichever is further."""
        run = await found_run(runs, run_id)
        cursor = cursor_of(request, after)
        content = frames(journal, run, cursor, still_admitted(request, run_id))
        return Stream(content, media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)

    @get("/snapshot")
    async def snapshot(
        self, run_id: FromPath[UUID], runs: NamedDependency[Runs], journal: NamedDependency[Journal], after: Cursor = 0
    ) -> Response[Any]:
        """The run as one partial, with its cursor as Last-Event-ID; 204 when the page has it already."""
        run = await found_run(runs, run_id)
        if await journal.head(run_id) == after:
            return nothing()
        view = await view_of(run, journal)
        return html(Fragments(view).snapshot(), {"Last-Event-ID": str(view.seq)})

    @post("/cancellations")
    async def cancel(
        self, request: PageRequest, run_id: FromPath[UUID], runs: NamedDependency[Runs], runner: NamedDependency[Runner]
    ) -> Response[Any]:
        """Stops the run; its end follows as events."""
        run = await found_run(runs, run_id)
        await runner.cancel(run.id)
        if is_scripted(request):
            stopping = partial(f"#stop-{run.message_id}", "innerHTML", to_html("runs/_stopping.html"))
            return partials(stopping, announce("Stopping …"))
        return see(f"/c/{run.conversation_id}?live=1#message-{run.message_id}")

    @post("/approvals/{call_id:str}")
    async def decide(
        self,
        request: PageRequest,
        run_id: FromPath[UUID],
        call_id: FromPath[str],
        data: Annotated[Approval, Body(media_type=RequestEncodingType.URL_ENCODED)],
        runs: NamedDependency[Runs],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """What a person says to a call that asks them; what comes of it follows as events."""
        run = await found_run(runs, run_id)
        reason = entry(data.reason, REASON_LIMIT, "reason")
        await runner.decide(run, call_id, data.decision, reason, by=person.name)
        if is_scripted(request):
            return nothing()
        return see(f"/c/{run.conversation_id}?live=1#message-{run.message_id}")

    @get("/retries/new")
    async def ask_again(
        self,
        request: PageRequest,
        run_id: FromPath[UUID],
        runs: NamedDependency[Runs],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """Who shall write the further reply."""
        run = await found_run(runs, run_id)
        template = "runs/_retry_with.html" if is_scripted(request) else "runs/retry.html"
        return html(to_html(template, run=run, teams=await runner.teams.all(person.id), model=runner.model.name))

    @post("/retries")
    async def retry(
        self,
        request: PageRequest,
        run_id: FromPath[UUID],
        data: Annotated[Retry, Body(media_type=RequestEncodingType.URL_ENCODED)],
        runs: NamedDependency[Runs],
        conversations: NamedDependency[Conversations],
        exchanges: NamedDependency[Exchanges],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """A further reply to the same message, beside the one that there is."""
        run = await found_run(runs, run_id)
        model = short_entry(data.model, 200, "model")
        started = await runner.retry(run, data.team, model, reach=reach_to(person, write=True))
        if not is_scripted(request):
            return see(f"/c/{run.conversation_id}?live=1#message-{started.message_id}")
        return await branch(await found(conversations, run.conversation_id), exchanges)


async def frames(
    journal: Journal, run: Run, cursor: int, admission: Admission | None = None
) -> AsyncGenerator[bytes, None]:
    """What happened so far as one snapshot, unless the page has it; then every change, with its cursor."""
    # So that the page knows soon whether streams get through, and later whether this one still does.
    yield sse.message(f"{journal.heartbeat:g}", event="open")
    try:
        view = await view_of(run, journal)
        fragments = Fragments(view)
        if view.seq != cursor:
            yield sse.message(fragments.snapshot(), id=view.seq)
        if view.running:
            async with aclosing(changes_of(journal, fragments, admission)) as changes:
                async for change in changes:
                    yield change
    except (RiverrunError, SQLAlchemyError, OSError):
        return  # without the closing event the page comes back by itself, and finds the database or an error
    yield sse.message("", event="done")


async def changes_of(
    journal: Journal, fragments: Fragments, admission: Admission | None
) -> AsyncGenerator[bytes, None]:
    view = fragments.view
    followed = while_admitted(journal.follow(view.run_id, view.seq), admission, journal.heartbeat)
    try:
        async with aclosing(followed) as batches:
            async for batch in batches:
                if not batch:
                    yield sse.message("", event="heartbeat")  # a comment would not reach the page's script
                    continue
                began = time.perf_counter()
                if changes := await fragments.apply(record.event for record in batch):
                    yield sse.message(changes, id=view.seq)
                if view.running:
                    pause = SHARE * (time.perf_counter() - began)
                    await asyncio.sleep(max(pause, FRAME if has_text(batch) else 0))
    finally:
        journal.lately.keep(view)
        fragments.keep()


def has_text(batch: list[Recorded]) -> bool:
    return any(isinstance(record.event, AgentChunk) for record in batch)
