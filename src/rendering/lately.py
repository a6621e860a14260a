"""Texts that agents are writing, as they were shown lately: whoever comes back to one waits only for what is new."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from threading import Lock
from time import thread_time
from uuid import UUID

from ..runs.view import RunView
from ..tasks import beside
from .markdown import MarkdownStream, render

MOST = 200  # texts; a long one takes about 500 kB
SHORT = 1_000  # characters, which are rendered faster than it is worth to keep them
AHEAD = 4_000  # characters that nobody has rendered yet: they take about 7 ms
LOOK = 1.0  # seconds between two looks for such texts
SHARE = 0.1  # of a processor may go into them


class Lately:
    """Pages are rendered in threads too."""

    def __init__(self) -> None:
        self._streams: OrderedDict[tuple[UUID, int], tuple[str, MarkdownStream]] = OrderedDict()
        self._lock = Lock()

    def stream(self, message_id: UUID, turn: int, text: str) -> MarkdownStream:
        """The text so far, for the caller to go on with."""
        with self._lock:
            known, stream = self._streams.get((message_id, turn), ("", None))
        # A further attempt at a turn begins anew, and a run can be shown as it was.
        if stream is None or not text.startswith(known):
            known, stream = "", MarkdownStream()
        stream = stream.copy()
        stream.feed(text[len(known) :])
        self.keep(message_id, turn, text, stream)
        return stream

    def whole(self, message_id: UUID, turn: int, text: str) -> str:
        """A text that has ended, as HTML."""
        with self._lock:
            known, stream = self._streams.pop((message_id, turn), ("", None))
        if stream is None or not text.startswith(known):
            return render(text)
        stream.feed(text[len(known) :])
        return stream.finished + stream.tail

    def length(self, message_id: UUID, turn: int) -> int:
        """Characters of the text that are rendered already."""
        with self._lock:
            known, _ = self._streams.get((message_id, turn), ("", None))
        return len(known)

    def keep(self, message_id: UUID, turn: int, text: str, stream: MarkdownStream) -> None:
        if len(text) < SHORT:
            return
        with self._lock:
            self._streams[message_id, turn] = text, stream.copy()
            self._streams.move_to_end((message_id, turn))
            if len(self._streams) > MOST:
                self._streams.popitem(last=False)


lately = Lately()


@asynccontextmanager
async def rendering_ahead(views: Callable[[], Iterable[RunView]]) -> AsyncIterator[None]:
    """Long replies are rendered while they grow, also when nobody looks: who comes need not wait for all of it."""

    async def look() -> None:
        while True:
            spent = 0.0
            for view in views():
                for turn in [turn for turn in view.turns.values() if turn.open]:
                    if len(turn.text) - lately.length(view.message_id, turn.number) >= AHEAD:
                        spent += await asyncio.to_thread(seconds_for, view.message_id, turn.number, turn.text)
            await asyncio.sleep(max(LOOK, spent / SHARE))

    def seconds_for(message_id: UUID, turn: int, text: str) -> float:
        began = thread_time()
        lately.stream(message_id, turn, text)
        return thread_time() - began

    async with beside(look(), "rendering ahead"):
        yield
