"""What a person says: into a new conversation or a present one, followed live or waited for."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from ..accounts.person import Person
from ..agents.teams import DEFAULT
from ..errors import Busy, Invalid, NotFound, RiverrunError, StorageUnavailable, Unavailable
from ..persistence.repositories import Conversations, Messages, Runs
from ..persistence.tables import Conversation, Run
from ..persistence.writer import passing_as_unavailable
from ..rendering.fragments import partial
from ..rendering.templates import to_html
from ..runs.journal import Journal, now
from ..runs.runner import Runner
from ..runs.view import RunView
from ..runs.work import Started
from .access import reach_to
from .answers import PageRequest, html, is_scripted, partials, see
from .body import words
from .conversations import Shelf, acts_html, document_title, heading, messages_html, page
from .exchanges import Exchanges, Part
from .finding import found, found_message, settled


class Said(Struct):
    """The composer's fields. `conversation` is empty for a new one of `project`; `stream` is absent when it is off.

    `when` says what a message is for that comes while a reply is being written: `now` for that reply, `next` after it.
    """

    content: str = ""
    team: str = DEFAULT
    conversation: str = ""
    project: str = ""
    stream: str = ""
    when: str = ""


class Edit(Struct):
    content: str = ""


class MessagePages(Controller):
    include_in_schema = False

    @post("/messages")
    async def create(
        self,
        request: PageRequest,
        data: Annotated[Said, Body(media_type=RequestEncodingType.URL_ENCODED)],
        conversations: NamedDependency[Conversations],
        exchanges: NamedDependency[Exchanges],
        runs: NamedDependency[Runs],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        conversation_id = id_of(data.conversation)
        project_id = id_of(data.project, "project") or person.home_id
        try:
            content = words(data.content, runner.message_limit)
            try:
                with passing_as_unavailable():
                    started = await runner.start(
                        content, data.team, conversation_id, project_id, reach=reach_to(person, write=True)
                    )
            except Busy:
                at_work = await runs.running_in(conversation_id) if conversation_id else None
                await runs.session.close()
                if at_work is None:
                    raise
                return await added(request, runner, at_work, content, wait=data.when == "next")
        except RiverrunError as error:
            if is_scripted(request):
                raise
            composer: dict[str, Any] = {"draft": data.content, "problem": error.message, "streaming": bool(data.stream)}
            try:
                current = await conversations.find(conversation_id) if conversation_id else None
                shelf = await Shelf.of(conversations, runner, person, current.project_id if current else project_id)
                part = await exchanges.shown(current) if current else Part([])
            except (SQLAlchemyError, OSError, StorageUnavailable, NotFound):
                # What was written counts more than the rest of the page, which is missing now.
                shelf, part = Shelf.bare(runner), Part([])
                current = Conversation(id=conversation_id, title="", team=data.team) if conversation_id else None
            return html(page(shelf, current, part, **composer), status=error.status)
        run = RunView(started.run_id, started.message_id)
        if not data.stream:
            run = await ended(runner.journal, started)
        if not is_scripted(request):
            live = "?live=1" if run.running else ""
            return see(f"/c/{started.conversation_id}{live}#message-{started.user_message_id}")
        return exchange(started, content, run, data.team, project_id, is_new=conversation_id is None)

    @post("/messages/{message_id:uuid}/edits")
    async def edit(
        self,
        request: PageRequest,
        message_id: FromPath[UUID],
        data: Annotated[Edit, Body(media_type=RequestEncodingType.URL_ENCODED)],
        conversations: NamedDependency[Conversations],
        exchanges: NamedDependency[Exchanges],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """Says something else in a message's place: a branch of its own, beside the one that there is."""
        message = await found_message(exchanges.messages, message_id, "user")
        content = words(data.content, runner.message_limit)
        await conversations.session.close()
        reach = reach_to(person, write=True)
        started = await runner.start(content, None, message.conversation_id, parent_id=message.parent_id, reach=reach)
        if not is_scripted(request):
            return see(f"/c/{started.conversation_id}?live=1#message-{started.user_message_id}")
        return await branch(await found(conversations, started.conversation_id), exchanges)

    @post("/messages/{message_id:uuid}/selections")
    async def select(
        self,
        request: PageRequest,
        message_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        exchanges: NamedDependency[Exchanges],
        runs: NamedDependency[Runs],
    ) -> Response[Any]:
        """Shows the branch of this message, now and in later visits."""
        message = await found_message(exchanges.messages, message_id)
        await settled(runs, message.conversation_id)
        await exchanges.switch(conversations, message)
        if not is_scripted(request):
            return see(f"/c/{message.conversation_id}#message-{message.id}")
        return await branch(await found(conversations, message.conversation_id), exchanges)

    @post("/messages/{message_id:uuid}/withdrawals")
    async def withdraw(
        self,
        request: PageRequest,
        message_id: FromPath[UUID],
        messages: NamedDependency[Messages],
        runner: NamedDependency[Runner],
    ) -> Response[Any]:
        """Takes back what was sent while a reply was being written and has not had its turn."""
        message = await messages.get_one_or_none(id=message_id)
        await messages.session.close()
        if message is None or not await runner.withdraw(message.conversation_id, message.id):
            raise NotFound("This message has had its turn already.")
        if not is_scripted(request):
            return see(f"/c/{message.conversation_id}")
        return partials(partial(f"#waiting-{message.id}", "delete", ""))


