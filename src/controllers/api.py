"""The JSON surface, over the same runs as the pages."""

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.openapi.spec import OpenAPIFormat
from litestar.params import HeaderParameter, JSONBody, PathParameter, QueryParameter
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT
from msgspec import Meta, Struct, ValidationError, convert, field
from uuid_utils.compat import uuid7

from ..accounts.person import Person
from ..agents.events import (
    NIL,
    Asked,
    CodeChange,
    Complete,
    Error,
    FinalMessage,
    Interaction,
    Usage,
    Word,
    encode,
    type_of,
)
from ..agents.teams import DEFAULT
from ..errors import (
    Busy,
    Ended,
    Invalid,
    NotFound,
    NoTokensLeft,
    Restarting,
    RiverrunError,
    RunFailed,
    StorageUnavailable,
    TooManyOwnRuns,
    TooManyRuns,
    TooManyStreams,
)
from ..persistence import tables
from ..persistence.repositories import Conversations, Messages, Projects, Runs
from ..persistence.statements import ADD_CONVERSATION
from ..rendering import sse
from ..runs.history import view_of
from ..runs.journal import Journal, Recorded, now
from ..runs.rows import conversation_row
from ..runs.runner import Runner
from ..runs.view import Status
from ..runs.work import Started
from .access import CHAT, Admission, reach_to, still_admitted, while_admitted
from .body import entry, line, short_entry, words
from .exchanges import Exchange, Exchanges
from .finding import (
    found,
    found_project,
    found_run,
    head_after,
    settled,
)
from .limits import STREAMING
from .openapi import ENDED, SOMETHING, STREAM, Body, errors

ConversationId = Annotated[UUID, PathParameter(description="A conversation's `id`.")]
RunId = Annotated[
    UUID, PathParameter(description="A run's id: the `run_id` of what started it, of a message, of an event.")
]
Title = Annotated[str, Meta(max_length=200, description="One line.")]
ModelName = Annotated[
    str, Meta(max_length=200, description="A model, as its server calls it; empty: the usual one.", examples=[""])
]
TeamName = Annotated[str, Meta(description="The `name` of one of the teams.", examples=[DEFAULT])]
STARTING = (Busy, Restarting, TooManyRuns, TooManyOwnRuns, NoTokensLeft)  # what a start can be refused for
END_OF_TIME = "9999-12-31T23:59:59.999Z"
LAST_ID = UUID(int=2**128 - 1)
MAX_SEQ = 2**53 - 1  # what a JSON number holds


class NewConversation(Body):
    """All of it may be left out. Without a title, the first message gives one."""

    title: Title = ""
    team: TeamName = DEFAULT
    project_id: Annotated[
        UUID | None, Meta(description="The project that it belongs to; null for one's default project.")
    ] = None


class Rename(Body):
    """A conversation's new title."""

    title: Annotated[str, Meta(max_length=200, description="One line.", extra_json_schema=SOMETHING)]


class NewMessage(Body):
    """What a person says."""

    content: Annotated[
        str, Meta(description="As many characters as `RIVERRUN_MESSAGE_LIMIT` lets in.", extra_json_schema=SOMETHING)
    ]
    team: Annotated[
        str | None, Meta(description="The `name` of one of the teams; that of the conversation where none is given.")
    ] = None
    model: ModelName = ""
    parent_id: Annotated[
        UUID | None, Meta(description="The message that it follows; the last of the branch shown where none is given.")
    ] = None
    instead_of: Annotated[
        UUID | None, Meta(description="A person's message in whose place it stands, as a branch beside that one.")
    ] = None


class Addition(Body):
    """What a person says while a run is at work."""

    content: Annotated[
        str, Meta(description="As many characters as `RIVERRUN_MESSAGE_LIMIT` lets in.", extra_json_schema=SOMETHING)
    ]
    when: Annotated[
        Literal["now", "next"],
        Meta(description="`now`: its agents take it in at their next step. `next`: it is the turn after this one."),
    ] = "now"


