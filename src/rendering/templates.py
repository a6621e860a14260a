"""The Jinja environment: what templates can say beyond Jinja's own words."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ..accounts.person import asking, reading
from ..agents.events import Progress
from ..runs.view import RunView, Turn
from . import people
from .dialect import SHOWN_HOSTS
from .highlight import highlight
from .lately import lately
from .markdown import render
from .steps import about, answer, arguments, as_sent, counts, cut, duration, gist, hunks, in_short, kind, passages

AGES = 1e9  # seconds, of which nobody needs to be told
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
    jinja.globals |= {
        "static": address_in(static),
        "prose": prose,
        "now": now,
        "person": asking.get,
        "reading": reading.get,
    }
    jinja.filters |= {"duration": duration, "time_left": time_left, "gist": gist, "markdown": markdown}
    jinja.filters |= {"highlighted": highlighted, "coloured": coloured, "diff": diff}
    jinja.filters |= {"about": about, "answer": answer, "arguments": arguments, "counts": counts, "cut": cut}
    jinja.filters |= {"as_sent": as_sent}
    jinja.filters |= {"hunks": hunks, "in_short": in_short, "kind": kind, "passages": passages}
    jinja.filters |= {"browser": people.browser, "deed": people.deed, "who": people.who}
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
        return Markup(whole_prose(run.message_id, turn.number, turn.text))  # noqa: S704
    stream = lately.stream(run.message_id, turn.number, turn.text)
    tail = f'<div class="tail" id="tail-{run.message_id}-{turn.number}">{stream.tail}</div>'
    return Markup(stream.finished + tail)  # noqa: S704


whole_prose = lru_cache(maxsize=1000)(lately.whole)


def show_images_of(hosts: Iterable[str]) -> None:
    """Which hosts' images pages load by themselves, in this process. The policy of the pages has to allow it, too."""
    SHOWN_HOSTS.clear()
    SHOWN_HOSTS.update(hosts)
    finished_prose.cache_clear()
    whole_prose.cache_clear()


@lru_cache(maxsize=1000)
def finished_prose(text: str) -> str:
    return render(text)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def highlighted(text: str, path: str) -> Markup:
    """A file's content, by the ending of its name."""
    return Markup(highlight(text, path.rsplit(".", 1)[-1]))  # noqa: S704


def coloured(text: str, language: str) -> Markup:
    """As `highlighted`, but plain where that would hold up a page that shows many such texts."""
    return highlighted(text, language if len(text) <= COLOURED else "")


def time_left(progress: Progress) -> str:
    """As exactly as an estimate deserves; empty when there is none."""
    seconds = progress.metadata.get("seconds_left")
    if not isinstance(seconds, (int, float)) or not 0 < seconds < AGES:
        return ""
    if seconds < 90:
        return f"about {max(5, round(seconds / 5) * 5)} s left"
    return f"about {round(seconds / 60)} min left"


def markdown(text: str) -> Markup:
    return Markup(finished_prose(text))  # noqa: S704


def diff(text: str) -> Markup:
    return Markup(highlight(text, "diff"))  # noqa: S704
