"""AG-UI 1.0: teams as agents of user interfaces that speak this protocol (docs.ag-ui.com/spec/1.0).

One turn of an answering agent is one of the client's messages; a supporting agent's turn is a subagent of the run.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID, uuid5

import msgspec
from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK
from msgspec import Meta, Struct
from sqlalchemy.exc import IntegrityError

from ..accounts.person import Person
from ..agents.events import (
    NIL,
    AgentChunk,
    AgentComplete,
    AgentStart,
    CodeChange,
    Complete,
    Error,
    Event,
    Interaction,
    Progress,
    Start,
    Usage,
    type_of,
)
from ..errors import RiverrunError
from ..persistence.repositories import Conversations, Messages
from ..persistence.statements import ADD_CONVERSATION
from ..rendering import sse
from ..runs.journal import now
from ..runs.rows import conversation_row
from ..runs.runner import Runner
from ..runs.work import Started
from .access import CHAT, reach_to, still_admitted
from .foreign import BODY_LIMIT, WRONG_MESSAGES, Content, Heard, Json, Sent, found_team, heard, translated
from .limits import STREAMING
from .problems import AnyRequest

VERSION = "1.0"
THREADS = UUID("b5f0a3f4-7a31-5c0e-9d55-0d7a4a9a1f52")  # in which thread ids become ids of conversations
VOID = {"void": True}  # in the metadata of a message that a further attempt has replaced


class AguiMessage(Struct, rename="camel"):
    role: str
    id: str = ""
    content: Content = None
    subagent_run_id: str | None = None
    metadata: Json | None = None

    @property
    def is_void(self) -> bool:
        return (self.metadata or {}).get("riverrun") == VOID


class AguiContext(Struct):
    description: str
    value: str


class RunAgentInput(Struct, rename="camel"):
    """What counts of a request. `state`, `forwardedProps` and `tools`, of which no team knows, are ignored."""

    thread_id: Annotated[str, Meta(min_length=1)]
    run_id: Annotated[str, Meta(min_length=1)]
    messages: list[AguiMessage]
    context: list[AguiContext] = []
    protocol_version: str | None = None

    @property
    def dialogue(self) -> list[AguiMessage]:
        """Without what supporting agents said, and what was void."""
        return [said for said in self.messages if not said.subagent_run_id and not said.is_void]

    @property
    def said(self) -> list[tuple[str, Content]]:
        """Role and content; what the interface tells of itself is an instruction for this run."""
        about = "\n".join(f"{known.description}: {known.value}" for known in self.context)
        return [("system", about), *((message.role, message.content) for message in self.dialogue)]


class AguiApi(Controller):
    path = "/agui"
    include_in_schema = False  # AG-UI's own document describes it
    exception_handlers = WRONG_MESSAGES

    @post(
        "/{team:str}",
        status_code=HTTP_200_OK,
        media_type=sse.MEDIA_TYPE,
        request_max_body_size=BODY_LIMIT,
        opt={**STREAMING, **CHAT},
    )
    async def run(
        self,
        request: AnyRequest,
        team: FromPath[str],
        data: JSONBody[RunAgentInput],
        runner: NamedDependency[Runner],
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        person: NamedDependency[Person],
    ) -> Stream:
        """Runs a team in the conversation of the thread. The run goes on even if the caller leaves."""
        await found_team(runner, team, person, field="team", code="not_found")
        said = heard(data.said, runner.message_limit)
        started = await go_on(said, team, data, conversations, messages, runner, person)
        telling = Telling(data)
        admission = still_admitted(request, started.run_id)
        frames = translated(runner.journal, started.run_id, telling.tell, error_of, admission)
        return Stream(frames, media_type=sse.MEDIA_TYPE, headers=sse.HEADERS)


async def go_on(
    said: Heard,
    team: str,
    data: RunAgentInput,
    conversations: Conversations,
    messages: Messages,
    runner: Runner,
    person: Person,
) -> Started:
    """After the last reply that the client knows, or else at the end of the thread's conversation.

    What a client brings into a new thread is the beginning of its conversation.
    """
    conversation_id, is_known = await conversation_of(data.thread_id, conversations, person)
    parent_id = (await last_reply(data, conversation_id, messages) if is_known else None) or NIL
    await messages.session.close()
    if not is_known:
        row = conversation_row(conversation_id, "", team, now(), person.home_id)
        with suppress(IntegrityError):  # another first run of the thread was faster, or it was deleted
            await runner.journal.save({ADD_CONVERSATION: [row]})
    history = said.instructions if is_known else said.history
    return await runner.start(
        said.content,
        team,
        conversation_id,
        parent_id=parent_id,
        history=history,
        attended=False,
        reach=reach_to(person, write=True),
    )


async def conversation_of(thread_id: str, conversations: Conversations, person: Person) -> tuple[UUID, bool]:
    """A thread's conversation, and whether there is one yet. A thread's id is a conversation's, or the client's own,
    and then another one for each person."""
    with suppress(ValueError):
        if await conversations.find(UUID(thread_id)):
            return UUID(thread_id), True
    conversation_id = uuid5(THREADS if person.alone else uuid5(THREADS, str(person.id)), thread_id)
    return conversation_id, await conversations.find(conversation_id) is not None


async def last_reply(data: RunAgentInput, conversation_id: UUID, messages: Messages) -> UUID | None:
    """The last message from here that the client has. Its id begins with ours."""
    told = next((message.id for message in reversed(data.dialogue) if message.role == "assistant"), "")
    with suppress(ValueError):
        reply = UUID(told.partition(":")[0])
        return reply if await messages.is_in(conversation_id, reply) else None
    return None


@dataclass(slots=True)
class Turn:
    """What the client knows of an agent's turn. `message_id` is that of the message which is open or comes next."""

    message_id: str
    subagent: Json  # the field that says whose work it is, where it is a supporting agent's
    sent: Sent = field(default_factory=Sent)
    is_open: bool = False
    calls: list[str] = field(default_factory=list)  # those that wait for their answer


