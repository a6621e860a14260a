"""What agents did beside writing, as a page tells it: in a line, and in full."""

import json
import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple
from unicodedata import category

from ..agents.events import (
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
    type_of,
)

SHOWN_LINES = 12  # of a long text in a step
SHOWN_CHARACTERS = 1_500
ARGUMENT = 50  # characters of an argument where a call is told in a line
PASSAGE = re.compile(r"/p/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/passages/[0-9]{1,19}")
TEXTS = ("content", "old", "new")  # arguments that are texts, even of one line


class Part(NamedTuple):
    """A text in a step; `language` is what it is highlighted as."""

    name: str
    text: str
    language: str


class Found(NamedTuple):
    """A passage as it is listed. `address` is empty if it leads away from here."""

    name: str
    address: str
    text: str


def arguments(call: Interaction) -> list[Part]:
    """A call's arguments as JSON; but texts stand by themselves, as the texts they are."""
    given = call.tool_arguments or {}
    texts = {name: text for name, text in given.items() if isinstance(text, str) and (name in TEXTS or "\n" in text)}
    rest = {name: value for name, value in given.items() if name not in texts}
    told = [Part("", as_json(rest), "json")] if rest else []
    return told + [Part(name, text, language_of(call)) for name, text in texts.items() if text]


def answer(step: Interaction, call: Interaction | None = None) -> list[Part]:
    """What a tool answered; what it read of a file is highlighted as that file."""
    content = step.content.strip()
    if not content:
        return []
    data = data_of(content)
    if data is None:
        return [Part("", content, language_of(call) if call else "")]
    return [Part("", content if "\n" in content else as_json(data), "json")]


def language_of(call: Interaction) -> str:
    path = (call.tool_arguments or {}).get("path")
    return path.rpartition(".")[2] if isinstance(path, str) and "." in path else ""


def data_of(text: str) -> Any:
    """None: it is no JSON object or array."""
    if not text.startswith(("{", "[")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def passages(step: Interaction) -> list[Found] | None:
    """What a search found; None for a step that does not tell it."""
    listed = (step.tool_arguments or {}).get("passages") if step.kind == "retrieval" else None
    if not isinstance(listed, list):
        return None
    return [found(passage) for passage in listed if isinstance(passage, dict)]


def found(passage: dict[str, Any]) -> Found:
    document, heading, address, text = (
        str(passage.get(name) or "") for name in ("document", "heading", "address", "text")
    )
    name = f"{document} › {heading}" if heading else document
    return Found(name, address if PASSAGE.fullmatch(address) else "", text)


class Cut(NamedTuple):
    """`lines`: of the whole."""

    shown: str
    rest: str
    lines: int


def cut(text: str) -> Cut:
    """What is shown of a long text at once, and what only when it is asked for. Lines stay whole if that can be."""
    lines = text.splitlines(keepends=True)
    ends = list(accumulate(map(len, lines[:SHOWN_LINES])))
    end = max((end for end in ends if end <= SHOWN_CHARACTERS), default=SHOWN_CHARACTERS)
    rest = text[end:]
    if len(rest) < SHOWN_CHARACTERS / 4 and rest.count("\n") < SHOWN_LINES / 4:
        return Cut(text, "", len(lines))  # not worth a click
    return Cut(text[:end].removesuffix("\n"), rest, len(lines))


def hunks(diff: str) -> str:
    """A diff without the two lines that name the files, which are told above it."""
    lines = diff.strip("\n").split("\n")
    headed = len(lines) > 1 and lines[0].startswith("--- ") and lines[1].startswith("+++ ")
    return "\n".join(lines[2:] if headed else lines)


def counts(hunks: str) -> tuple[int, int]:
    """Lines that were added, and that were taken away."""
    lines = hunks.split("\n")
    return sum(line.startswith("+") for line in lines), sum(line.startswith("-") for line in lines)


def kind(event: Event) -> str:
    """What an event is called where all are listed."""
    return event.kind.replace("_", " ") if isinstance(event, Interaction) else type_of(event).replace("_", " ")


def about(event: Event) -> str:
    """An event in a line."""
    match event:
        case Start():
            return f"{event.team}, {event.model}"
        case AgentStart():
            return event.task or event.role or "begins"
        case AgentComplete():
            return f"{event.finish_reason or 'done'}, {duration(event.duration_ms / 1000)}"
        case AgentChunk():
            return event.text
        case Interaction(kind="tool_call" | "tool_response"):
            return ": ".join(filter(None, (event.tool_name, in_short(event)))) or "a tool"
        case Interaction(kind="message", agent=None):
            return f"You added: {in_short(event)}"
        case Interaction(kind="message"):
            return f"to {event.to_agent or 'the team'}: {in_short(event)}"
        case Interaction():
            return in_short(event)
        case Progress():
            return f"{round(event.fraction * 100)} % {event.message or event.step}"
        case CodeChange():
            return f"{event.change} {event.path}"
        case Error():
            return event.message
        case Complete():
            return event.status
        case _:
            return ""


def in_short(step: Interaction) -> str:
    """A step in a line, beside its kind."""
    listed = passages(step)
    if listed is not None:
        return f"“{gist(step.content, 60)}”: {counted(listed, 'passage')}"
    if step.kind == "tool_call" and step.tool_arguments:
        values = {name: gist(value_of(argument), ARGUMENT) for name, argument in step.tool_arguments.items()}
        alone = len(values) == 1
        return gist(", ".join(value if alone else f"{name}: {value}" for name, value in values.items()))
    return gist(step.content)


def value_of(argument: Any) -> str:
    return argument if isinstance(argument, str) else json.dumps(argument, ensure_ascii=False)


def counted(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def gist(text: str, length: int = 90) -> str:
    """The first words, on one line."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + "…"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def as_sent(arguments: dict[str, Any]) -> str:
    """All of what a tool will be given. What cannot be seen, or changes what is seen beside it, is told by its code."""
    return "".join(
        character if character in "\n " or category(character)[0] not in "CZ" else escaped(character)
        for character in as_json(arguments)
    )


def escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if character.isascii() else json.dumps(character)[1:-1]


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
