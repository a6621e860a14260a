"""The Jinja environment: what templates can say beyond Jinja's own words."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..runs.view import RunView, Turn
from .highlight import highlight
from .markdown import MarkdownStream, render

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
    jinja.filters |= {"highlighted": highlighted, "markdown": markdown}
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


def markdown(text: str) -> Markup:
    return Markup(finished_prose(text))  # noqa: S704


def diff(text: str) -> Markup:
    return Markup(highlight(text, "diff"))  # noqa: S704