class Telling:
    """Our events in, AG-UI's out; where those have no word, a `CUSTOM` one carries ours."""

    def __init__(self, data: RunAgentInput) -> None:
        self._ids = {"threadId": data.thread_id, "runId": data.run_id}
        self._knows_subagents = data.protocol_version is not None  # they came with 1.0, and so did this field
        self._message_id = ""
        self._model = ""
        self._turns: dict[int, Turn] = {}
        self._step = ""
        self._error = Error(message="The run failed.", code="internal")

    def tell(self, event: Event) -> Iterator[Json]:
        for told in self._translate(event):
            if self._knows_subagents or "subagentRunId" not in told:
                yield {**told, "timestamp": int(event.at.timestamp() * 1000)}

    def _translate(self, event: Event) -> Iterator[Json]:
        match event:
            case Start():
                self._message_id, self._model = str(event.message_id), event.model
                yield {"type": "RUN_STARTED", **self._ids, "protocolVersion": VERSION}
                yield custom(event)
            case AgentStart() if turn := self._turns.get(event.turn):
                turn.sent.begin_again()
            case AgentStart():
                yield from self._begin(event)
            case AgentChunk():
                turn = self._turns[event.turn]
                yield from self._write(turn, *turn.sent.add(event.text))
            case AgentComplete():
                yield from self._end(event, self._turns[event.turn])
            case Interaction():
                yield from interaction(event, self._turns[event.turn])
            case Progress():
                yield from self._take_step(event.step or self._step)
                yield custom(event)
            case CodeChange():
                yield custom(event)
            case Error():
                self._error = event
            case Complete():
                yield from self._take_step("")
                yield self._ending(event)

    def _begin(self, event: AgentStart) -> Iterator[Json]:
        subagent = {"subagentRunId": f"{event.run_id}:{event.turn}"} if event.lane == "support" else {}
        self._turns[event.turn] = Turn(f"{self._message_id}:{event.turn}", subagent)
        if subagent:
            parent = self._turns[event.parent].subagent if event.parent in self._turns else {}
            yield {
                "type": "SUBAGENT_STARTED",
                **subagent,
                "name": event.agent or "agent",
                **({"description": event.task} if event.task else {}),
                **({"parentSubagentRunId": parent["subagentRunId"]} if parent else {}),
            }

    def _write(self, turn: Turn, text: str, anew: bool) -> Iterator[Json]:
        """A message cannot be emptied: one that a further attempt contradicts is marked, and another follows it."""
        if not text:
            return
        if anew:
            yield from close(turn, {"metadata": {"riverrun": VOID}})
            turn.message_id += "'"
        at = {"messageId": turn.message_id, **turn.subagent}
        if not turn.is_open:
            turn.is_open = True
            yield {"type": "TEXT_MESSAGE_START", "role": "assistant", **at}
        yield {"type": "TEXT_MESSAGE_CONTENT", "delta": text, **at}

    def _end(self, event: AgentComplete, turn: Turn) -> Iterator[Json]:
        yield from self._write(turn, *turn.sent.end())
        yield from close(turn)
        for call in turn.calls:
            yield result(turn, call, "There is no answer: the agent ended before it came.")
        if not turn.subagent:
            return
        match event.finish_reason:
            case "error":
                yield {"type": "SUBAGENT_ERROR", **turn.subagent, "message": "The agent failed.", "code": "error"}
            case "cancelled":
                yield {"type": "SUBAGENT_ERROR", **turn.subagent, "message": "Stopped.", "code": "cancelled"}
            case _:
                yield {"type": "SUBAGENT_FINISHED", **turn.subagent}

    def _take_step(self, step: str) -> Iterator[Json]:
        if step == self._step:
            return
        if self._step:
            yield {"type": "STEP_FINISHED", "stepName": self._step}
        if step:
            yield {"type": "STEP_STARTED", "stepName": step}
        self._step = step

    def _ending(self, event: Complete) -> Json:
        usage = {"usage": [usage_of(event.usage, self._model)]} if event.usage else {}
        if event.status == "failed":
            return {**error_of(self._error), **usage}
        if event.status == "cancelled":
            return {"type": "RUN_FINISHED", **self._ids, "outcome": {"type": "cancelled"}, **usage}
        reply = event.message.content
        return {"type": "RUN_FINISHED", **self._ids, "outcome": {"type": "success"}, "result": reply, **usage}


