"""Texts that agents are writing, as they were shown lately: whoever comes back to one waits only for what is new."""

from collections import OrderedDict
from threading import Lock
from uuid import UUID

from .markdown import MarkdownStream

MOST = 200  # texts; a long one takes about 500 kB
SHORT = 1_000  # characters, which are rendered faster than it is worth to keep them


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

    def keep(self, message_id: UUID, turn: int, text: str, stream: MarkdownStream) -> None:
        if len(text) < SHORT:
            return
        with self._lock:
            self._streams[message_id, turn] = text, stream.copy()
            self._streams.move_to_end((message_id, turn))
            if len(self._streams) > MOST:
                self._streams.popitem(last=False)


lately = Lately()
