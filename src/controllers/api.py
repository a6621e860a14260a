"""The JSON surface, over the same runs as the pages."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, Parameter
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT
from msgspec import Meta, Struct, field
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..agents.events import CodeChange, Complete, Error, FinalMessage, Interaction, Usage, encode, type_of
from ..agents.teams import DEFAULT
from ..errors import Invalid, RunFailed, StorageUnavailable
from ..persistence import tables
from ..persistence.repositories import Conversations, Events, Messages, Projects, Runs
from ..persistence.statements import ADD_CONVERSATION
from ..persistence.tables import DEFAULT_PROJECT
from ..rendering import sse
from ..runs.history import view_of, views_of
from ..runs.journal import Journal, Recorded, now
from ..runs.runner import Runner, Started, conversation_row
from ..runs.view import RunView
from .body import line, words
from .finding import cursor_of, found, found_project, found_run, missing_conversation

Title = Annotated[str, Meta(max_length=200)]


class NewConversation(Struct):
    title: Title = ""
    team: str = DEFAULT
    project_id: UUID = DEFAULT_PROJECT


class Rename(Struct):
    title: Title


class NewMessage(Struct):
    content: str
    team: str | None = None


class Conversation(Struct):
    id: UUID
    project_id: UUID
    title: str
    team: str
    created_at: datetime
    active_at: datetime

    @classmethod
    def of(cls, row: tables.Conversation) -> "Conversation":
        return cls(row.id, row.project_id, row.title, row.team, row.created_at, row.active_at)


class Message(Struct):
    """`status` is that of the run that wrote it, null for a person's message."""

    id: UUID
    role: Literal["user", "assistant"]
    content: str
    agent_name: str | None
    created_at: datetime
    run_id: UUID | None = None
    status: str | None = None
    error: Error | None = None
    usage: Usage | None = None
    interactions: list[Interaction] = field(default_factory=list)
    code_changes: list[CodeChange] = field(default_factory=list)

    @classmethod
    def of(cls, row: tables.Message, view: RunView | None) -> "Message":
        if view is None:
            role: Literal["user", "assistant"] = "assistant" if row.role == "assistant" else "user"
            return cls(row.id, role, row.content, row.agent_name, row.created_at)
        return cls(
            id=row.id,
            role="assistant",
            content=view.content,
            agent_name=view.answer.agent if view.answer else None,
            created_at=row.created_at,
            run_id=view.run_id,
            status=view.status,
            error=view.error,
            usage=view.usage,
            interactions=[event for turn in view.turns.values() for event in turn.interactions],
            code_changes=view.code_changes,
        )


class ConversationWithMessages(Struct):
    id: UUID
    project_id: UUID
    title: str
    team: str
    created_at: datetime
    active_at: datetime
    messages: list[Message]


class StartedRun(Struct):
    run_id: UUID
    message_id: UUID


class Reply(Struct):
    """A whole reply, as its run's `complete` event tells it."""

    run_id: UUID
    conversation_id: UUID
    user_message_id: UUID
    status: str
    message: FinalMessage
    code_changes: list[CodeChange]
    usage: Usage | None


class RunStatus(Struct):
    id: UUID
    conversation_id: UUID
    message_id: UUID
    team: str
    model: str
    status: str
    seq: int
    fraction: float
    content: str
    error: Error | None
    usage: Usage | None
    started_at: datetime
    ended_at: datetime | None


