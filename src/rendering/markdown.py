"""Markdown to safe HTML, whole or as it arrives.

A top-level block that the lines after it have decided stays as it is, whatever follows. So a stream parses
only what is still open, and what it has shown is at every moment exactly what `render` makes of the same text.
Link definitions are the exception: they may come after what they change, which is then shown anew.
"""

import re
from dataclasses import dataclass
from html import escape
from itertools import islice, zip_longest

from markdown_it.common.utils import MD_TRIM_CHARS
from markdown_it.token import Token

from .dialect import (
    CODE_CLOSE,
    Block,
    References,
    Writer,
    clean,
    closed_by_fence,
    inline_html,
    language_of,
    lines_of,
    parse,
)
from .highlight import warm


def render(text: str) -> str:
    """The HTML of a whole text: its top-level blocks, one after the other."""
    references = References()
    blocks = parse(clean(text), references)
    writer = Writer(references)
    return "".join(writer.write(block.tokens).html for block in blocks)


@dataclass(frozen=True, slots=True)
class Patch:
    """What a page changes because text came: on `reset` it drops all it shows of this text; `append` goes
    before the tail; `tail` replaces the tail, or if it is None, `grow` is added inside the last `<code>`."""

    reset: bool = False
    append: str = ""
    tail: str | None = None
    grow: str = ""


@dataclass(frozen=True, slots=True)
class _Finished:
    html: str
    asked: set[str]  # the link labels it looked up
    tokens: list[Token]  # to write it anew when one of them is defined later


class MarkdownStream:
    """A text that grows. At every moment `finished + tail == render(text so far)`."""

    def __init__(self) -> None:
        self._finished: list[_Finished] = []
        self._open = ""  # source, from the first block that is not finished
        self._tail = ""
        self._growing: _OpenCode | _OpenLine | None = None  # what can grow without a parse of all that is open
        self._references = References()
        self._undecided: dict[str, tuple[str, str]] = {}  # definitions in the open source
        self._writer = Writer(self._references)
        self._ended_in_return = False

    def copy(self) -> "MarkdownStream":
        """The same text, to go on with in another way. What is open in it is parsed anew with what comes next."""
        other = MarkdownStream()
        other._finished = [*self._finished]
        other._open, other._tail = self._open, self.tail
        other._references.update(self._references)
        other._undecided = {**self._undecided}
        other._ended_in_return = self._ended_in_return
        return other

    @property
    def finished(self) -> str:
        return "".join(block.html for block in self._finished)

    @property
    def tail(self) -> str:
        return self._growing.html if self._growing else self._tail

    def feed(self, text: str) -> Patch:
        return self._take(self._next(text))

    async def follow(self, text: str) -> Patch:
        """As `feed`, but a big code block that `text` closes is highlighted in a thread first. Feed nothing else
        until it returns."""
        text = self._next(text)
        code = self._growing
        if isinstance(code, _OpenCode) and (end := code.closed_by(text)) is not None:
            await warm((self._open + text)[code.start : end], code.language)
        return self._take(text)

    def _next(self, text: str) -> str:
        """Clean text, in which a line end that was cut in two counts once."""
        if not text:
            return ""
        begun, self._ended_in_return = self._ended_in_return, text.endswith("\r")
        return clean(text[1:] if begun and text.startswith("\n") else text)

    def _take(self, text: str) -> Patch:
        if not text:
            return Patch()
        self._open += text
        grown = self._growing.grow(text) if self._growing else None
        return grown or self._parse()

    def _parse(self) -> Patch:
        shown = self.tail
        for label in self._undecided:
            del self._references[label]
        known = len(self._references)
        blocks = parse(self._open, self._references)
        defined = list(islice(reversed(self._references), len(self._references) - known))
        lines = self._open.split("\n")
        decided = _decided(blocks, lines)
        still_open = blocks[decided:]
        cut = still_open[0].start if still_open else len(lines) - 1

        reset = self._redefine(defined, cut)
        fresh = [self._finish(block.tokens) for block in blocks[:decided]]
        self._finished += fresh
        self._open = "\n".join(lines[cut:])
        self._tail = "".join(self._writer.write(block.tokens).html for block in still_open)
        self._growing = self._growth(still_open[-1], lines) if still_open else None
        self._writer.next_round()

        if reset:
            return Patch(reset=True, append=self.finished, tail=self._tail)
        tail = self._tail if self._tail != shown else None
        return Patch(append="".join(block.html for block in fresh), tail=tail)

    def _redefine(self, defined: list[str], cut: int) -> bool:
        """Writes anew the finished blocks whose links the last parse changed, and tells whether there were any."""
        found = {label: self._references[label] for label in defined}
        before, now = self._undecided, {label: (link["href"], link["title"]) for label, link in found.items()}
        self._undecided = {label: now[label] for label, link in found.items() if link["map"][0] >= cut}
        changed = {label for label in before | now if before.get(label) != now.get(label)}
        if not changed:
            return False
        self._writer.forget()
        shown = self.finished
        self._finished = [
            block if changed.isdisjoint(block.asked) else self._finish(block.tokens) for block in self._finished
        ]
        return self.finished != shown

    def _finish(self, tokens: list[Token]) -> _Finished:
        html, asked = self._writer.write(tokens)
        return _Finished(html, asked, tokens if asked else [])

    def _growth(self, block: Block, lines: list[str]) -> "_OpenCode | _OpenLine | None":
        if block.tokens[0].type == "fence":
            return _open_code(block, lines, self._open, self._tail)
        return _open_line(block, lines, self._writer, self._tail)


