"""The pages with conversations, and what can be done to one of them."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, MediaType, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery, Parameter
from litestar.response import Stream
from markupsafe import Markup
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from ..agents.team import Team
from ..agents.teams import DEFAULT
from ..errors import StorageUnavailable
from ..persistence.repositories import Conversations, Events, Messages, Projects, Runs
from ..persistence.tables import DEFAULT_PROJECT, Conversation, Message, Project
from ..rendering.fragments import partial
from ..rendering.growing import Growing
from ..rendering.templates import to_html
from ..runs.history import views_of
from ..runs.journal import Journal
from ..runs.runner import Runner
from ..runs.view import RunView
from ..workspace.files import Files
from .answers import (
    NO_STORE,
    PageRequest,
    html,
    is_scripted,
    nothing,
    partials,
    see,
    shown_conversation,
)
from .body import line
from .finding import found, missing_conversation, missing_project
from .sample import IDEAS as SAMPLE_IDEAS
from .sample import NAME as SAMPLE

LISTED = 50  # conversations in the list
SHOWN = 50  # messages on a page
LIVE = Markup("<!-- the reply, as it comes -->")  # no text can contain this: it is escaped
FRAME = 1 / 10  # seconds between two pieces of a page without scripts

IDEAS = (
    ("What can you do?", DEFAULT),
    ("Explain how a river finds its way to the sea, with a table", DEFAULT),
    ("Write a Python function that counts the words of a text", DEFAULT),
)

Exchange = tuple[Message, RunView | None]


class Shelf(Struct):
    """What every page shows beside the conversation."""

    listed: Sequence[Conversation]
    older: str | None
    teams: Sequence[Team]
    projects: Sequence[Project]
    project: Project
    model: str

    @classmethod
    async def of(
        cls,
        conversations: Conversations,
        runner: Runner,
        project_id: UUID = DEFAULT_PROJECT,
        before: datetime | None = None,
    ) -> "Shelf":
        """Raises NotFound when there is no such project."""
        projects = await Projects(session=conversations.session).by_name()
        project = next((project for project in projects if project.id == project_id), None)
        if project is None:
            raise missing_project()
        found = await conversations.newest(LISTED + 1, before, project_id)
        older = found[LISTED - 1].active_at.isoformat() if len(found) > LISTED else None
        return cls(found[:LISTED], older, await runner.teams.all(), projects, project, runner.model.name)

    @classmethod
    def bare(cls, runner: Runner) -> "Shelf":
        """For a page that has to do without the database."""
        project = Project(id=DEFAULT_PROJECT, name="Default project", team=DEFAULT)
        return cls([], None, list(runner.teams.known.values()), [], project, runner.model.name)


def page(shelf: Shelf, current: Conversation | None = None, exchanges: Sequence[Exchange] = (), **context: Any) -> str:
    running = next((run for _, run in exchanges if run and run.running), None)
    known = {
        "current": current,
        "exchanges": exchanges,
        "running": running,
        "listed": shelf.listed,
        "older": shelf.older,
        "teams": shelf.teams,
        "projects": shelf.projects,
        "project": shelf.project,
        "chosen": current.team if current else shelf.project.team,
        "model": shelf.model,
        "demo": shelf.model == "demo",
        "earlier": None,
        "later": False,
        "live": "",
        "draft": "",
        "problem": "",
        "streaming": True,
        "deleted": None,
        "ideas": SAMPLE_IDEAS if shelf.project.name == SAMPLE else IDEAS,
        "deleted_project": None,
    }
    return to_html("conversations/show.html", **known | context)


class Rename(Struct):
    title: str = ""


class ConversationPages(Controller):
    include_in_schema = False

    @get("/")
    async def index(
        self,
        conversations: NamedDependency[Conversations],
        projects: NamedDependency[Projects],
        runner: NamedDependency[Runner],
        draft: Annotated[str, Parameter(max_length=2000)] = "",
        deleted: FromQuery[UUID | None] = None,
        deleted_project: FromQuery[UUID | None] = None,
        older: FromQuery[datetime | None] = None,
        project: FromQuery[UUID] = DEFAULT_PROJECT,
        team: FromQuery[str] = "",
    ) -> Response[str]:
        shelf = await Shelf.of(conversations, runner, project, older)
        gone = await conversations.get_one_or_none(id=deleted) if deleted else None
        if gone and gone.deleted_at is None:
            gone = None
        closed = await projects.get_one_or_none(id=deleted_project) if deleted_project else None
        if closed and closed.deleted_at is None:
            closed = None
        chosen = team or shelf.project.team
        return html(page(shelf, draft=draft, chosen=chosen, deleted=gone, deleted_project=closed))

    @get("/c/{conversation_id:uuid}")
    async def show(
        self,
        conversation_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        runs: NamedDependency[Runs],
        events: NamedDependency[Events],
        runner: NamedDependency[Runner],
        files: NamedDependency[Files],
        db_session: NamedDependency[AsyncSession],
        before: FromQuery[UUID | None] = None,
        live: FromQuery[bool] = False,
    ) -> Response[str] | Stream:
        """`live`: for a browser without scripts, the page goes on as long as the reply is being written."""
        current = await found(conversations, conversation_id)
        rows = await messages.of_conversation(current.id, limit=SHOWN + 1, before=before)
        earlier = rows[1].id if len(rows) > SHOWN else None
        rows = rows[-SHOWN:]
        views = await views_of(rows, runs, events, runner.journal)
        await see_taken_back(views.values(), files)
        exchanges = [(row, views.get(row.id)) for row in rows]
        shelf = await Shelf.of(conversations, runner, current.project_id)
        await db_session.close()
        running = next((run for run in views.values() if run.running), None)
        context = {"earlier": earlier, "later": before is not None}
        if not (live and running):
            # Off the loop: a long conversation takes a while to render for the first time.
            return html(await asyncio.to_thread(page, shelf, current, exchanges, **context))
        whole = await asyncio.to_thread(page, shelf, current, exchanges, **context, live=LIVE)
        view = RunView(running.run_id, running.message_id, team=running.team)
        headers = {**NO_STORE, "X-Accel-Buffering": "no"}
        return Stream(grow(runner.journal, view, *whole.split(LIVE)), media_type=MediaType.HTML, headers=headers)

    @get("/c/{conversation_id:uuid}/updates")
    async def updates(
        self,
        conversation_id: FromPath[UUID],
        after: FromQuery[UUID],
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        runs: NamedDependency[Runs],
        events: NamedDependency[Events],
        journal: NamedDependency[Journal],
        files: NamedDependency[Files],
    ) -> Response[Any]:
        """What came into a conversation while a page of it was away: from another tab or another device."""
        current = await found(conversations, conversation_id)
        rows = [row for row in await messages.of_conversation(current.id, limit=SHOWN) if row.id > after]
        if not rows:
            return nothing()
        if len(rows) == SHOWN:
            return html("", {"HX-Refresh": "true"})
        views = await views_of(rows, runs, events, journal)
        await see_taken_back(views.values(), files)
        came = "".join(message_html(row, views.get(row.id)) for row in rows)
        return partials(partial("#messages", "beforeend", came))

    @post("/c/{conversation_id:uuid}/title")
    async def rename(
        self,
        request: PageRequest,
        conversation_id: FromPath[UUID],
        data: Annotated[Rename, Body(media_type=RequestEncodingType.URL_ENCODED)],
        conversations: NamedDependency[Conversations],
    ) -> Response[Any]:
        title = line(data.title, 200, "title")
        if not await conversations.rename(conversation_id, title):
            raise missing_conversation()
        await conversations.session.commit()
        if not is_scripted(request):
            return see(f"/c/{conversation_id}")
        renamed = await found(conversations, conversation_id)
        changes = [partial(f"#conversation-{renamed.id}", "outerHTML", entry_html(renamed, request))]
        if shown_conversation(request) != renamed.id:
            return partials(*changes)
        return partials(*changes, heading(renamed), title=document_title(renamed))

    @post("/c/{conversation_id:uuid}/deletions")
    async def delete(
        self,
        request: PageRequest,
        conversation_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        runs: NamedDependency[Runs],
        runner: NamedDependency[Runner],
    ) -> Response[Any]:
        """Deletes it and stops what works in it; for a day it can be restored."""
        deleted = await found(conversations, conversation_id)
        await conversations.discard(deleted.id)
        await conversations.session.commit()
        if run := await runs.running_in(deleted.id):
            await runner.cancel(run.id)
        elsewhere = f"/?deleted={deleted.id}&project={deleted.project_id}"
        if not is_scripted(request):
            return see(elsewhere)
        if shown_conversation(request) == deleted.id:
            return html("", {"HX-Redirect": elsewhere})
        return partials(
            partial(f"#conversation-{deleted.id}", "delete", ""),
            partial("#undo", "innerHTML", to_html("conversations/_undo.html", deleted=deleted)),
        )

    @post("/c/{conversation_id:uuid}/restorations")
    async def restore(
        self,
        request: PageRequest,
        conversation_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        runner: NamedDependency[Runner],
    ) -> Response[Any]:
        if not await conversations.restore(conversation_id):
            raise missing_conversation()
        await conversations.session.commit()
        if not is_scripted(request):
            return see(f"/c/{conversation_id}")
        restored = await found(conversations, conversation_id)
        shelf = await Shelf.of(conversations, runner, restored.project_id)
        current = next((row for row in shelf.listed if row.id == shown_conversation(request)), None)
        known = {"listed": shelf.listed, "older": shelf.older, "current": current, "project": shelf.project}
        entries = to_html("conversations/_entries.html", **known)
        return partials(partial("#conversations", "innerHTML", entries), partial("#undo", "innerHTML", ""))


async def see_taken_back(views: Iterable[RunView], files: Files) -> None:
    """Which changes of files somebody has taken back is not told by the runs that made them."""
    changed = {change.revision_id: view for view in views for change in view.code_changes if change.revision_id}
    for revision_id in await files.taken_back(list(changed)) if changed else ():
        changed[revision_id].taken_back |= {revision_id}


async def grow(journal: Journal, view: RunView, above: str, below: str) -> AsyncGenerator[str, None]:
    reply = Growing(view)
    yield above + reply.opening
    try:
        async for batch in journal.follow(view.run_id):
            yield reply.apply(record.event for record in batch) or "\n"  # silence too, or a proxy gives the page up
            await asyncio.sleep(FRAME if view.running else 0)
    except StorageUnavailable as failure:
        yield to_html("errors/_notice.html", message=failure.message)
    yield below


def message_html(message: Message, run: RunView | None) -> str:
    if run is None:
        return to_html("messages/_user.html", message=message)
    return to_html("messages/_assistant.html", run=run)


def entry_html(conversation: Conversation, request: PageRequest) -> str:
    current = conversation if shown_conversation(request) == conversation.id else None
    return to_html("conversations/_entry.html", conversation=conversation, current=current)


def heading(conversation: Conversation) -> str:
    return partial("#title", "outerHTML", to_html("conversations/_heading.html", current=conversation))


def document_title(conversation: Conversation) -> str:
    return f"{conversation.title or 'Untitled'} · riverrun"
