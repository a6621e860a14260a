"""Markdown to passages: pieces that can be found, read and cited by themselves, each with the headings above it."""

import re
from collections.abc import Iterator
from itertools import chain

from msgspec import Struct

LENGTH = 1_000  # characters that a passage should have
SHORTEST = 200  # characters below which a passage takes the next paragraph too, whatever its length up to LONGEST
LONGEST = 1_600

HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
FENCE = re.compile(r"^\s{0,3}(`{3,}|~{3,})")
PATH = " › "


class Piece(Struct, frozen=True):
    """`heading` is the path of headings above, outermost first."""

    heading: str
    text: str


def passages_of(markdown: str) -> list[Piece]:
    return [Piece(heading, text) for heading, blocks in sections(markdown) for text in gathered(blocks)]


def sections(markdown: str) -> Iterator[tuple[str, list[str]]]:
    """The blocks below each heading: paragraphs, lists, tables and whole code blocks."""
    above: list[tuple[int, str]] = []
    blocks: list[str] = []
    for block in blocks_of(markdown):
        found = HEADING.match(block)
        if not found:
            blocks.append(block)
            continue
        if blocks:
            yield path_of(above), blocks
        level = len(found[1])
        above = [*(heading for heading in above if heading[0] < level), (level, found[2])]
        blocks = []
    if blocks:
        yield path_of(above), blocks


def blocks_of(markdown: str) -> Iterator[str]:
    lines: list[str] = []
    fence = ""
    for line in markdown.splitlines():
        opened = FENCE.match(line)
        if fence:
            lines.append(line)
            if opened and opened[1].startswith(fence):
                fence = ""
            continue
        if opened:
            fence = opened[1]
        if lines and (not line.strip() or HEADING.match(line) or HEADING.match(lines[0])):
            yield "\n".join(lines)
            lines = []
        if line.strip():
            lines.append(line.rstrip())
    if lines:
        yield "\n".join(lines)


def path_of(headings: list[tuple[int, str]]) -> str:
    return PATH.join(text for _, text in headings if text)[:500]


def gathered(blocks: list[str]) -> Iterator[str]:
    """Neighbouring blocks together, as far as they fit; long ones in parts."""
    text = ""
    for block in chain.from_iterable(map(parts_of, blocks)):
        longest = LONGEST if min(len(text), len(block)) < SHORTEST else LENGTH
        if text and len(text) + len(block) + 2 > longest:
            yield text
            text = ""
        text = f"{text}\n\n{block}" if text else block
    if text:
        yield text


def parts_of(block: str) -> Iterator[str]:
    """Cut at the last line, sentence or word that fits, or where there is none."""
    while len(block) > LONGEST:
        window = block[:LENGTH]
        cut = max(window.rfind("\n"), window.rfind(". ") + 1)
        if cut < LENGTH // 2:
            cut = max(cut, window.rfind(" "))
        cut = cut if cut > 0 else LENGTH
        yield block[:cut].strip()
        block = block[cut:].strip()
    if block:
        yield block
