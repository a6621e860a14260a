"""The Jinja environment: what templates can say beyond Jinja's own words."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, lru_cache
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..agents.events import (
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
from ..runs.view import RunView, Turn
from .highlight import highlight
from .markdown import MarkdownStream, render

SHOWN_LINES = 12  # of a long text in a step
SHOWN_CHARACTERS = 1_500
COLOURED = 10_000  # characters of what is behind "Show all"; 20 to 100 ms, and a page holds many

ROOT = Path(__file__).parent.parent
STATIC = ROOT / "static"


def to_html(name: str, **context: Any) -> str:
    return environment(STATIC).get_template(name).render(context)


@cache
def environment(static: Path) -> Environment:
    jinja = Environment(
        loader=FileSystemLoader(ROOT / "templates"),
        autoescape=True,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    jinja.globals |= {"static": address_in(static), "prose": prose, "now": now}
    jinja.filters |= {"gist": gist, "duration": duration, "as_json": as_json, "diff": diff}
    jinja.filters |= {"highlighted": highlighted, "markdown": markdown, "cut": cut, "counts": counts, "hunks": hunks}
    jinja.filters |= {"parts": parts, "coloured": coloured, "kind": kind, "about": about, "time_left": time_left}
    jinja.filters |= {"without_token": without_token}
    return jinja


def address_in(static: Path) -> Callable[[str], str]:
    @cache
    def address(path: str) -> str:
        """Where a file is served. The address changes with the file, so that no cache shows an old one."""
        return f"/static/{path}?v={sha256((static / path).read_bytes()).hexdigest()[:12]}"

    return address


def prose(run: RunView, turn: Turn) -> Markup:
    """The text of a turn. While it is open, what may still change stands in a tail."""
    if not turn.open:
        return Markup(finished_prose(turn.text))  # noqa: S704
    stream = MarkdownStream()
    stream.feed(turn.text)
    tail = f'<div class="tail" id="tail-{run.message_id}-{turn.number}">{stream.tail}</div>'
    return Markup(stream.finished + tail)  # noqa: S704


@lru_cache(maxsize=1000)
def finished_prose(text: str) -> str:
    return render(text)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def gist(text: str, length: int = 90) -> str:
    """The first words, on one line."""
    line = " ".join(text[: 4 * length].split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0] + "…"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def highlighted(text: str, path: str) -> Markup:
    """A file's content, by the ending of its name."""
    return Markup(highlight(text, path.rsplit(".", 1)[-1]))  # noqa: S704


def coloured(text: str, language: str) -> Markup:
    """As `highlighted`, but plain where that would hold up a page that shows many such texts."""
    return highlighted(text, language if len(text) <= COLOURED else "")


class Part(NamedTuple):
    """A text in a step; `language` is what it is highlighted as."""

    name: str
    text: str
    language: str


def parts(step: Interaction) -> list[Part]:
    """What a step holds: texts of several lines among a call's arguments stand by themselves, as the texts they are."""
    told: list[Part] = []
    if step.tool_arguments and step.kind != "retrieval":
        texts = {name: text for name, text in step.tool_arguments.items() if isinstance(text, str) and "\n" in text}
        rest = {name: value for name, value in step.tool_arguments.items() if name not in texts}
        if rest:
            told.append(Part("", as_json(rest), "json"))
        language = str(step.tool_arguments.get("path", "")).rsplit(".", 1)[-1]
        told += [Part(name, text, language) for name, text in texts.items()]
    if step.kind == "tool_response" and step.content.strip():
        told.append(Part("", step.content.strip(), "json" if is_json(step.content) else ""))
    return told


def is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


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
    """An event in a few words."""
    match event:
        case Start():
            return f"{event.team}, {event.model}"
        case AgentStart():
            return event.task or event.role or "begins"
        case AgentComplete():
            return f"{event.finish_reason or 'done'}, {duration(event.duration_ms / 1000)}"
        case Interaction(kind="tool_call"):
            return f"{event.tool_name} {as_json(event.tool_arguments or {})}"
        case Interaction(kind="tool_response"):
            return f"{event.tool_name}: {event.content}"
        case Interaction(kind="message"):
            return f"to {event.to_agent or 'the team'}: {event.content}"
        case Interaction():
            return event.content
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


def without_token(address: str) -> str:
    """An address as it may be shown: what stands before the `@` is a secret."""
    return re.sub(r"^(https?://)[^/@]*@", r"\1…@", address)


def time_left(progress: Progress) -> str:
    """As exactly as an estimate deserves; empty when there is none."""
    seconds = progress.metadata.get("seconds_left")
    if not isinstance(seconds, (int, float)) or seconds <= 0:
        return ""
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s left"
    return f"about {round(seconds / 60)} min left"


def markdown(text: str) -> Markup:
    return Markup(finished_prose(text))  # noqa: S704


def diff(text: str) -> Markup:
    return Markup(highlight(text, "diff"))  # noqa: S704
