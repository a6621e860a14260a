"""Teams as models of an OpenAI-compatible server, so that any OpenAI client can talk to them."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any, Literal
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK, HTTP_502_BAD_GATEWAY
from msgspec import UNSET, Struct, UnsetType

from ..accounts.person import Person
from ..agents.discovery import OURS
from ..agents.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Complete,
    Error,
    Event,
    Interaction,
    Start,
    Usage,
)
from ..agents.team import Team
from ..errors import Busy, Invalid, NotFound, RiverrunError, RunFailed, Unavailable
from ..persistence.repositories import Messages
from ..rendering import sse
from ..runs.continuation import place_after
from ..runs.journal import Journal
from ..runs.runner import Runner
from ..runs.view import RunView
from ..runs.work import Started
from .access import CHAT, Admission, reach_to, still_admitted
from .foreign import BODY_LIMIT, WRONG_MESSAGES, Content, Heard, Json, Sent, found_team, heard, translated
from .limits import STREAMING
from .problems import AnyRequest, openai_error

DONE = sse.message("[DONE]")
STOPPED = Error(message="The run was stopped before the reply was complete.", code="cancelled")


class Model(Struct):
    """A team. `created` is always 0: teams have no date."""

    id: str
    name: str
    description: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = OURS

    @classmethod
    def of(cls, team: Team) -> "Model":
        return cls(team.name, team.title, team.description)


class Models(Struct):
    data: list[Model]
    object: Literal["list"] = "list"


class ChatMessage(Struct):
    role: str
    content: Content = None


class StreamOptions(Struct):
    include_usage: bool = False


class ChatRequest(Struct):
    """What counts of a request, and what has to be refused. Everything else is the teams' own affair and is ignored."""

    model: str
    messages: list[ChatMessage]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: int | None = 1
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    response_format: Json | None = None
    logprobs: bool | int | None = None
    modalities: list[str] | None = None


class ChatUsage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0

    @classmethod
    def of(cls, usage: Usage | None) -> "ChatUsage":
        counted = usage or Usage()
        return cls(counted.input_tokens, counted.output_tokens, counted.input_tokens + counted.output_tokens)


class ReplyMessage(Struct):
    content: str
    role: Literal["assistant"] = "assistant"
    reasoning_content: str | UnsetType = UNSET


class Choice(Struct):
    message: ReplyMessage
    finish_reason: str
    index: int = 0
    logprobs: None = None


class ChatCompletion(Struct):
    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: ChatUsage
    object: Literal["chat.completion"] = "chat.completion"


