"""How a terminal, or a pipe, shows a run."""

import asyncio
import os
import re
import stat
import sys
from typing import IO, NamedTuple, Protocol, Self

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.markdown import Markdown
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .agents.events import Event, encode
from .client import Reply, Turn
from .plain import BUT_LINES, clean

FRAMES = 10  # a second
MOST_SHOWN = 6  # agents at work
BAR = 24  # columns


class Output(Protocol):
    """Used as a context."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, event: Event, reply: Reply) -> None:
        """`reply` has taken in the event."""

    def note(self, message: str) -> None:
        """Stands for the moment, until the next event."""

    def say(self, sentence: str) -> None:
        """Something that whoever asked must know, beside the answer."""

    def remark(self, text: str) -> None:
        """Something that is worth knowing for whoever sits there."""

    def make_room(self) -> None:
        """Draws nothing for now: somebody is asked something."""

    def go_on(self) -> None:
        """Draws again."""


def output(as_json: bool) -> Output:
    """A terminal shows Markdown as it grows; a pipe gets the answer's text or the events, and nothing else."""
    if can_draw(sys.stdout) and not as_json:
        return Screen()
    return Pipe(as_json)


def can_draw(stream: IO[str]) -> bool:
    return stream.isatty() and not Console(file=stream).is_dumb_terminal


