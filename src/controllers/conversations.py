"""The pages with conversations, and what can be done to one of them."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
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

from ..accounts.person import Person
from ..agents.events import Event
from ..agents.team import Team
from ..agents.teams import DEFAULT
from ..errors import RiverrunError
from ..persistence.reach import within_reach
from ..persistence.repositories import Conversations, Memberships, Projects, Runs
from ..persistence.tables import DEFAULT_PROJECT, Conversation, Message, Project
from ..rendering.fragments import partial
from ..rendering.growing import Growing
from ..rendering.templates import to_html
from ..runs.runner import Runner
from ..runs.view import RunView
from .access import Admission, still_admitted, while_admitted
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
from .exchanges import SHOWN, Exchanges, Part
from .finding import found, missing_conversation, missing_project
from .limits import GROWING
from .sample import IDEAS as SAMPLE_IDEAS
from .sample import NAME as SAMPLE

LISTED = 50  # conversations in the list
LIVE = Markup("<!-- the reply, as it comes -->")  # no text can contain this: it is escaped
FRAME = 1 / 10  # seconds between two pieces of a page without scripts

IDEAS = (
    ("What can you do?", DEFAULT),
    ("Explain how a river finds its way to the sea, with a table", DEFAULT),
    ("Write a Python function that counts the words of a text", DEFAULT),
)


class Shelf(Struct):
    """What every page shows beside the conversation."""

    listed: Sequence[Conversation]
    older: str | None
    teams: Sequence[Team]
    projects: Sequence[Project]
    project: Project
    model: str
    owners: Mapping[UUID, str] = {}
    may_write: bool = True

    @classmethod
    async def of(
        cls,
        conversations: Conversations,
        runner: Runner,
        person: Person,
        project_id: UUID,
        before: datetime | None = None,
    ) -> "Shelf":
        """Raises NotFound when there is no such project."""
        repository = Projects(session=conversations.session)
        projects = await repository.by_name(person.home_id)
        project = next((project for project in projects if project.id == project_id), None)
        if project is None:
            raise missing_project()
        found = await conversations.newest(LISTED + 1, before, project_id)
        older = found[LISTED - 1].active_at.isoformat() if len(found) > LISTED else None
        may_write = project.owner_id == person.id or await Memberships(session=conversations.session).may_write(
            project.id, person.id
        )
        teams = await runner.teams.all(person.id)
        owners = await repository.owners(projects, person.id)
        return cls(found[:LISTED], older, teams, projects, project, runner.model.name, owners, may_write)

    @classmethod
    def bare(cls, runner: Runner) -> "Shelf":
        """For a page that has to do without the database."""
        project = Project(id=DEFAULT_PROJECT, name="Default project", team=DEFAULT)
        return cls([], None, list(runner.teams.known.values()), [], project, runner.model.name)


def page(
    shelf: Shelf,
    current: Conversation | None = None,
    part: Part = Part([]),  # noqa: B008
    waiting: Sequence[Message] = (),
    **context: Any,
) -> str:
    known = {
        "current": current,
        "exchanges": part.exchanges,
        "running": part.running,
        "waiting": waiting,
        "listed": shelf.listed,
        "older": shelf.older,
        "teams": shelf.teams,
        "projects": shelf.projects,
        "project": shelf.project,
        "chosen": current.team if current else shelf.project.team,
        "model": shelf.model,
        "owners": shelf.owners,
        "may_write": shelf.may_write,
        "demo": shelf.model == "demo",
        "earlier": part.earlier,
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
        person: NamedDependency[Person],
        draft: Annotated[str, Parameter(max_length=2000)] = "",
        deleted: FromQuery[UUID | None] = None,
        deleted_project: FromQuery[UUID | None] = None,
        older: FromQuery[datetime | None] = None,
        project: FromQuery[UUID | None] = None,
        team: FromQuery[str] = "",
    ) -> Response[str]:
        shelf = await Shelf.of(conversations, runner, person, project or person.home_id, older)
        gone = await conversations.get_one_or_none(id=deleted) if deleted else None
        if gone and gone.deleted_at is None:
            gone = None
        closed = await projects.get_one_or_none(id=deleted_project) if deleted_project else None
        if closed and closed.deleted_at is None:
            closed = None
        chosen = team or shelf.project.team
        return html(page(shelf, draft=draft, chosen=chosen, deleted=gone, deleted_project=closed))

    @get("/c/{conversation_id:uuid}", opt=GROWING)
    async def show(
        self,
        request: PageRequest,
        conversation_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        exchanges: NamedDependency[Exchanges],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
        before: FromQuery[UUID | None] = None,
        live: FromQuery[bool] = False,
    ) -> Response[str] | Stream:
        """`live`: for a browser without scripts, the page goes on as long as the reply is being written."""
        left = await exchanges.messages.left_in(conversation_id)
        current = await found(conversations, conversation_id)
        part = await exchanges.shown(current, before=before)
        waiting = still_waiting(left, part)
        shelf = await Shelf.of(conversations, runner, person, current.project_id)
        await conversations.session.close()
        running = part.running
        context: dict[str, Any] = {"waiting": waiting, "later": before is not None}
        if not (live and running):
            # Off the loop: a long conversation takes a while to render for the first time.
            return html(await asyncio.to_thread(page, shelf, current, part, **context))
        whole = await asyncio.to_thread(page, shelf, current, part, **context, live=LIVE)
        view = RunView(running.run_id, running.message_id, team=running.team)
        headers = {**NO_STORE, "X-Accel-Buffering": "no"}
        admission = still_admitted(request, view.run_id)
        above, below = whole.split(LIVE)
        content = grow(runner, view, current.id, above, below, admission)
        return Stream(content, media_type=MediaType.HTML, headers=headers)

    @get("/c/{conversation_id:uuid}/updates")
    async def updates(
        self,
        conversation_id: FromPath[UUID],
        after: FromQuery[UUID],
        conversations: NamedDependency[Conversations],
        exchanges: NamedDependency[Exchanges],
        waiting: FromQuery[int] = 0,
    ) -> Response[Any]:
        """What came into a conversation while a page of it was away: from another tab or another device.

        `waiting`: how many messages the page shows that have not had their turn.
        """
        left = await exchanges.messages.left_in(conversation_id)
        current = await found(conversations, conversation_id)
        part = await exchanges.since(current, after)
        if part is None or len(part.exchanges) >= SHOWN:
            return html("", {"HX-Refresh": "true"})
        left = still_waiting(left, part)
        if not part.exchanges and len(left) == waiting:
            return nothing()
        changes = [partial("#queue", "outerHTML", waiting_html(left))]
        if part.exchanges:
            changes.append(partial("#messages", "beforeend", messages_html(part)))
        if part.running:
            changes.append(partial("#composer-acts", "outerHTML", acts_html(running=True)))
        return partials(*changes)

    @post("/c/{conversation_id:uuid}/title")
    async def rename(
        self,
        request: PageRequest,
        conversation_id: FromPath[UUID],
        data: Annotated[Rename, Body(media_type=RequestEncodingType.URL_ENCODED)],
        conversations: NamedDependency[Conversations],
    ) -> Response[Any]:
        title = line(data.title, 200, "title")
        renamed = await found(conversations, conversation_id)
        await conversations.rename(renamed.id, title)
        await conversations.session.commit()
        if not is_scripted(request):
            return see(f"/c/{conversation_id}")
        await conversations.session.refresh(renamed)
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
        person: NamedDependency[Person],
    ) -> Response[Any]:
        gone = await within_reach(conversations.session, lambda: conversations.get_one_or_none(id=conversation_id))
        if gone is None or not await conversations.restore(conversation_id):
            raise missing_conversation()
        await conversations.session.commit()
        if not is_scripted(request):
            return see(f"/c/{conversation_id}")
        restored = await found(conversations, conversation_id)
        shelf = await Shelf.of(conversations, runner, person, restored.project_id)
        current = next((row for row in shelf.listed if row.id == shown_conversation(request)), None)
        known = {"listed": shelf.listed, "older": shelf.older, "current": current, "project": shelf.project}
        entries = to_html("conversations/_entries.html", **known)
        return partials(partial("#conversations", "innerHTML", entries), partial("#undo", "innerHTML", ""))


async def grow(
    runner: Runner,
    view: RunView,
    conversation_id: UUID,
    above: str,
    below: str,
    admission: Admission | None = None,
) -> AsyncGenerator[str, None]:
    reply = Growing(view)
    yield above + reply.opening
    try:
        head = await runner.journal.head(view.run_id)
        events: list[Event] = []
        journal = runner.journal
        async for batch in while_admitted(journal.follow(view.run_id), admission, journal.heartbeat):
            events += [record.event for record in batch]
            if events and events[-1].seq < head:  # all that was told so far is shown as one, without what became void
                continue
            yield reply.apply(events) or "\n"  # silence too, or a proxy gives the page up
            events = []
            await asyncio.sleep(FRAME if view.running else 0)
        # What came into the reply stands above it on a new page, and what waited for its end is answered there.
        if view.heard or await runner.goes_on(conversation_id):
            yield to_html("conversations/_further.html", conversation_id=conversation_id, message_id=view.message_id)
    except RiverrunError as failure:
        yield to_html("errors/_notice.html", message=failure.message)
    yield below


def still_waiting(left: Sequence[Message], part: Part) -> Sequence[Message]:
    """What waited when it was asked for, before the messages, so that none is in neither, may be among them by now."""
    shown = {each.message.id for each in part.exchanges}
    return [message for message in left if message.id not in shown]


def messages_html(part: Part) -> str:
    return to_html("conversations/_messages.html", exchanges=part.exchanges, live="")


def acts_html(running: bool) -> str:
    return to_html("messages/_acts.html", running=running)


def waiting_html(waiting: Sequence[Message]) -> str:
    return to_html("messages/_queue.html", waiting=waiting)


def entry_html(conversation: Conversation, request: PageRequest) -> str:
    current = conversation if shown_conversation(request) == conversation.id else None
    return to_html("conversations/_entry.html", conversation=conversation, current=current)


def heading(conversation: Conversation) -> str:
    return partial("#title", "outerHTML", to_html("conversations/_heading.html", current=conversation))


def document_title(conversation: Conversation) -> str:
    return f"{conversation.title or 'Untitled'} · riverrun"