def _decided(blocks: list[Block], lines: list[str]) -> int:
    """How many of the blocks are the same whatever follows. The last of the lines is not complete."""
    count = 0
    for block, following in zip_longest(blocks, blocks[1:]):
        if not _is_decided(block, following, lines):
            break
        count += 1
    for i, block in enumerate(blocks[:count]):
        if any(token.type == "definition" and _may_get_title(token, lines) for token in block.tokens):
            return i
    return count


def _is_decided(block: Block, following: Block | None, lines: list[str]) -> bool:
    complete = len(lines) - 1
    kind = block.tokens[0].type
    if kind in ENDED_BY_LAST_LINE or (kind == "fence" and closed_by_fence(block.tokens[0])):
        return block.end + _may_begin_table(lines[block.end - 1]) <= complete
    if kind in ENDED_BY_BLANK_LINE and block.end < complete and _is_blank(lines[block.end]):
        return True
    if following is None:
        return False
    first = lines[following.start]
    if _is_blank(lines[following.start - 1]) and CONTINUES_NOTHING.match(first):
        return True
    return following.start + _may_begin_table(first) < complete


ENDED_BY_LAST_LINE = {"heading_open", "hr"}
ENDED_BY_BLANK_LINE = {"paragraph_open", "table_open", "blockquote_open", "definition"}
# The beginning of a line that after a blank one continues neither a list nor indented code.
CONTINUES_NOTHING = re.compile(r"\*\*|[^\s\d*+-]")


def _may_begin_table(line: str) -> bool:
    """Whether the line becomes the head of a table if a row of dashes follows."""
    return "|" in line


def _is_blank(line: str) -> bool:
    return not line.strip(" \t")


def _may_get_title(definition: Token, lines: list[str]) -> bool:
    """Whether a title has begun below a definition, to which it belongs if it ends before a blank line."""
    _, end = lines_of(definition)
    rest = lines[end:]
    begun = bool(rest) and rest[0].lstrip(" \t>").startswith(("'", '"', "("))
    return begun and not any(_is_blank(line) for line in rest[:-1])


class _OpenCode:
    """A code block that waits for its fence: text is added to it as it comes."""

    def __init__(self, token: Token, source: str, start: int, tail: str) -> None:
        self.language = language_of(token.info)
        self.start = start  # of the code in the open source
        fence = re.escape(token.markup) + token.markup[0]
        self._closing = re.compile(rf"^ {{0,3}}{fence}*[ \t]*$", re.MULTILINE)
        self._line_start = source.rindex("\n") + 1
        self._line = source[self._line_start :]
        self._pieces = [tail.removesuffix(CODE_CLOSE)]

    @property
    def html(self) -> str:
        return "".join(self._pieces) + CODE_CLOSE

    def closed_by(self, text: str) -> int | None:
        """Where in the open source the code ends, if `text` brings its fence."""
        found = self._closing.search(self._line + text)
        return self._line_start + found.start() if found else None

    def grow(self, text: str) -> Patch | None:
        if self.closed_by(text) is not None:
            return None
        shown = _visible(self._line)
        added = self._line + text
        line_start = added.rfind("\n") + 1
        self._line = added[line_start:]
        self._line_start += line_start
        html = escape((added[:line_start] + _visible(self._line))[len(shown) :], quote=False)
        self._pieces.append(html)
        return Patch(grow=html)


def _visible(line: str) -> str:
    """An incomplete line as the parser sees it: not at all as long as it is blank."""
    return "" if _is_blank(line) else line


def _open_code(block: Block, lines: list[str], source: str, tail: str) -> _OpenCode | None:
    token, opening = block.tokens[0], lines[block.start]
    is_certain = block.start + _may_begin_table(opening) < len(lines) - 1
    # The indentation of a fence is taken off every line: such code is parsed again instead.
    if not is_certain or closed_by_fence(token) or not opening.startswith(token.markup):
        return None
    code = "\n".join(lines[block.start + 1 :])
    return _OpenCode(token, source, len(source) - len(code), tail)


class _OpenLine:
    """The incomplete last line of a paragraph (in lists and quotes too), once nothing that is added to it can
    make it anything else: then only the paragraph's own text is parsed again."""

    def __init__(self, references: References, before: str, line: str, head: str, html: str, foot: str) -> None:
        self._references = references
        self._before = before  # the paragraph's lines above
        self._line = line
        self._head = head
        self._foot = foot
        self.html = head + html + foot

    def grow(self, text: str) -> Patch | None:
        if "\n" in text:
            return None
        self._line += text
        shown = self.html
        content = (self._before + self._line).strip(MD_TRIM_CHARS)
        self.html = self._head + inline_html(content, self._references) + self._foot
        return Patch(tail=self.html if self.html != shown else None)


def _open_line(block: Block, lines: list[str], writer: Writer, tail: str) -> _OpenLine | None:
    closing = next(i for i, token in enumerate(reversed(block.tokens)) if token.nesting >= 0)
    last, after = block.tokens[-1 - closing], block.tokens[len(block.tokens) - closing :]
    in_paragraph = last.type == "inline" and after[0].type == "paragraph_close"
    if not in_paragraph or lines_of(last)[1] != len(lines) or last.content.startswith(MAY_BE_REFERENCE):
        return None
    above, newline, end = last.content.rpartition("\n")
    line = lines[-1].rstrip(MD_TRIM_CHARS)
    if not LETTER.search(end) or not line.endswith(end):
        return None
    html, foot = writer.write([last]).html, writer.write(after).html
    head = tail.removesuffix(html + foot)
    return _OpenLine(writer.references, above + newline, lines[-1][len(line) - len(end) :], head, html, foot)


LETTER = re.compile(r"[^\W\d_]")  # no line that has one in its text is a marker, a fence, a rule or an underline
MAY_BE_REFERENCE = ("[", "'", '"', "(")  # or a task, or the title of a definition above
