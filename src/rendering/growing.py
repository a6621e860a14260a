"""A reply for a page without scripts: HTML that is only ever appended, while the run goes.

What is still open stands as a draft, which the stylesheet hides as soon as something follows it.
"""

import re
from collections.abc import Iterator, Sequence
from html import escape

from ..agents.events import AgentChunk, AgentComplete, AgentStart, CodeChange, Complete, Event, Interaction
from ..runs.view import RunView
from .markdown import MarkdownStream
from .templates import to_html

TAG = re.compile(r"<[^>]*>")
NOTHING = "<span hidden></span>"  # what follows a draft of which nothing remains


class Growing:
    """`opening`, then `apply` for all events of the run, from the first on; the last closes what is open."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self._texts: dict[int, MarkdownStream] = {}
        self._spoken: set[int] = set()
        self._turn: int | None = None  # whose text is open at the end of the page
        self._drafting = False
        self._asking: set[int] = set()  # calls that wait for a person, by seq

    @property
    def opening(self) -> str:
        return f'<div class="run">{self._part("badge")}'

    def apply(self, events: Sequence[Event]) -> str:
        told = "".join(piece for event in gathered(events) for piece in self._tell(event))
        return told + self._ask()

    def _tell(self, event: Event) -> Iterator[str]:
        self.view.apply(event)
        match event:
            case AgentStart() if self._turn == event.turn:  # a further attempt, and what stands there is void
                self._texts[event.turn] = MarkdownStream()
                yield self._begin_version(event.turn)
            case AgentStart():
                yield self._leave()
                self._texts[event.turn] = MarkdownStream()
            case AgentChunk() if self.view.turns[event.turn].lane == "support":
                pass  # agents that write side by side cannot grow at one end of a page: each is shown when it is done
            case AgentComplete() if self.view.turns[event.turn].lane == "support":
                yield self._leave()
                yield to_html("runs/_turn.html", run=self.view, turn=self.view.turns[event.turn])
            case AgentChunk():
                yield self._enter(event.turn)
                yield self._write(event.turn, event.text)
            case AgentComplete():
                if event.content and event.turn not in self._spoken:
                    yield self._enter(event.turn)
                    yield self._write(event.turn, event.content)
                yield self._leave()
            case Interaction() if self._is_shown_later(event):
                pass
            case Interaction():
                yield self._leave()
                yield to_html("runs/_step.html", run=self.view, turn=self.view.turns[event.turn], step=event)
            case CodeChange():
                yield self._leave()
                yield to_html("runs/_change.html", run=self.view, change=event)
            case Complete():
                yield self._leave()
                yield "".join(map(self._part, ("notice", "stepper", "activity", "foot"))) + "</div>"

    def _ask(self) -> str:
        """What waits for a person now; the stylesheet hides what waited before."""
        waiting = {asking.call.seq for asking in self.view.asking}
        if waiting == self._asking or not self.view.running:
            return ""
        self._asking = waiting
        return self._leave() + self._part("approvals")

    def _is_shown_later(self, event: Interaction) -> bool:
        turn = self.view.turns[event.turn]
        return turn.lane == "support" and turn.open

    def _enter(self, number: int) -> str:
        """Goes on with a turn's text, which may be another one's than before."""
        if self._turn == number:
            return ""
        left = self._leave()
        self._turn = number
        self._spoken.add(number)
        agent = escape(self.view.turns[number].agent)
        head = f'<p class="turn__head">{agent}</p>' if len(self.view.turns) > 1 else ""
        return f'{left}<section class="turn">{head}<div class="prose version">{self._open_draft(number)}'

    def _leave(self) -> str:
        """Whatever the turn says after this stands elsewhere, and is a text of its own here."""
        if self._turn is None:
            return ""
        number, self._turn = self._turn, None
        tail, self._texts[number] = self._texts[number].tail, MarkdownStream()
        return f"{self._close_draft()}{tail or NOTHING}</div></section>"

    def _write(self, number: int, text: str) -> str:
        patch = self._texts[number].feed(text)
        if patch.reset:
            return self._begin_version(number, patch.append)
        if patch.append:
            return self._close_draft() + patch.append + self._open_draft(number)
        return escape(text, quote=False) if self._texts[number].tail else ""

    def _begin_version(self, number: int, text: str = "") -> str:
        """Takes the place of what was written before, which the stylesheet hides."""
        return f'{self._close_draft()}</div><div class="prose version">{text}{self._open_draft(number)}'

    def _open_draft(self, number: int) -> str:
        self._drafting = True
        return f'<p class="draft">{TAG.sub("", self._texts[number].tail).strip()}'

    def _close_draft(self) -> str:
        was, self._drafting = self._drafting, False
        return "</p>" if was else ""

    def _part(self, name: str) -> str:
        return to_html(f"runs/_{name}.html", run=self.view)


def gathered(events: Sequence[Event]) -> Iterator[Event]:
    """Adjacent chunks of one turn as one, so that a page that comes late gets no burst; without those that are void."""
    begun = {event.turn: event.seq for event in events if isinstance(event, AgentStart)}
    chunks: list[AgentChunk] = []
    for event in events:
        if isinstance(event, AgentChunk) and event.seq < begun.get(event.turn, 0):
            continue
        if isinstance(event, AgentChunk) and (not chunks or chunks[-1].turn == event.turn):
            chunks.append(event)
            continue
        if chunks:
            yield joined(chunks)
            chunks = []
        if isinstance(event, AgentChunk):
            chunks.append(event)
        else:
            yield event
    if chunks:
        yield joined(chunks)


def joined(chunks: list[AgentChunk]) -> AgentChunk:
    first = chunks[0]
    return AgentChunk(
        seq=chunks[-1].seq,
        run_id=first.run_id,
        at=first.at,
        agent=first.agent,
        turn=first.turn,
        text="".join(chunk.text for chunk in chunks),
        offset=first.offset,
    )