async def added(request: PageRequest, runner: Runner, run: Run, content: str, *, wait: bool) -> Response[Any]:
    """What was sent while a reply is being written waits above the composer."""
    message_id = await runner.add(run, content, wait=wait)
    if not is_scripted(request):
        return see(f"/c/{run.conversation_id}?live=1#message-{run.message_id}")
    message = {"id": message_id, "content": content, "status": "waiting" if wait else "pending"}
    return partials(partial("#queue", "beforeend", to_html("messages/_waiting.html", message=message)))


async def branch(conversation: Conversation, exchanges: Exchanges) -> Response[str]:
    """The branch that is shown takes the place of the one that was."""
    part = await exchanges.shown(conversation)
    return partials(
        partial("#messages", "innerHTML", messages_html(part)),
        partial("#composer-acts", "outerHTML", acts_html(running=part.running is not None)),
    )


def exchange(started: Started, content: str, run: RunView, team: str, project_id: UUID, is_new: bool) -> Response[str]:
    """What was said and its reply come into the page, and the conversation to the top of the list."""
    current = Conversation(
        id=started.conversation_id, project_id=project_id, title=started.title, team=team, active_at=now()
    )
    message = {"id": started.user_message_id, "content": content}
    said = to_html("messages/_user.html", message=message, branches=())
    reply = to_html("messages/_assistant.html", run=run, branches=())
    said_and_answered = partial("#messages", "beforeend", said + reply)
    acts = partial("#composer-acts", "outerHTML", acts_html(run.running))
    entry = to_html("conversations/_entry.html", conversation=current, current=current)
    listed = partial("#conversations", "afterbegin", entry)
    if not is_new:
        moved = (partial(f"#conversation-{current.id}", "delete", ""), listed)
        return partials(said_and_answered, acts, *moved, heading(current), title=document_title(current))
    return partials(
        said_and_answered,
        acts,
        listed,
        partial("#composer-conversation", "outerHTML", to_html("messages/_conversation.html", current=current)),
        heading(current),
        title=document_title(current),
        headers={"HX-Push-Url": f"/c/{current.id}"},
    )


async def ended(journal: Journal, started: Started) -> RunView:
    """The run once it has ended; as it is when it asks the person something, or when database or server go away: a
    page can follow it later."""
    view = RunView(started.run_id, started.message_id)
    try:
        async for batch in journal.follow(started.run_id):
            for record in batch:
                view.apply(record.event)
            if view.asking:
                break
    except Unavailable:
        pass
    return view


def id_of(value: str, field: str = "conversation") -> UUID | None:
    try:
        return UUID(value) if value else None
    except ValueError:
        raise Invalid(f"This is not a {field}'s id.", field=field) from None
