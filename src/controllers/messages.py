"""What a person says: into a new conversation or a present one, followed live or waited for."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from msgspec import Struct

from ..agents.teams import DEFAULT
from ..errors import Invalid, RiverrunError, StorageUnavailable
from ..persistence.repositories import Conversations, Events, Messages, Runs
from ..persistence.tables import Conversation
from ..rendering.fragments import partial
from ..rendering.templates import to_html
from ..runs.history import views_of
from ..runs.journal import Journal, now
from ..runs.runner import Runner, Started, title_of
from ..runs.view import RunView
from ..settings import Settings
from .answers import PageRequest, html, is_scripted, partials, see
from .api import found
from .body import words
from .conversations import SHOWN, Shelf, document_title, heading, page


class Said(Struct):
    """The composer's fields. `conversation` is empty for a new one; `stream` is absent when switched off."""

    content: str = ""
    team: str = DEFAULT
    conversation: str = ""
    stream: str = ""


class MessagePages(Controller):
    include_in_schema = False

    @post("/messages")
    async def create(
        self,
        request: PageRequest,
        data: Annotated[Said, Body(media_type=RequestEncodingType.URL_ENCODED)],
        conversations: Conversations,
        messages: Messages,
        runs: Runs,
        events: Events,
        runner: Runner,
        settings: Settings,
    ) -> Response[Any]:
        current: Conversation | None = None
        try:
            content = words(data.content, settings.message_limit)
            if data.conversation:
                current = await found(conversations, id_of(data.conversation))
            await conversations.session.close()  # whoever waits must not hold a connection
            started = await runner.start(content, data.team, current)
        except RiverrunError as error:
            if is_scripted(request):
                raise
            shelf = await Shelf.of(conversations, runner)
            rows = await messages.of_conversation(current.id, limit=SHOWN) if current else []
            views = await views_of(rows, runs, events, runner.journal)
            exchanges = [(row, views.get(row.id)) for row in rows]
            said = {"draft": data.content, "problem": error.message, "streaming": bool(data.stream)}
            return html(page(shelf, current, exchanges, **said), status=error.status)
        run = RunView(started.run_id, started.message_id)
        if not data.stream:
            run = await ended(runner.journal, started)
        if not is_scripted(request):
            live = "?live=1" if run.running else ""
            return see(f"/c/{started.conversation_id}{live}#message-{started.user_message_id}")
        said_html = to_html("messages/_user.html", message={"id": started.user_message_id, "content": content})
        exchange = partial("#messages", "beforeend", said_html + to_html("messages/_assistant.html", run=run))
        moved = Conversation(
            id=started.conversation_id,
            title=(current.title if current else "") or title_of(content),
            team=data.team,
            active_at=now(),
        )
        entry = to_html("conversations/_entry.html", conversation=moved, current=moved)
        changes = [
            exchange,
            partial(f"#conversation-{moved.id}", "delete", ""),
            partial("#conversations", "afterbegin", entry),
        ]
        if current is not None:
            return partials(*changes)
        identity = to_html("messages/_conversation.html", current=moved)
        return partials(
            *changes,
            partial("#composer-conversation", "outerHTML", identity),
            heading(moved),
            title=document_title(moved),
            HX_Push_Url=f"/c/{moved.id}",
        )


async def ended(journal: Journal, started: Started) -> RunView:
    """The run once it has ended; as it is, when the database went away, since the page can follow it later."""
    view = RunView(started.run_id, started.message_id)
    try:
        async for batch in journal.follow(started.run_id):
            for record in batch:
                view.apply(record.event)
    except StorageUnavailable:
        pass
    return view


def id_of(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise Invalid("This is not a conversation's id.", field="conversation") from None