class ConversationsApi(Controller):
    path = "/api/conversations"
    tags = ("conversations",)

    @post()
    async def create(
        self,
        data: JSONBody[NewConversation],
        runner: NamedDependency[Runner],
        db_session: NamedDependency[AsyncSession],
    ) -> Conversation:
        """Makes an empty conversation."""
        await runner.teams.find(data.team)
        await found_project(Projects(session=db_session), data.project_id)
        at = now()
        title = line(data.title, 200, "title") if data.title.strip() else ""
        made = Conversation(uuid7(), data.project_id, title, data.team, at, at)
        row = conversation_row(made.id, title, data.team, at, data.project_id)
        await runner.journal.save({ADD_CONVERSATION: [row]})
        return made

    @get()
    async def index(
        self,
        conversations: NamedDependency[Conversations],
        limit: Annotated[int, Parameter(ge=1, le=200)] = 50,
        before: FromQuery[datetime | None] = None,
    ) -> list[Conversation]:
        """Newest first. `before`: an `active_at` to go on from."""
        return [Conversation.of(row) for row in await conversations.newest(limit, before)]

    @get("/{conversation_id:uuid}")
    async def show(
        self,
        conversation_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        runs: NamedDependency[Runs],
        events: NamedDependency[Events],
        journal: NamedDependency[Journal],
        limit: Annotated[int, Parameter(ge=1, le=500)] = 100,
        before: FromQuery[UUID | None] = None,
    ) -> ConversationWithMessages:
        """The newest messages with what agents did for them, oldest first. `before`: a message's id to go back from."""
        row = await found(conversations, conversation_id)
        rows = await messages.of_conversation(row.id, limit=limit, before=before)
        views = await views_of(rows, runs, events, journal)
        return ConversationWithMessages(
            row.id,
            row.project_id,
            row.title,
            row.team,
            row.created_at,
            row.active_at,
            [Message.of(message, views.get(message.id)) for message in rows],
        )

    @patch("/{conversation_id:uuid}")
    async def rename(
        self, conversation_id: FromPath[UUID], data: JSONBody[Rename], conversations: NamedDependency[Conversations]
    ) -> Conversation:
        title = line(data.title, 200, "title")
        if not await conversations.rename(conversation_id, title):
            raise missing_conversation()
        await conversations.session.commit()
        return Conversation.of(await found(conversations, conversation_id))

    @delete("/{conversation_id:uuid}")
    async def discard(
        self,
        conversation_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        runner: NamedDependency[Runner],
        runs: NamedDependency[Runs],
    ) -> None:
        """Deletes it and stops what works in it. It can be restored in the page for a day."""
        if not await conversations.discard(conversation_id):
            raise missing_conversation()
        await conversations.session.commit()
        if run := await runs.running_in(conversation_id):
            runner.cancel(run.id)

    @post("/{conversation_id:uuid}/messages", status_code=HTTP_200_OK)
    async def send(
        self,
        conversation_id: FromPath[UUID],
        data: JSONBody[NewMessage],
        runner: NamedDependency[Runner],
    ) -> Reply:
        """Sends a message and waits for the whole reply. The run goes on even if the caller leaves."""
        started = await start(conversation_id, data, runner)
        return await reply(started, runner.journal)

    @post(
        "/{conversation_id:uuid}/messages/stream",
        status_code=HTTP_200_OK,
        media_type=sse.MEDIA_TYPE,
        opt={"exclude_from_compression": True},
    )
    async def send_and_stream(
        self,
        conversation_id: FromPath[UUID],
        data: JSONBody[NewMessage],
        runner: NamedDependency[Runner],
    ) -> Stream:
        """Sends a message and streams the run's events as Server-Sent Events."""
        started = await start(conversation_id, data, runner)
        return event_stream(runner.journal, started.run_id, 0)

    @post("/{conversation_id:uuid}/runs", status_code=HTTP_202_ACCEPTED)
    async def start_run(
        self,
        conversation_id: FromPath[UUID],
        data: JSONBody[NewMessage],
        runner: NamedDependency[Runner],
    ) -> StartedRun:
        """Sends a message and answers at once; the run can be followed by its id."""
        started = await start(conversation_id, data, runner)
        return StartedRun(started.run_id, started.message_id)