class Retry(Body):
    """Who shall write the further reply. Without anything, who wrote the one that there is."""

    team: Annotated[str, Meta(description="The `name` of one of the teams.", examples=[DEFAULT])] = ""
    model: ModelName = ""


class Approval(Body):
    """What a person says to a call that asks them."""

    decision: Annotated[
        Word,
        Meta(
            description="`once`: this call. `run`: every call of this tool in this run. `always`: every call of this "
            "tool in this project, until that is taken back in the page. `decline`: it is not done."
        ),
    ]
    reason: Annotated[str, Meta(max_length=500, description="What the agent is told besides, when it is declined.")] = (
        ""
    )


class Branch(Body):
    """Which way of a conversation is shown."""

    message_id: Annotated[UUID, Meta(description="A message of the branch.")]


class Added(Struct):
    """A message that has not had its turn: `pending` until an agent takes it in, `waiting` for the turn after."""

    message_id: UUID
    status: Literal["pending", "waiting"]


class Conversation(Struct):
    """A conversation without what was said in it. `active_at` is when a message last came into it."""

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
    """What a person or an agent said.

    `parent_id` is the message that it follows; `branches` are those that follow the same, with this one. `run_id`,
    `status` (`running`, `complete`, `failed` or `cancelled`), `error` and `usage` are those of the run that wrote it,
    and null where a person did. `interactions` and `code_changes` are what agents did for it.
    """

    id: UUID
    parent_id: UUID | None
    branches: list[UUID]
    role: Literal["user", "assistant"]
    content: str
    agent_name: str | None
    created_at: datetime
    run_id: UUID | None = None
    status: Status | None = None
    error: Error | None = None
    usage: Usage | None = None
    interactions: list[Interaction] = field(default_factory=list)
    code_changes: list[CodeChange] = field(default_factory=list)

    @classmethod
    def of(cls, exchange: Exchange) -> "Message":
        row, view = exchange.message, exchange.run
        branches = list(exchange.branches)
        if view is None:
            role: Literal["user", "assistant"] = "assistant" if row.role == "assistant" else "user"
            return cls(row.id, row.parent_id, branches, role, row.content, row.agent_name, row.created_at)
        return cls(
            id=row.id,
            parent_id=row.parent_id,
            branches=branches,
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
    """A conversation with what was said in it, the oldest first."""

    id: UUID
    project_id: UUID
    title: str
    team: str
    created_at: datetime
    active_at: datetime
    messages: list[Message]


class StartedRun(Struct):
    """A run, and the message that it writes."""

    run_id: UUID
    message_id: UUID


class Reply(Struct):
    """A whole reply, as its run's `complete` event tells it."""

    run_id: UUID
    conversation_id: UUID
    user_message_id: UUID
    status: Status
    message: FinalMessage
    code_changes: list[CodeChange]
    usage: Usage | None


class RunStatus(Struct):
    """A run as it stands. `seq` is that of its last event, `content` what it has written so far.

    `approvals` are the calls that wait for a person's word.
    """

    id: UUID
    conversation_id: UUID
    message_id: UUID
    team: str
    model: str
    status: Status
    seq: int
    fraction: float
    content: str
    approvals: list[Asked]
    error: Error | None
    usage: Usage | None
    started_at: datetime
    ended_at: datetime | None


class ConversationsApi(Controller):
    path = "/api/conversations"
    tags = ("conversations",)

    @post(opt=CHAT, responses=errors(NotFound))
    async def create_conversation(
        self,
        data: JSONBody[NewConversation],
        runner: NamedDependency[Runner],
        projects: NamedDependency[Projects],
        person: NamedDependency[Person],
    ) -> Conversation:
        """Makes an empty conversation."""
        await runner.teams.find(data.team, person.id)
        project = await found_project(projects, data.project_id or person.home_id)
        at = now()
        title = short_entry(data.title, 200, "title")
        made = Conversation(uuid7(), project.id, title, data.team, at, at)
        row = conversation_row(made.id, title, data.team, at, project.id)
        await runner.journal.save({ADD_CONVERSATION: [row]})
        return made

    @get()
    async def list_conversations(
        self,
        conversations: NamedDependency[Conversations],
        limit: Annotated[int, QueryParameter(ge=1, le=200, description="How many at most.")] = 50,
        before: Annotated[
            str,
            QueryParameter(
                description="The `active_at` of the last one known, to go on from there; UTC without a zone.",
                schema_extra={"format": OpenAPIFormat.DATE_TIME},
            ),
        ] = END_OF_TIME,
    ) -> list[Conversation]:
        """Lists conversations. Those come first in which something was said last."""
        return [Conversation.of(row) for row in await conversations.newest(limit, moment(before))]

    @get("/{conversation_id:uuid}")
    async def read_conversation(
        self,
        conversation_id: ConversationId,
        conversations: NamedDependency[Conversations],
        exchanges: NamedDependency[Exchanges],
        limit: Annotated[int, QueryParameter(ge=1, le=500, description="How many messages at most.")] = 100,
        before: Annotated[
            UUID, QueryParameter(description="The `id` of the first message known, to go back from there.")
        ] = LAST_ID,
    ) -> ConversationWithMessages:
        """Reads a conversation. Its newest messages, with what agents did for them, the oldest first."""
        row = await found(conversations, conversation_id)
        part = await exchanges.shown(row, limit=limit, before=before)
        return ConversationWithMessages(
            row.id,
            row.project_id,
            row.title,
            row.team,
            row.created_at,
            row.active_at,
            [Message.of(each) for each in part.exchanges],
        )

    @patch("/{conversation_id:uuid}", opt=CHAT)
    async def rename_conversation(
        self, conversation_id: ConversationId, data: JSONBody[Rename], conversations: NamedDependency[Conversations]
    ) -> Conversation:
        """Renames a conversation."""
        title = line(data.title, 200, "title")
        row = await found(conversations, conversation_id)
        await conversations.rename(row.id, title)
        await conversations.session.commit()
        await conversations.session.refresh(row)
        return Conversation.of(row)

    @delete("/{conversation_id:uuid}", opt=CHAT)
    async def delete_conversation(
        self,
        conversation_id: ConversationId,
        conversations: NamedDependency[Conversations],
        runner: NamedDependency[Runner],
        runs: NamedDependency[Runs],
    ) -> None:
        """Deletes a conversation and stops what works in it. It can be restored in the page for a day."""
        await found(conversations, conversation_id)
        await conversations.discard(conversation_id)
        await conversations.session.commit()
        if run := await runs.running_in(conversation_id):
            await runner.cancel(run.id)

    @post(
        "/{conversation_id:uuid}/messages",
        status_code=HTTP_200_OK,
        opt=CHAT,
        responses=errors(*STARTING, RunFailed),
    )
    async def send_message(
        self,
        conversation_id: ConversationId,
        data: JSONBody[NewMessage],
        messages: NamedDependency[Messages],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Reply:
        """Sends a message and waits for the whole reply. The run goes on even if the caller leaves."""
        started = await start(conversation_id, data, runner, messages, person)
        return await reply(started, runner.journal)

    @post(
        "/{conversation_id:uuid}/messages/stream",
        status_code=HTTP_200_OK,
        media_type=sse.MEDIA_TYPE,
        opt={**STREAMING, **CHAT},
        responses={HTTP_200_OK: STREAM, **errors(*STARTING, TooManyStreams)},
    )
    async def stream_message(
        self,
        request: Request[Any, Any, State],
        conversation_id: ConversationId,
        data: JSONBody[NewMessage],
        messages: NamedDependency[Messages],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Stream:
        """Sends a message and streams the run's events. The run goes on even if the caller leaves."""
        started = await start(conversation_id, data, runner, messages, person)
        return event_stream(runner.journal, started.run_id, 0, still_admitted(request, started.run_id))

    @post(
        "/{conversation_id:uuid}/runs",
        status_code=HTTP_202_ACCEPTED,
        opt=CHAT,
        responses=errors(*STARTING),
    )
    async def start_run(
        self,
        conversation_id: ConversationId,
        data: JSONBody[NewMessage],
        messages: NamedDependency[Messages],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> StartedRun:
        """Sends a message and answers at once. The run can be followed by its id."""
        started = await start(conversation_id, data, runner, messages, person)
        return StartedRun(started.run_id, started.message_id)

    @put("/{conversation_id:uuid}/branch", opt=CHAT, responses=errors(Busy))
    async def show_branch(
        self,
        conversation_id: ConversationId,
        data: JSONBody[Branch],
        conversations: NamedDependency[Conversations],
        exchanges: NamedDependency[Exchanges],
        runs: NamedDependency[Runs],
    ) -> Conversation:
        """Shows another branch of a conversation. It is shown and gone on with until another one is chosen."""
        await found(conversations, conversation_id)
        message = await message_of(conversation_id, exchanges.messages, data.message_id, "message_id")
        await settled(runs, conversation_id)
        await exchanges.switch(conversations, message)
        return Conversation.of(await found(conversations, conversation_id))


class RunsApi(Controller):
    path = "/api/runs/{run_id:uuid}"
    tags = ("runs",)

    @get()
    async def read_run(
        self, run_id: RunId, runs: NamedDependency[Runs], journal: NamedDependency[Journal]
    ) -> RunStatus:
        """Reads how a run stands."""
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
            approvals=[asking.asked for asking in view.asking],
            error=view.error,
            usage=view.usage or view.total_usage,
            started_at=view.started_at or run.created_at,
            ended_at=view.ended_at,
        )

    @get(
        "/events",
        media_type=sse.MEDIA_TYPE,
        opt=STREAMING,
        responses={HTTP_200_OK: STREAM, HTTP_204_NO_CONTENT: ENDED, **errors(TooManyStreams)},
    )
    async def follow_run(
        self,
        request: Request[Any, Any, State],
        run_id: RunId,
        runs: NamedDependency[Runs],
        journal: NamedDependency[Journal],
        after: Annotated[
            int, QueryParameter(ge=0, le=MAX_SEQ, description="The cursor: the `seq` of the last event known.")
        ] = 0,
        last_event_id: Annotated[
            int,
            HeaderParameter(
                name="Last-Event-ID",
                ge=0,
                le=MAX_SEQ,
                description="The same, as browsers tell it. The further one counts.",
            ),
        ] = 0,
    ) -> Response[Any]:
        """Follows a run. Its events after a cursor, as Server-Sent Events."""
        run = await found_run(runs, run_id)
        cursor = max(after, last_event_id)
        head = await head_after(journal, run_id, cursor)
        if cursor and cursor == head and run.status != "running":
            return Response(None, status_code=HTTP_204_NO_CONTENT, headers={"Cache-Control": "no-store"})
        return event_stream(journal, run_id, cursor, still_admitted(request, run_id))

    @post("/messages", status_code=HTTP_202_ACCEPTED, opt=CHAT, responses=errors(Ended))
    async def add_message(
        self, run_id: RunId, data: JSONBody[Addition], runs: NamedDependency[Runs], runner: NamedDependency[Runner]
    ) -> Added:
        """Adds to a run at work. Its agents take the message in at their next step, or it is the turn after it."""
        run = await found_run(runs, run_id)
        if run.status != "running":
            raise Ended("This run has ended; send the message to its conversation.")
        wait = data.when == "next"
        message_id = await runner.add(run, words(data.content, runner.message_limit), wait=wait)
        return Added(message_id, "waiting" if wait else "pending")

    @delete("/messages/{message_id:uuid}", opt=CHAT, responses=errors(Ended))
    async def withdraw_message(
        self,
        run_id: RunId,
        message_id: Annotated[UUID, PathParameter(description="What adding it was answered with.")],
        runs: NamedDependency[Runs],
        runner: NamedDependency[Runner],
    ) -> None:
        """Takes back what was added. That can be done until an agent has taken it in, or its turn has come."""
        run = await found_run(runs, run_id)
        if not await runner.withdraw(run.conversation_id, message_id):
            raise Ended("This message has had its turn already.")

    @post("/approvals/{call_id:str}", status_code=HTTP_202_ACCEPTED, opt=CHAT, responses=errors(Ended))
    async def decide_call(
        self,
        run_id: RunId,
        call_id: Annotated[str, PathParameter(description="The `call_id` of a call that asks.")],
        data: JSONBody[Approval],
        runs: NamedDependency[Runs],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> StartedRun:
        """Says whether a call may be made. It is one that waits for a person; what comes of it follows as events."""
        run = await found_run(runs, run_id)
        await runner.decide(run, call_id, data.decision, entry(data.reason, 500, "reason"), by=person.name)
        return StartedRun(run.id, run.message_id)

    @post("/retries", status_code=HTTP_202_ACCEPTED, opt=CHAT, responses=errors(*STARTING))
    async def retry_run(
        self,
        run_id: RunId,
        data: JSONBody[Retry],
        runs: NamedDependency[Runs],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> StartedRun:
        """Writes a further reply. It stands beside the one that this run wrote, as a branch of its own."""
        started = await runner.retry(
            await found_run(runs, run_id),
            data.team,
            short_entry(data.model, 200, "model"),
            reach=reach_to(person, write=True),
        )
        return StartedRun(started.run_id, started.message_id)

    @post("/cancel", status_code=HTTP_202_ACCEPTED, opt=CHAT)
    async def cancel_run(
        self, run_id: RunId, runs: NamedDependency[Runs], runner: NamedDependency[Runner]
    ) -> StartedRun:
        """Stops a run. Its end follows as events; stopping a run that has ended changes nothing."""
        run = await found_run(runs, run_id)
        await runner.cancel(run_id)
        return StartedRun(run.id, run.message_id)


def moment(before: str) -> datetime:
    """A time as text. The framework would take a bare number too, as seconds: nobody who writes a year means that."""
    try:
        return convert(before, datetime)
    except ValidationError:
        raise Invalid("Write the time as in 2026-11-20T09:30:00Z.", field="before") from None


async def start(conversation_id: UUID, data: NewMessage, runner: Runner, messages: Messages, person: Person) -> Started:
    content, model = words(data.content, runner.message_limit), short_entry(data.model, 200, "model")
    parent_id: UUID | None = data.parent_id or NIL
    if data.instead_of is not None:
        message = await message_of(conversation_id, messages, data.instead_of, "instead_of")
        await messages.session.close()
        if message.role != "user":
            raise Invalid("Only a person's message can be replaced; for a reply there are retries.", field="instead_of")
        parent_id = message.parent_id
    return await runner.start(
        content, data.team, conversation_id, parent_id=parent_id, model=model, reach=reach_to(person, write=True)
    )


async def message_of(conversation_id: UUID, messages: Messages, id: UUID, field: str) -> tables.Message:
    """A message that a body names in this field."""
    message = await messages.find(id)
    if message is None or message.conversation_id != conversation_id:
        raise NotFound("There is no such message in this conversation.", field=field)
    return message


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


def event_stream(journal: Journal, run_id: UUID, after: int, admission: Admission | None) -> Stream:
    return Stream(frames(journal, run_id, after, admission), media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


async def frames(
    journal: Journal, run_id: UUID, after: int, admission: Admission | None = None
) -> AsyncGenerator[bytes, None]:
    try:
        async for batch in while_admitted(journal.follow(run_id, after), admission, journal.heartbeat):
            yield b"".join(map(frame, batch)) or sse.HEARTBEAT
    except StorageUnavailable as failure:
        # Not an event of the run, so it has no id: the cursor stays where it was.
        lost = Error(run_id=run_id, message=failure.message, code=failure.code, retryable=True, at=now())
        yield sse.message(encode(lost), event="error")
    except RiverrunError:
        return  # a client comes back by itself, with its cursor, and is told why if it is turned away


def frame(record: Recorded) -> bytes:
    return sse.message(record.payload, event=type_of(record.event), id=record.event.seq)
