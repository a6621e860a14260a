"""What a person says: into a new conversation or a present one, followed live or waited for."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from ..agents.teams import DEFAULT
from ..errors import Invalid, NotFound, RiverrunError, StorageUnavailable
from ..persistence.repositories import Conversations, Events, Messages, Projects, Runs
from ..persistence.tables import DEFAULT_PROJECT, Conversation
from ..rendering.fragments import partial
from ..rendering.templates import to_html
from ..runs.history import views_of
from ..runs.journal import Journal, now
from ..runs.runner import Runner, Started
from ..runs.view import RunView
from .answers import PageRequest, html, is_scripted, partials, see
from .body import words
from .conversations import SHOWN, Shelf, document_title, heading, page
from .finding import found_project


class Said(Struct):
    """The composer's fields. `conversation` is empty for a new one of `project`; `stream` is absent when it is off."""

    content: str = ""
    team: str = DEFAULT
    conversation: str = ""
    project: str = ""
    stream: str = ""


class MessagePages(Controller):
    include_in_schema = False

    @post("/messages")
    async def create(
        self,
        request: PageRequest,
        data: Annotated[Said, Body(media_type=RequestEncodingType.URL_ENCODED)],
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        runs: NamedDependency[Runs],
        events: NamedDependency[Events],
        projects: NamedDependency[Projects],
        runner: NamedDependency[Runner],
    ) -> Response[Any]:
        conversation_id = id_of(data.conversation)
        project_id = id_of(data.project, "project") or DEFAULT_PROJECT
        try:
            content = words(data.content, runner.message_limit)
            if conversation_id is None and project_id != DEFAULT_PROJECT:  # which cannot have been deleted
                await found_project(projects, project_id)
                await projects.session.close()
            started = await runner.start(content, data.team, conversation_id, project_id)
        except RiverrunError as error:
            if is_scripted(request):
                raise
            composer = {"draft": data.content, "problem": error.message, "streaming": bool(data.stream)}
            try:
                current = await conversations.find(conversation_id) if conversation_id else None
                shelf = await Shelf.of(conversations, runner, current.project_id if current else project_id)
                rows = await messages.of_conversation(current.id, limit=SHOWN) if current else []
                views = await views_of(rows, runs, events, runner.journal)
            except (SQLAlchemyError, OSError, StorageUnavailable, NotFound):
                # What was written counts more than the rest of the page, which is missing now.
                shelf, rows, views = Shelf.bare(runner), [], {}
                current = Conversation(id=conversation_id, title="", team=data.team) if conversation_id else None
            exchanges = [(row, views.get(row.id)) for row in rows]
            return html(page(shelf, current, exchanges, **composer), status=error.status)
        run = RunView(started.run_id, started.message_id)
        if not data.stream:
            run = await ended(runner.journal, started)
        if not is_scripted(request):
            live = "?live=1" if run.running else ""
            return see(f"/c/{started.conversation_id}{live}#message-{started.user_message_id}")
        return exchange(started, content, run, data.team, project_id, is_new=conversation_id is None)


def exchange(started: Started, content: str, run: RunView, team: str, project_id: UUID, is_new: bool) -> Response[str]:
    """What was said and its reply come into the page, and the conversation to the top of the list."""
    current = Conversation(
        id=started.conversation_id, project_id=project_id, title=started.title, team=team, active_at=now()
    )
    said = to_html("messages/_user.html", message={"id": started.user_message_id, "content": content})
    reply = to_html("messages/_assistant.html", run=run)
    said_and_answered = partial("#messages", "beforeend", said + reply)
    entry = to_html("conversations/_entry.html", conversation=current, current=current)
    listed = partial("#conversations", "afterbegin", entry)
    if not is_new:
        moved = (partial(f"#conversation-{current.id}", "delete", ""), listed)
        return partials(said_and_answered, *moved, heading(current), title=document_title(current))
    return partials(
        said_and_answered,
        listed,
        partial("#composer-conversation", "outerHTML", to_html("messages/_conversation.html", current=current)),
        heading(current),
        title=document_title(current),
        headers={"HX-Push-Url": f"/c/{current.id}"},
    )


async def ended(journal: Journal, started: Started) -> RunView:
    """The run once it has ended; as it is when the database goes away, since a page can follow it later."""
    view = RunView(started.run_id, started.message_id)
    try:
        async for batch in journal.follow(started.run_id):
            for record in batch:
                view.apply(record.event)
    except StorageUnavailable:
        pass
    return view


def id_of(value: str, field: str = "conversation") -> UUID | None:
    try:
        return UUID(value) if value else None
    except ValueError:
        raise Invalid(f"This is not a {field}'s id.", field=field) from None
