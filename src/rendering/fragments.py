"""From a run's events to what an open page has to change: one `match`, event to `<hx-partial>`s.

A partial says where; the template that it includes says what, and is the one that a fresh page includes. So
the page before plus these fragments equals the page after, as `runs/_body.html` renders it.
"""

from collections.abc import Iterable, Iterator

from ..agents.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    CodeChange,
    Complete,
    Decided,
    Error,
    Event,
    Interaction,
    Progress,
    Start,
    approval_in,
)
from ..runs.view import RunView, Turn
from .lately import lately
from .markdown import MarkdownStream, Patch
from .templates import prose, to_html

# Parts of the body that are small and simply replaced, at most once a frame.
BADGE, STEPPER, PROGRESS, NOTICE, FOOT = REGIONS = ("badge", "stepper", "progress", "notice", "foot")
ENDINGS = {
    "complete": "The reply is complete.",
    "cancelled": "The reply was stopped.",
    "failed": "The reply failed.",
}


class Shown:
    """How much of a turn's text the page has, and what is still open in it."""

    def __init__(self, markdown: MarkdownStream | None = None, length: int = 0) -> None:
        self.markdown = markdown or MarkdownStream()
        self.length = length

    async def add(self, text: str) -> Patch:
        self.length += len(text)
        return await self.markdown.follow(text)