def interaction(event: Interaction, turn: Turn) -> Iterator[Json]:
    call = f"{event.run_id}:{event.call_id}"  # the client keeps the calls of all runs of a thread together
    match event.kind:
        case "thought":
            thought = {"messageId": f"{event.run_id}:{event.seq}", **turn.subagent}
            yield {"type": "REASONING_START", **thought}
            yield {"type": "REASONING_MESSAGE_START", "role": "reasoning", **thought}
            yield {"type": "REASONING_MESSAGE_CONTENT", "delta": event.content, **thought}
            yield {"type": "REASONING_MESSAGE_END", **thought}
            yield {"type": "REASONING_END", **thought}
        case "tool_call":
            turn.calls.append(call)
            at = {"toolCallId": call, **turn.subagent}
            name = event.tool_name or "tool"
            yield {"type": "TOOL_CALL_START", "toolCallName": name, "parentMessageId": turn.message_id, **at}
            yield {"type": "TOOL_CALL_ARGS", "delta": arguments_of(event), **at}
            yield {"type": "TOOL_CALL_END", **at}
        case "tool_response" if call in turn.calls:
            turn.calls.remove(call)
            yield result(turn, call, event.content)
        case _:
            yield {**custom(event), **turn.subagent}


def result(turn: Turn, call: str, content: str) -> Json:
    at = {"messageId": f"{call}:result", "toolCallId": call, **turn.subagent}
    return {"type": "TOOL_CALL_RESULT", "role": "tool", "content": content, **at}


def arguments_of(call: Interaction) -> str:
    if call.tool_arguments is None:
        return call.content
    return msgspec.json.encode(call.tool_arguments).decode()


def close(turn: Turn, extra: Json | None = None) -> Iterator[Json]:
    if turn.is_open:
        turn.is_open = False
        yield {"type": "TEXT_MESSAGE_END", "messageId": turn.message_id, **turn.subagent, **(extra or {})}


def custom(event: Event) -> Json:
    return {"type": "CUSTOM", "name": f"riverrun.{type_of(event)}", "value": msgspec.to_builtins(event)}


def usage_of(usage: Usage, model: str) -> Json:
    return {
        "model": model,
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
    }


def error_of(failure: Error | RiverrunError) -> Json:
    return {"type": "RUN_ERROR", "message": failure.message, "code": failure.code}