class CompletionsApi(Controller):
    path = "/v1"
    include_in_schema = False  # OpenAI's own document describes it
    exception_handlers = WRONG_MESSAGES

    @get("/models")
    async def models(self, runner: NamedDependency[Runner], person: NamedDependency[Person]) -> Models:
        """The teams."""
        return Models([Model.of(team) for team in await runner.teams.all(person.id)])

    @get("/models/{name:str}")
    async def model(
        self, name: FromPath[str], runner: NamedDependency[Runner], person: NamedDependency[Person]
    ) -> Model:
        return Model.of(await found_model(runner, name, person))

    @post(
        "/chat/completions",
        status_code=HTTP_200_OK,
        request_max_body_size=BODY_LIMIT,
        opt={**STREAMING, **CHAT},
    )
    async def complete(
        self,
        request: AnyRequest,
        data: JSONBody[ChatRequest],
        runner: NamedDependency[Runner],
        messages: NamedDependency[Messages],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """Runs a team. The run goes on even if the caller leaves."""
        refuse_what_teams_cannot(data)
        team = await found_model(runner, data.model, person)
        said = heard([(message.role, message.content) for message in data.messages], runner.message_limit)
        started = await go_on(said, team.name, messages, runner, person)
        headers = {"X-Request-Id": str(started.run_id), "X-Conversation-Id": str(started.conversation_id)}
        if not data.stream:
            return Response(await reply(started, runner.journal), headers={**headers, "Cache-Control": "no-store"})
        telling = Telling(bool(data.stream_options and data.stream_options.include_usage))
        chunks = stream(runner.journal, started.run_id, telling, still_admitted(request, started.run_id))
        return Stream(chunks, media_type=sse.MEDIA_TYPE, headers={**headers, **sse.HEADERS})


def refuse_what_teams_cannot(data: ChatRequest) -> None:
    asked = {
        "n": data.n not in (None, 1),
        "tools": data.tools,
        "functions": data.functions,
        "response_format": data.response_format and data.response_format.get("type") != "text",
        "logprobs": data.logprobs,
        "modalities": data.modalities and data.modalities != ["text"],
    }
    for name, is_wanted in asked.items():
        if is_wanted:
            raise Invalid(
                f"A team gives one reply, in words, and has tools of its own: leave out {name!r}.", field=name
            )


async def found_model(runner: Runner, name: str, person: Person) -> Team:
    return await found_team(runner, name, person, field="model", code="model_not_found")


async def go_on(said: Heard, team: str, messages: Messages, runner: Runner, person: Person) -> Started:
    """In the conversation that this continues, or in a new one.

    Also while the known one is at work: who asks again has given up the run there, which this protocol cannot stop.
    """
    place = await place_after(said.history, messages)
    await messages.session.close()
    if place:
        try:
            return await runner.start(
                said.content,
                team,
                place.conversation_id,
                parent_id=place.parent_id,
                history=said.instructions,
                attended=False,
                reach=reach_to(person, write=True),
            )
        except (Busy, NotFound):
            pass
    reach = reach_to(person, write=True)
    return await runner.start(
        said.content, team, project_id=person.home_id, history=said.history, attended=False, reach=reach
    )


class Telling:
    """Events in, chunks out. What supporting agents write is not the reply; what anybody thinks goes beside it."""

    def __init__(self, with_usage: bool = False) -> None:
        self.with_usage = with_usage
        self.is_whole = False
        self._base: Json = {}
        self._turn: int | None = None  # whose text is the reply, as far as can be known
        self._sent = Sent()
        self._gap = ""
        self._finish_reason: str | None = None
        self._error = STOPPED

    def tell(self, event: Event) -> Iterator[Json]:
        match event:
            case Start():
                self._base = {
                    "id": name_of(event.run_id),
                    "object": "chat.completion.chunk",
                    "created": int(event.at.timestamp()),
                    "model": event.team,
                }
                yield self._chunk({"role": "assistant", "content": ""})
            case AgentStart(lane="answer") if event.turn == self._turn:
                self._sent.begin_again()
            case AgentStart(lane="answer"):
                self._gap = "\n\n" if self._sent else self._gap
                self._turn, self._sent = event.turn, Sent()
            case AgentChunk() if event.turn == self._turn:
                yield from self._write(*self._sent.add(event.text))
            case AgentComplete() if event.turn == self._turn:
                self._finish_reason = event.finish_reason
                yield from self._write(*self._sent.end())
            case Interaction(kind="thought"):
                yield self._chunk({"reasoning_content": f"{event.content}\n\n"})
            case Error():
                self._error = event
            case Complete(status="complete"):
                self.is_whole = True
                yield self._chunk({}, finish_of(self._finish_reason))
                if self.with_usage:
                    yield {**self._base, "choices": [], "usage": ChatUsage.of(event.usage)}
            case Complete():
                yield error_of(self._error)

    def _write(self, text: str, anew: bool) -> Iterator[Json]:
        if text:
            yield self._chunk({"content": ("\n\n" if anew else self._gap) + text})
            self._gap = ""

    def _chunk(self, delta: Json, finish_reason: str | None = None) -> Json:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.with_usage else {}
        return {**self._base, "choices": [choice], **usage}


async def stream(
    journal: Journal, run_id: UUID, telling: Telling, admission: Admission | None
) -> AsyncGenerator[bytes, None]:
    async for frames in translated(journal, run_id, telling.tell, error_of, admission):
        yield frames
    if telling.is_whole:
        yield DONE


async def reply(started: Started, journal: Journal) -> ChatCompletion:
    """Waits for the run's end. Raises RunFailed, which carries the error's code and what was written."""
    view = RunView(started.run_id, started.message_id)
    try:
        async for batch in journal.follow(started.run_id):
            for record in batch:
                view.apply(record.event)
    except Unavailable as lost:
        raise failed(view, lost) from lost
    if view.status != "complete":
        raise failed(view, view.error or STOPPED)
    thoughts = [step.content for turn in view.turns.values() for step in turn.interactions if step.kind == "thought"]
    message = ReplyMessage(view.content, reasoning_content="\n\n".join(thoughts) or UNSET)
    return ChatCompletion(
        id=name_of(view.run_id),
        created=int(view.started_at.timestamp()) if view.started_at else 0,
        model=view.team,
        choices=[Choice(message, finish_of(view.answer.finish_reason if view.answer else None))],
        usage=ChatUsage.of(view.usage),
    )


def failed(view: RunView, failure: Error | Unavailable) -> RunFailed:
    return RunFailed(failure.message, extra={"code": failure.code, "run_id": view.run_id, "content": view.content})


def name_of(run_id: UUID) -> str:
    return f"chatcmpl-{run_id}"


def finish_of(reason: str | None) -> str:
    return reason if reason in ("length", "content_filter") else "stop"


def error_of(failure: Error | RiverrunError) -> Json:
    return openai_error(HTTP_502_BAD_GATEWAY, failure.message, {"code": failure.code})
