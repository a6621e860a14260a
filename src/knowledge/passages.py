"""Markdown to passages: pieces that can be found, read and cited by themselves, each with the headings above it."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from msgspec import Struct

LENGTH = 1_000  # characters that a passage should have
SHORTEST = 200  # characters below which a passage takes the next paragraph too, whatever its length up to LONGEST
LONGEST = 1_600

# No two parts that could share characters: a document is a stranger's, and must not make these slow.
HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
UNDERLINE = re.compile(r"(=+|--+)[ \t]*$")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
TABLE = re.compile(r" {0,3}\|?[ \t]*:?-+:?[ \t]*\|[-:| \t]*$")
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
        above = [*(heading for heading in above if heading[0] < level), (level, found[2].rstrip("# \t"))]
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
                yield "\n".join(lines)
                lines = []
            continue
        if len(lines) == 1 and (underlined := UNDERLINE.match(line)) and not HEADING.match(lines[0]):
            lines = [f"{'#' if underlined[1][0] == '=' else '##'} {lines[0].strip()}"]
            continue
        if lines and (opened or not line.strip() or HEADING.match(line) or HEADING.match(lines[0])):
            yield "\n".join(lines)
            lines = []
        if opened:
            fence = opened[1]
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
    """Every part of a long code block is one again, and every part of a long table has its head."""
    if len(block) <= LONGEST:
        yield block
        return
    before, content, after = framed(block)
    if before:
        room = LENGTH - len(before) - len(after)
        yield from (f"{before}\n{part}\n{after}".rstrip() for part in cut(content, room, ["\n"]))
    else:
        yield from (part.strip() for part in cut(content, LENGTH, ["\n", ". "]))


def framed(block: str) -> tuple[str, str, str]:
    """What each part begins with, what is cut into parts, and what each ends with."""
    first, *rest = block.split("\n")
    before, after = "", ""
    if opened := FENCE.match(first):
        before, after = first, opened[1]
        if rest and FENCE.match(rest[-1]):
            rest.pop()
    elif rest and TABLE.match(rest[0]):
        before = f"{first}\n{rest.pop(0)}"
    return (before, "\n".join(rest), after) if 0 < len(before) + len(after) < LENGTH // 2 else ("", block, "")


def cut(text: str, room: int, ends: Sequence[str]) -> Iterator[str]:
    """At the last end that fits, at the last word, or where there is none."""
    start = 0
    while len(text) - start > room:
        window = text[start : start + room]
        length = max(window.rfind(end) + len(end.rstrip(" ")) for end in ends)
        if length < room // 2:
            length = max(length, window.rfind(" "))
        length = length if length > 0 else room
        if window[:length].strip():
            yield window[:length].strip("\n")
        start += length
    if text[start:].strip():
        yield text[start:].strip("\n")