class RunsApi(Controller):
    path = "/api/runs/{run_id:uuid}"
    tags = ("runs",)

    @get()
    async def show(
        self, run_id: FromPath[UUID], runs: NamedDependency[Runs], journal: NamedDependency[Journal]
    ) -> RunStatus:
        run = await found_run(runs, run_id)
        view = await view_of(run, journal)
        return RunStatus(
            id=run.id,
            conversation_id=run.conversation_id,
            message_id=run.message_id,
            team=run.team,
            model=run.model,
            status=view.status,
            seq=view.seq,
            fraction=view.progress.fraction if view.progress else 0.0,
            content=view.content,
            error=view.error,
            usage=view.usage or view.total_usage,
            started_at=view.started_at or run.created_at,
            ended_at=view.ended_at,
        )

    @get("/events", media_type=sse.MEDIA_TYPE, opt={"exclude_from_compression": True})
    async def events(
        self,
        run_id: FromPath[UUID],
        request: Request[Any, Any, State],
        runs: NamedDependency[Runs],
        journal: NamedDependency[Journal],
        after: Annotated[int, Parameter(ge=0)] = 0,
    ) -> Response[Any]:
        """The run's events after a cursor (`?after=` or `Last-Event-ID`, whichever is further) as Server-Sent Events.

        204 when the run has ended and the cursor is at its end, so that an EventSource does not come back.
        """
        run = await found_run(runs, run_id)
        cursor = cursor_of(request, after)
        head = await journal.head(run_id) if cursor else 0
        if cursor > head:
            raise Invalid(f"The run has only {head} events so far.", field="after")
        if cursor and cursor == head and run.status != "running":
            return Response(None, status_code=HTTP_204_NO_CONTENT, headers={"Cache-Control": "no-store"})
        return event_stream(journal, run_id, cursor)

    @post("/cancel", status_code=HTTP_202_ACCEPTED)
    async def cancel(
        self, run_id: FromPath[UUID], runs: NamedDependency[Runs], runner: NamedDependency[Runner]
    ) -> StartedRun:
        """Stops a run; its end follows as events. Stopping a run that has ended changes nothing."""
        run = await found_run(runs, run_id)
        runner.cancel(run_id)
        return StartedRun(run.id, run.message_id)


async def start(conversation_id: UUID, data: NewMessage, runner: Runner) -> Started:
    return await runner.start(words(data.content, runner.message_limit), data.team, conversation_id)


async def reply(started: Started, journal: Journal) -> Reply:
    """Waits for the run's end. Raises RunFailed, which carries the run's id, its error's code and what was written."""
    error: Error | None = None
    async for batch in journal.follow(started.run_id):
        for record in batch:
            match record.event:
                case Error() as told:
                    error = told
                case Complete() as end if end.status == "failed":
                    raise RunFailed(
                        error.message if error else "The run failed.",
                        extra={
                            "run_id": started.run_id,
                            "error": error.code if error else "internal",
                            "retryable": error is not None and error.retryable,
                            "message": end.message,
                        },
                    )
                case Complete() as end:
                    return Reply(
                        started.run_id,
                        started.conversation_id,
                        started.user_message_id,
                        end.status,
                        end.message,
                        end.code_changes,
                        end.usage,
                    )
    raise StorageUnavailable


def event_stream(journal: Journal, run_id: UUID, after: int) -> Stream:
    return Stream(frames(journal, run_id, after), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


async def frames(journal: Journal, run_id: UUID, after: int) -> AsyncGenerator[bytes, None]:
    try:
        async for batch in journal.follow(run_id, after):
            yield b"".join(map(frame, batch)) or sse.HEARTBEAT
    except StorageUnavailable as failure:
        # Not an event of the run, so it has no id: the cursor stays where it was.
        lost = Error(run_id=run_id, message=failure.message, code=failure.code, retryable=True, at=now())
        yield sse.message(encode(lost), event="error")


def frame(record: Recorded) -> bytes:
    return sse.message(record.payload, event=type_of(record.event), id=record.event.seq)
