"""Reads what a model's server sends: the lines of an event stream, or one JSON object.

Servers differ, so this takes every known way of putting it; only fields that are used are decoded.
"""

import re
from itertools import groupby
from typing import Any

import msgspec

from .events import UNREADABLE, Usage
from .exchange import Delta, Finished, Reasoning, Text, ToolCall
from .failures import Failure, Server, read_report
from .think import ThinkTags

LONGEST_LINE = 4 * 1024 * 1024
"""Bytes; more without a line break is no event stream."""

# Servers that count in UTF-16 may cut a character in two, which is no JSON. Group 1 is one that is whole.
HALF_CHARACTER = re.compile(
    rb"(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


class Part(msgspec.Struct, frozen=True):
    text: str = ""


class Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCallPart(msgspec.Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct, frozen=True):
    """A `delta` of a stream or the `message` of a whole reply."""

    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallPart] | None = None


class Choice(msgspec.Struct, frozen=True):
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None


class Count(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chunk(msgspec.Struct, frozen=True):
    choices: list[Choice] | None = None
    usage: Count | None = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode


class PendingCall:
    """A tool call whose arguments are still coming."""

    def __init__(self, index: int | None, call_id: str | None) -> None:
        self.index = index
        self.call_id = call_id
        self.name = ""
        self.arguments = ""

    def continued_by(self, part: ToolCallPart) -> bool:
        """Some servers leave out the index, some the id, and some give every call the index 0."""
        if part.id and self.call_id and part.id != self.call_id:
            return False
        if part.index is not None:
            return part.index == self.index
        if part.id:
            return part.id == self.call_id
        opens_another = part.function and part.function.name and is_json(self.arguments)
        return not opens_another

    def extend(self, part: ToolCallPart) -> None:
        self.call_id = self.call_id or part.id
        function = part.function or Function()
        self.name = self.name or function.name or ""
        match function.arguments:
            case str(text):
                self.arguments += text
            case dict(arguments):
                self.arguments += msgspec.json.encode(arguments).decode()

    def complete(self, number: int) -> ToolCall:
        return ToolCall(self.call_id or f"call_{number}", self.name, self.arguments or "{}")


def is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except UNREADABLE:
        return False
    return True


class Reply:
    """One reply as it comes in. `ended` when there is no more to read."""

    def __init__(self, server: Server) -> None:
        self.ended = False
        self._server = server
        self._opening = b""
        self._rest = b""
        self._tags = ThinkTags()
        self._event = b""
        self._heard = False
        self._said: list[Text | Reasoning] = []
        self._spoke = False
        self._calls: list[PendingCall] = []
        self._finish_reason: str | None = None
        self._usage: Usage | None = None
        self._failure: Failure | None = None

    def feed(self, data: bytes) -> list[Text | Reasoning]:
        """What these bytes of an event stream say, as few pieces as possible. No bytes: it has ended."""
        if not data:
            return self._feed_end()
        self._opening = self._opening or data
        lines = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST_LINE:
            self._fail(self._server.malformed(self._rest))
        for line in lines:
            if line.startswith(b"data:"):
                self._take_data(line[5:])
            elif line:
                self._take_other(line)
            if self.ended:
                break
        return self._deltas()

    def _feed_end(self) -> list[Text | Reasoning]:
        """The last line may lack its line break."""
        said = self.feed(b"\n") if self._rest else []
        self.ended = True
        return said

    def whole(self, body: bytes, broken: Failure | None = None) -> list[Delta]:
        """A reply that came as one JSON object."""
        if broken is None:
            self._take_data(body)
        return [*self._deltas(), *self.finish(broken)]

    @property
    def closing(self) -> bool:
        """All has been said, and only a count may follow."""
        return self._finish_reason is not None

    def finish(self, broken: Failure | None = None) -> list[Delta]:
        """The tool calls and the end. If the reply is not whole, raises why: `broken` if reading it failed.

        A reply that had its finish reason is whole, whatever became of the connection afterwards.
        """
        if self._finish_reason is None:
            raise broken or self._failure or self._ended_early()
        calls = [call.complete(number) for number, call in enumerate(self._calls, 1)]
        return [*self._tags.end(), *calls, Finished(self._finish_reason, self._usage)]

    def _take_other(self, line: bytes) -> None:
        if line.startswith(b"event:"):
            self._event = line[6:].strip()
        elif line.startswith((b"{", b"<")):  # not an event stream, or an error in the middle of one
            self._take_data(line)

    def _take_data(self, data: bytes) -> None:
        try:
            chunk = decode(data)
        except UNREADABLE:
            self._take_odd(data)
            return
        if chunk.error or self._event == b"error":
            self._fail(self._reported(data))
            return
        self._heard = self._heard or chunk.choices is not None
        if chunk.usage:
            self._usage = Usage(chunk.usage.prompt_tokens or 0, chunk.usage.completion_tokens or 0)
        if chunk.choices:
            choice = chunk.choices[0]
            if said := choice.delta or choice.message:
                self._take_said(said)
            if choice.finish_reason:
                self._finish_reason = choice.finish_reason

    def _take_odd(self, data: bytes) -> None:
        mended = HALF_CHARACTER.sub(lambda found: found[1] or b"\\ufffd", data)
        if data.strip() == b"[DONE]":
            self._done()
        elif mended != data:
            self._take_data(mended)
        else:
            self._fail(self._server.malformed(data))

    def _take_said(self, said: Said) -> None:
        if thought := said.reasoning_content or said.reasoning:
            self._said.append(Reasoning(thought))
        if content := said.content or said.refusal:
            text = content if isinstance(content, str) else "".join(part.text for part in content)
            self._said.extend(self._tags.feed(text))
        for part in said.tool_calls or ():
            self._take_call(part)

    def _take_call(self, part: ToolCallPart) -> None:
        call = next((call for call in reversed(self._calls) if call.continued_by(part)), None)
        if call is None:
            call = PendingCall(part.index, part.id)
            self._calls.append(call)
        call.extend(part)

    def _done(self) -> None:
        self.ended = True
        if self._spoke or self._said or self._calls:
            self._finish_reason = self._finish_reason or ("tool_calls" if self._calls else "stop")

    def _ended_early(self) -> Failure:
        return self._server.ended_early() if self._heard else self._server.malformed(self._opening)

    def _fail(self, failure: Failure) -> None:
        """Told by `finish`, so that what came before it is given first."""
        self.ended = True
        self._failure = failure

    def _reported(self, data: bytes) -> Failure:
        report = read_report(data)
        return self._server.report(report.status, report)

    def _deltas(self) -> list[Text | Reasoning]:
        said, self._said = self._said, []
        self._spoke = self._spoke or bool(said)
        if len(said) < 2:
            return said
        return [kind("".join(delta.text for delta in run)) for kind, run in groupby(said, type)]
