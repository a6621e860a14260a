"""Reasoning that comes as text: some local servers leave `<think>…</think>` at the start of what a model writes."""

from collections.abc import Iterator

from .exchange import Reasoning, Text

OPEN, CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits the text of one reply; what may still become a tag is held back. Only a tag at the very start counts."""

    def __init__(self) -> None:
        self._held = ""
        self._state = self._begin

    def feed(self, text: str) -> Iterator[Text | Reasoning]:
        return self._state(text)

    def end(self) -> Iterator[Text | Reasoning]:
        """What is still held back at the end of the reply."""
        held, self._held = self._held, ""
        if held:
            yield Reasoning(held) if self._state == self._think else Text(held)

    def _begin(self, text: str) -> Iterator[Text | Reasoning]:
        self._held += text
        start = self._held.lstrip()
        if OPEN.startswith(start):
            return
        text, self._held = self._held, ""
        self._state = self._think if start.startswith(OPEN) else self._write
        yield from self._state(start.removeprefix(OPEN) if self._state == self._think else text)

    def _think(self, text: str) -> Iterator[Text | Reasoning]:
        thought, closed, rest = (self._held + text).partition(CLOSE)
        if closed:
            self._held, self._state = "", self._resume
            if thought:
                yield Reasoning(thought)
            yield from self._resume(rest)
            return
        keep = next((size for size in range(len(CLOSE) - 1, 0, -1) if thought.endswith(CLOSE[:size])), 0)
        self._held = thought[len(thought) - keep :]
        if thought := thought[: len(thought) - keep]:
            yield Reasoning(thought)

    def _resume(self, text: str) -> Iterator[Text | Reasoning]:
        if text := text.lstrip():
            self._state = self._write
            yield Text(text)

    def _write(self, text: str) -> Iterator[Text | Reasoning]:
        if text:
            yield Text(text)