class Pipe:
    """Plain text, or events as JSON lines, to stdout; where stderr alone is a terminal, it shows what happens."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._to_terminal = sys.stdout.isatty()
        self._to_file = is_file(sys.stdout)
        self._growth = Growth()
        self._written = ""  # last
        self._status = Status()
        self._err = Console(stderr=True)
        watched = can_draw(sys.stderr) and not self._to_terminal
        self._drawing = Drawing(self._err, self._status) if watched else None

    def __enter__(self) -> Self:
        if self._drawing:
            self._drawing.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawing:
            self._drawing.stop()
        if self._written and not self._written.endswith("\n"):
            self._write("\n")

    def show(self, event: Event, reply: Reply) -> None:
        self._status.update(reply)
        if self._as_json:
            self._write(BUT_LINES.sub(escaped, encode(event).decode()) + "\n")
            return
        piece = self._growth.take(reply)
        if piece.anew:
            self.say(ANEW)
        if piece.begins:
            self._write("\n\n")
        if piece.text:
            self._write(piece.text)

    def make_room(self) -> None:
        if self._drawing:
            self._drawing.stop()

    def go_on(self) -> None:
        if self._drawing:
            self._drawing.start()

    def _write(self, text: str) -> None:
        """To a file as the agent wrote it, to the byte. A pipe may lead to a terminal all the same."""
        shown = text if self._to_file else clean(text)
        sys.stdout.buffer.write(shown.encode(errors="replace"))
        sys.stdout.buffer.flush()
        self._written = text

    def note(self, message: str) -> None:
        self._status.message = message

    def say(self, sentence: str) -> None:
        self._err.print(Text(clean(sentence)), soft_wrap=True)

    def remark(self, text: str) -> None:
        if sys.stderr.isatty() and not self._as_json:
            self._err.print(Text(clean(text), "dim"), soft_wrap=True)


def is_file(stream: IO[str]) -> bool:
    return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


def escaped(found: re.Match[str]) -> str:
    """As JSON has it, where nothing is lost."""
    return f"\\u{ord(found[0]):04x}"


class Screen:
    """Markdown on a terminal. What is finished scrolls away as usual; what is open, and the work, is drawn below it."""

    def __init__(self) -> None:
        self._growth = Growth()
        self._open = ""  # source, from the first block that may still change
        self._printed = False
        self._status = Status()
        self._console = Console()
        self._drawing = Drawing(self._console, self)

    def __enter__(self) -> Self:
        self._drawing.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._drawing.stop()
        self._finish(len(self._open))

    def show(self, event: Event, reply: Reply) -> None:
        self._status.update(reply)
        piece = self._growth.take(reply)
        if piece.begins:
            self._finish(len(self._open))
        if piece.anew:
            self.say(ANEW)
        self._open += clean(piece.text)
        if "\n" in piece.text:
            self._finish(decided(self._open))

    def note(self, message: str) -> None:
        self._status.message = message

    def say(self, sentence: str) -> None:
        self._console.print(Text(clean(sentence), "yellow"))

    def remark(self, text: str) -> None:
        self._console.print()
        self._console.print(Text(clean(text), "dim"), soft_wrap=True)

    def make_room(self) -> None:
        self._drawing.stop()

    def go_on(self) -> None:
        self._drawing.start()

    def _finish(self, end: int) -> None:
        text, self._open = self._open[:end], self._open[end:]
        if text.strip():
            if self._printed:
                self._console.print()
            self._console.print(Prose(text))
            self._printed = True

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts: list[RenderableType] = []
        status = self._status.rows()
        if self._open.strip():
            room = max(1, console.height - len(status.rows) - 3)
            parts += [Text()] if self._printed else []
            parts += [Prose(self._open, room), Text()]
        yield Group(*parts, status)


class Drawing:
    """What is drawn anew again and again, from the loop itself: a thread would come between what is printed."""

    def __init__(self, console: Console, shown: RenderableType) -> None:
        self._live = Live(
            shown, console=console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

    def start(self) -> None:
        self._live.start()
        self._redrawing = asyncio.create_task(self._redraw())

    async def _redraw(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(1 / FRAMES)

    def stop(self) -> None:
        self._redrawing.cancel()
        self._live.stop()


PARSER = MarkdownIt().enable("strikethrough").enable("table")  # as rich's


def decided(text: str) -> int:
    """Where the last block begins: those before it stay as they are, whatever follows. Only whole lines count."""
    whole = text[: text.rfind("\n") + 1]
    starts = [token.map[0] for token in PARSER.parse(whole) if token.level == 0 and token.map]
    return sum(len(line) + 1 for line in whole.split("\n")[: starts[-1]]) if starts else 0


class Prose:
    """Markdown without the blank lines around it; of more lines than there is room for, the last."""

    def __init__(self, text: str, room: int | None = None) -> None:
        # Addresses are shown, as a terminal's hidden links could lead anywhere.
        self._shown = Markdown(text, hyperlinks=False)
        self._room = room

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = console.render_lines(self._shown, options, pad=False)
        while lines and is_blank(lines[0]):
            lines.pop(0)
        while lines and is_blank(lines[-1]):
            lines.pop()
        for line in lines[-self._room :] if self._room else lines:
            # By its code, as Markdown has it too, any character can come, and Markdown is read after it was cleaned.
            yield from (Segment(clean(text), style, control) for text, style, control in line)
            yield Segment.line()


def is_blank(line: list[Segment]) -> bool:
    return not any(segment.text.strip() or (segment.style and segment.style.bgcolor) for segment in line)


class Status:
    """What happens: the latest step, how far it is, and who is at work."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots")
        self.message = "Asking"
        self._fraction: float | None = None
        self._agents: list[str] = []

    def update(self, reply: Reply) -> None:
        if reply.progress:
            self.message, self._fraction = reply.progress.message, reply.progress.fraction
        self._agents = [f"{turn.agent}: {doing(turn)}" for turn in reply.active]

    def rows(self) -> Table:
        table = Table.grid(padding=(0, 1))
        if self._fraction is None:
            table.add_row(self._spinner, one_line(self.message))
        else:
            bar = ProgressBar(1.0, self._fraction, BAR)
            table.add_row(self._spinner, one_line(self.message), bar, f"{self._fraction:.0%}")
        for agent in self._agents[:MOST_SHOWN]:
            table.add_row("", one_line(agent, "dim"))
        return table

    def __rich__(self) -> Table:
        return self.rows()


def doing(turn: Turn) -> str:
    if turn.calls:
        return f"calling {next(iter(turn.calls.values()))}"
    return "writing" if turn.text else "thinking"


def one_line(text: str, style: str = "") -> Text:
    return Text(" ".join(clean(text).split()), style, no_wrap=True, overflow="ellipsis")


ANEW = "The server restarted and began this reply anew: what stands above is void."


class Piece(NamedTuple):
    """What is to be written next. `begins`: it is another text than before, which is void if it comes `anew`."""

    text: str
    begins: bool = False
    anew: bool = False


class Growth:
    """The answer, where it can only be appended to."""

    def __init__(self) -> None:
        self._turn: int | None = None
        self._written = ""

    def take(self, reply: Reply) -> Piece:
        turn, text = reply.answer, reply.text
        if turn is None or not text:
            return Piece("")
        if turn.number != self._turn:
            begins, self._turn, self._written = self._turn is not None, turn.number, text
            return Piece(text, begins)
        if text.startswith(self._written):
            known, self._written = len(self._written), text
            return Piece(text[known:])
        if self._written.startswith(text) and turn.open:
            return Piece("")  # begun again after a crash, and so far it comes to the same
        self._written = text
        return Piece(text, begins=True, anew=True)
