"""Lets a reply that came all at once appear bit by bit."""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import NamedTuple

from .exchange import Delta, Reasoning, Text

# A word with the white space around it. Some languages write no spaces, so that a word ends somewhere.
WORD = re.compile(r"\s*\S{1,24}\s*|\s+")
FENCE = re.compile(r"[ >\t]*(`{3,}|~{3,})")


class Pace(NamedTuple):
    """`words` a piece; delays in seconds after a piece of prose, of reasoning, and after a line of code."""

    words: int = 3
    delay: float = 0.1
    thought_delay: float = 0.05
    code_delay: float = 0.05


async def simulate(deltas: Iterable[Delta], pace: Pace) -> AsyncGenerator[Delta, None]:
    """The same deltas, what is said in pieces that make up exactly the same text."""
    wait = 0.0
    for delta in deltas:
        match delta:
            case Text(text):
                for piece, is_code in pieces(text, pace.words):
                    await asyncio.sleep(wait)
                    yield Text(piece)
                    wait = pace.code_delay if is_code else pace.delay
            case Reasoning(text):
                for piece in phrases(text, pace.words):
                    await asyncio.sleep(wait)
                    yield Reasoning(piece)
                    wait = pace.thought_delay
            case _:
                yield delta


def pieces(text: str, words: int) -> Iterator[tuple[str, bool]]:
    """Markdown in phrases, with code blocks in whole lines; tells of each piece whether it is code."""
    for block, is_code in blocks(text):
        for piece in block.splitlines(keepends=True) if is_code else phrases(block, words):
            yield piece, is_code


def blocks(text: str) -> Iterator[tuple[str, bool]]:
    """Prose and fenced code in turn, the fences belonging to the code."""
    prose, code, fence = "", "", ""
    for line in text.splitlines(keepends=True):
        opening = FENCE.match(line)
        if fence:
            code += line
            if opening and opening[1].startswith(fence) and not line[opening.end() :].strip():
                yield code, True
                code, fence = "", ""
        elif opening:
            if prose:
                yield prose, False
            prose, code, fence = "", line, opening[1]
        else:
            prose += line
    if prose or code:
        yield prose or code, bool(fence)


def phrases(text: str, words: int) -> Iterator[str]:
    found = WORD.findall(text)
    for start in range(0, len(found), words):
        yield "".join(found[start : start + words])