class Fragments:
    """What one open page is told of a run. `view` is what that page shows, and belongs to this from now on."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self._texts = {
            turn.number: Shown(lately.stream(view.message_id, turn.number, turn.text), len(turn.text))
            for turn in view.turns.values()
            if turn.open
        }
        self._states = {turn.number: turn.doing for turn in view.turns.values()}
        self._asking = {asking.call.seq for asking in view.asking}

    async def apply(self, events: Iterable[Event]) -> str:
        """Partials for events that come together: the text of a turn as one change, every region once."""
        changes: list[str] = []
        stale: set[str] = set()
        fresh: dict[int, list[str]] = {}
        entries: list[str] = []
        news = ""
        for event in events:
            self.view.apply(event)
            if not isinstance(event, AgentChunk):
                entries.append(to_html("runs/_entry.html", run=self.view, event=event))
            match event:
                case Start():
                    stale |= {BADGE, FOOT}
                case AgentStart():
                    fresh.pop(event.turn, None)
                    changes.append(self._begin(event))
                    stale.add(BADGE)
                    news = f"{event.agent} is thinking."
                case AgentChunk():
                    fresh.setdefault(event.turn, []).append(event.text)
                case AgentComplete():
                    turn = self.view.turns[event.turn]
                    if turn.lane == "support":
                        fresh.pop(event.turn, None)
                        changes.append(self._fold(turn))
                    else:
                        if event.turn in fresh:
                            changes.append(await self._write(event.turn, fresh.pop(event.turn)))
                        changes.append(self._close(turn))
                    stale.add(BADGE)
                case Interaction():
                    changes.append(self._step(event))
                    if event.message_id:
                        changes.append(self._take_in(event))
                case Progress():
                    stale |= {STEPPER, PROGRESS}
                    news = event.message or news
                    if isinstance(approval := approval_in(event), Decided):
                        changes.append(self._decide(approval))
                case CodeChange():
                    changes.append(self._change(event))
                case Error():
                    stale.add(NOTICE)
                case Complete():
                    stale |= set(REGIONS)
                    changes.append(self._end())
                    news = ENDINGS[event.status]
        for number, pieces in fresh.items():
            changes.append(await self._write(number, pieces))
        for turn in self._changed():
            changes.append(self._head(turn))
            stale.add(BADGE)
            if turn.state in ("calling", "writing"):
                news = f"{turn.agent} is {turn.doing}."
        changes.extend(self._ask())
        if entries:
            changes.append(self._put("log", "beforeend", "".join(entries)))
            changes.append(self._put("count", "innerHTML", str(len(self.view.activity))))
        changes.extend(self._replace(region) for region in REGIONS if region in stale)
        if news:
            changes.append(announce(news))
        return "".join(changes)

    def snapshot(self) -> str:
        """Replaces everything that the page shows of this run."""
        body = self._put("body", "outerHTML", to_html("runs/_body.html", run=self.view))
        heard = "".join(map(self._take_in, self.view.heard))
        return heard + body + ("" if self.view.running else self._end())

    def keep(self) -> None:
        """For whoever looks at this run next. To be called when nothing is being applied any more."""
        for number, shown in self._texts.items():
            text = self.view.turns[number].text
            if shown.length == len(text):
                lately.keep(self.view.message_id, number, text, shown.markdown)

    def _begin(self, event: AgentStart) -> str:
        """A new turn, or a further attempt at one, which takes the place of what was written before."""
        self._texts[event.turn] = Shown()
        turn = self.view.turns[event.turn]
        self._states[event.turn] = turn.doing
        html = to_html("runs/_turn.html", run=self.view, turn=turn)
        if event.attempt > 1:
            return self._put(f"turn-{event.turn}", "outerHTML", html)
        return self._put("turns", "beforeend", html)

    def _changed(self) -> list[Turn]:
        """The turns that do something else than the page says."""
        changed = [turn for turn in self.view.turns.values() if turn.doing != self._states[turn.number]]
        self._states |= {turn.number: turn.doing for turn in changed}
        return changed

    def _decide(self, decided: Decided) -> str:
        turn = self.view.turns[decided.turn]
        call = next((seq for seq, known in turn.decided.items() if known == decided), None)
        return "" if call is None else self._put(f"verdict-{call}", "innerHTML", self._verdict(decided))

    def _verdict(self, decided: Decided) -> str:
        return to_html("runs/_verdict.html", decided=decided)

    def _ask(self) -> Iterator[str]:
        """What began, and what ceased, to wait for a person."""
        waiting = {asking.call.seq: asking for asking in self.view.asking}
        for seq in self._asking - waiting.keys():
            yield self._put(f"approval-{seq}", "delete", "")
        for seq in waiting.keys() - self._asking:
            html = to_html("runs/_approval.html", run=self.view, asking=waiting[seq])
            yield self._put("approvals", "beforeend", html)
        self._asking = set(waiting)

    def _head(self, turn: Turn) -> str:
        html = to_html("runs/_turn_head.html", run=self.view, turn=turn)
        return self._put(f"head-{turn.number}", "outerHTML", html)

    async def _write(self, number: int, pieces: list[str]) -> str:
        patch = await self._texts[number].add("".join(pieces))
        tail = f"tail-{number}"
        if patch.reset:
            text = patch.append + f'<div class="tail" id="{self._id(tail)}">{patch.tail}</div>'
            return self._put(f"text-{number}", "innerHTML", text)
        changes = self._put(tail, "beforebegin", patch.append) if patch.append else ""
        if patch.tail is not None:
            return changes + self._put(tail, "innerHTML", patch.tail)
        if patch.grow:
            return changes + self._put(tail, "beforeend", patch.grow, " > figure:last-child > pre > code")
        return changes

    def _fold(self, turn: Turn) -> str:
        """A supporting agent that is done folds to a line, which can be opened."""
        self._texts.pop(turn.number, None)
        self._states[turn.number] = turn.doing
        return self._put(f"turn-{turn.number}", "outerHTML", to_html("runs/_turn.html", run=self.view, turn=turn))

    def _close(self, turn: Turn) -> str:
        """The tail gives way to its blocks; text that did not come in chunks comes now."""
        shown = self._texts.pop(turn.number)
        if shown.length != len(turn.text):
            return self._put(f"text-{turn.number}", "innerHTML", prose(self.view, turn))
        return self._put(f"tail-{turn.number}", "outerHTML", shown.markdown.tail)

    def _step(self, event: Interaction) -> str:
        """An answer goes to its call, anything else to the end of the steps."""
        turn = self.view.turns[event.turn]
        call = turn.call_of(event)
        if call:
            told = to_html("runs/_answer.html", step=event, call=call)
            short = self._put(f"said-{call.seq}", "innerHTML", to_html("runs/_said.html", step=event))
            return short + self._put(f"answer-{call.seq}", "innerHTML", told)
        html = to_html("runs/_step.html", run=self.view, turn=turn, step=event)
        return self._put(f"steps-{event.turn}", "beforeend", html)

    def _take_in(self, said: Interaction) -> str:
        """What a person added stands above the reply from now on, and waits no more."""
        if self.view.replayed:
            return ""
        message = {"id": said.message_id, "content": said.content}
        bubble = to_html("messages/_user.html", message=message, branches=())
        return self._put("message", "beforebegin", bubble) + partial(f"#waiting-{said.message_id}", "delete", "")

    def _change(self, event: CodeChange) -> str:
        return self._put("changes", "beforeend", to_html("runs/_change.html", run=self.view, change=event))

    def _replace(self, region: str) -> str:
        return self._put(region, "outerHTML", to_html(f"runs/_{region}.html", run=self.view))

    def _end(self) -> str:
        acts = to_html("messages/_acts.html", running=False)
        ended = self._put("stream", "delete", "")
        return ended if self.view.replayed else ended + partial("#composer-acts", "outerHTML", acts)

    def _put(self, name: str, swap: str, html: str, within: str = "") -> str:
        return partial(f"#{self._id(name)}{within}", swap, html)

    def _id(self, name: str) -> str:
        """`tail-2` of the message m has the id `tail-m-2`."""
        head, _, number = name.partition("-")
        return f"{head}-{self.view.message_id}" + (f"-{number}" if number else "")


def partial(target: str, swap: str, html: str) -> str:
    # Without `settle:0` htmx waits a moment after every swap whose content keeps an id. The second `target` is for
    # live.js: htmx looks for all targets of a message first, and so misses what the partials before bring.
    swap = f"{swap} settle:0 target:'{target}'"
    return f'<hx-partial hx-target="{target}" hx-swap="{swap}">{html}</hx-partial>'


def announce(news: str) -> str:
    """For screen readers: starts, steps and ends, never the text itself."""
    return partial("#status", "innerHTML", to_html("runs/_news.html", news=news))
