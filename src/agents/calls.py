"""The calls that a model makes in one answer: all at once, told as they end, and those that need it with consent."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec

from .consent import UNATTENDED, Consent
from .events import APPROVAL, SAID, UNREADABLE, Asked, CodeChange, Decided, Event, Interaction, Progress, is_deep
from .exchange import ToolCall
from .merging import Tell, merged
from .past import Waiting
from .tools import Answer, Origin, Tool, named, use


class Calls:
    """Of one turn. They are told under ids of our own: many servers begin with the same ones in every round."""

    def __init__(self, agent: str, turn: int, tools: Sequence[Tool], consent: Consent) -> None:
        self._agent = agent
        self._turn = turn
        self._tools = tools
        self._consent = consent

    async def made(self, calls: Mapping[str, ToolCall], answers: dict[str, Answer]) -> AsyncGenerator[Event, None]:
        """Fills `answers`, by the ids of `calls`."""
        for call_id, call in calls.items():
            arguments = arguments_of(call)
            yield Interaction(
                agent=self._agent,
                turn=self._turn,
                kind="tool_call",
                content=printable(call.arguments) if arguments is None else "",
                tool_name=call.name,
                tool_arguments=arguments,
                call_id=call_id,
            )
        works = [partial(self._make, call_id, call, answers) for call_id, call in calls.items()]
        async with aclosing(merged(works)) as events:
            async for event in events:
                yield event

    async def waited_for(self, waiting: Sequence[Waiting], answers: dict[str, Answer]) -> AsyncGenerator[Event, None]:
        """The same for calls that waited for a person when their run was interrupted: that was told already."""
        works = [partial(self._ask_again, one, answers) for one in waiting]
        async with aclosing(merged(works)) as events:
            async for event in events:
                yield event

    async def _make(self, call_id: str, call: ToolCall, answers: dict[str, Answer], tell: Tell) -> None:
        tool = named(self._tools, call.name)
        if tool is None or tool.origin is None or not tool.takes(call.arguments):
            answer = await use(self._tools, call)
        elif arguments_of(call) is None:
            answer = Answer("These arguments cannot be shown to anybody, so nothing was done.", failed=True)
        elif await self._consent.given(tool.origin):
            answer = await tool.use(call.arguments)
        elif not self._consent.attended:
            answer = Answer(UNATTENDED, failed=True)
        else:
            asked = Asked(call_id, self._turn, tool.origin.server, tool.origin.tool, shown(call), self._consent.until)
            await tell(self._asking(asked))
            answer = await self._with_consent(asked, tool, tell)
        answers[call_id] = answer
        await self._answer(call_id, call.name, answer, tell)

    async def _ask_again(self, waiting: Waiting, answers: dict[str, Answer], tell: Tell) -> None:
        await tell(waiting.told)  # it bears its number: nobody is told again, but whoever counts the time knows
        asked, name = waiting.asked, waiting.call.tool_name or ""
        tool = named(self._tools, name)
        if tool is None or tool.origin != Origin(asked.server, asked.tool):
            answer = Answer(f"The tool {name} is not there any more; nothing was done.", failed=True)
        else:
            answer = await self._with_consent(asked, tool, tell)
        answers[asked.call_id] = answer
        await self._answer(asked.call_id, name, answer, tell)

    async def _with_consent(self, asked: Asked, tool: Tool, tell: Tell) -> Answer:
        """What was decided is in the log before the tool is called, and the tool is given what the person saw."""
        verdict = await self._consent.verdict(asked)
        await tell(self._progress(SAID[verdict.decision], asked, verdict.told_of(asked)))
        await self._consent.recorded(asked)
        if verdict.refusal:
            return Answer(verdict.refusal, failed=True)
        return await tool.use(json.dumps(asked.input))

    def _asking(self, asked: Asked) -> Progress:
        return self._progress("Waiting for you", asked, asked)

    def _progress(self, said: str, asked: Asked, told: Asked | Decided) -> Progress:
        """Its fraction is the run's, whatever that is."""
        return Progress(
            agent=self._agent,
            fraction=0.0,
            step=APPROVAL,
            message=f"{said}: {asked.tool} of {asked.server}",
            metadata=msgspec.to_builtins(told),
        )

    async def _answer(self, call_id: str, name: str, answer: Answer, tell: Tell) -> None:
        await tell(
            Interaction(
                agent=self._agent,
                turn=self._turn,
                kind="tool_response",
                content=printable(answer.content),
                tool_name=name,
                call_id=call_id,
            )
        )
        for event in answer.told:
            await tell(self._signed(event))

    def _signed(self, event: CodeChange | Interaction) -> Event:
        if isinstance(event, Interaction):
            return msgspec.structs.replace(event, agent=self._agent, turn=self._turn)
        return msgspec.structs.replace(event, agent=self._agent)


def shown(call: ToolCall) -> dict[str, Any]:
    """The arguments as a person is shown them, which are those that will be sent."""
    arguments: dict[str, Any] = json.loads(msgspec.json.encode(arguments_of(call)))
    return arguments


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """As far as they are an object that an event can hold."""
    try:
        arguments = msgspec.json.decode(printable(call.arguments), type=dict[str, Any])
    except UNREADABLE:
        return None
    return None if is_deep(arguments) else arguments


def printable(text: str) -> str:
    """Without what no database and no page can hold: NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
