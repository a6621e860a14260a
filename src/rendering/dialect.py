"""The markdown spoken here: CommonMark with GitHub's tables, task lists, strikethrough and bare addresses,
without raw HTML, and written as HTML in which a message can do no harm to the page around it."""

import re
from collections.abc import Callable, Sequence
from html import escape
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock, blockquote, list_block
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from .highlight import highlight
from .steps import PASSAGE

DEEPEST = 20  # levels of nesting (a list takes two); what is deeper is shown as text
LONGEST = 20_000  # characters of one paragraph; a longer one is shown as it was written
BRACKETS = 500  # in one paragraph; each costs the parser a search for its partner
EMPTY_CELLS = 2_000  # that short rows of a table are filled up with; 65,536 of them could come from 1.5 kB

BlockRule = Callable[[StateBlock, int, int, bool], bool]


class Block(NamedTuple):
    """A top-level block: its lines (`end` excluded) and its tokens."""

    start: int
    end: int
    tokens: list[Token]


class References(dict[str, Any]):
    """Link definitions by normalised label. `asked` gathers the labels that were looked up, found or not."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def get(self, label: str, default: Any = None) -> Any:
        self.asked.add(label)
        return super().get(label, default)


def clean(text: str) -> str:
    """Line ends as `\\n`; what cannot stand in a page (NUL, lone surrogates) as the replacement character."""
    if UNCLEAN.search(text) is None:
        return text
    return UNFIT.sub("\ufffd", LINE_END.sub("\n", text))


UNCLEAN = re.compile("[\r\0\ud800-\udfff]")
LINE_END = re.compile("\r\n?")
UNFIT = re.compile("[\0\ud800-\udfff]")


def parse(source: str, references: References) -> list[Block]:
    """The top-level blocks of clean source. Definitions found in it are added to `references`."""
    tokens: list[Token] = []
    PARSER.block.parse(source, PARSER, {"references": references}, tokens)
    starts = [i for i, token in enumerate(tokens) if token.level == 0 and token.nesting >= 0]
    return [Block(*lines_of(tokens[i]), tokens[i:j]) for i, j in pairwise([*starts, len(tokens)])]


def lines_of(token: Token) -> tuple[int, int]:
    assert token.map is not None, "every block has lines"
    start, end = token.map
    return start, end


def closed_by_fence(token: Token) -> bool:
    """Whether a code block ends with a fence of its own, not with its parent or with the text."""
    start, end = lines_of(token)
    content = token.content
    return end - start > 1 + content.count("\n") + (content[-1:] not in ("", "\n"))


class Leaf(NamedTuple):
    html: str
    asked: set[str]  # the link labels that were looked up


class Writer:
    """Writes blocks as HTML. What is costly in a block (inline text, highlighted code) is kept for the next
    round of an open block, and dropped when a round did without it."""

    def __init__(self, references: References) -> None:
        self.references = references
        self._kept: dict[tuple[str | None, str], Leaf] = {}
        self._used: dict[tuple[str | None, str], Leaf] = {}

    def next_round(self) -> None:
        self._kept, self._used = self._used, {}

    def forget(self) -> None:
        self._kept, self._used = {}, {}

    def write(self, tokens: Sequence[Token]) -> Leaf:
        """The HTML of blocks, and the labels that were looked up for it."""
        pieces: list[str] = []
        asked: set[str] = set()
        for token in tokens:
            match token.type:
                case "inline":
                    leaf = self._leaf(None, token.content)
                    pieces.append(leaf.html)
                    asked |= leaf.asked
                case "fence" | "code_block":
                    pieces.append(self._code(token))
                case "definition":
                    pass
                case "paragraph_open" | "paragraph_close" if token.hidden:
                    pieces.append("\n" if token.nesting < 0 else "")
                case "heading_open" | "heading_close":
                    pieces.append(_heading(token))
                case "table_open":
                    pieces.append(TABLE_OPEN)
                case "table_close":
                    pieces.append("</table></div>\n")
                case "th_open" | "td_open":
                    pieces.append(_cell(token))
                case "list_item_open":
                    pieces.append(_item(token))
                case "bullet_list_open" | "ordered_list_open":
                    pieces.append(_list(token))
                case _ if token.nesting < 0:
                    pieces.append(f"</{token.tag}>\n")
                case _:
                    pieces.append(f"<{token.tag}>")
        return Leaf("".join(pieces), asked)

    def _code(self, token: Token) -> str:
        language = language_of(token.info)
        if token.type == "fence" and closed_by_fence(token):
            code = self._leaf(language, token.content).html
        else:
            code = escape(token.content, quote=False)
        return (
            f'<figure class="code"><figcaption class="code__bar"><span class="code__language">{language}</span>'
            '<button class="code__copy" type="button" data-copy>Copy</button></figcaption>'
            f'<pre class="code__body" tabindex="0"><code class="language-{language}">{code}{CODE_CLOSE}'
        )

    def _leaf(self, language: str | None, source: str) -> Leaf:
        key = (language, source)
        leaf = self._kept.get(key) or self._used.get(key)
        if leaf is None:
            self.references.asked = set()
            html = inline_html(source, self.references) if language is None else highlight(source, language)
            leaf = Leaf(html, self.references.asked)
        self._used[key] = leaf
        return leaf


CODE_CLOSE = "</code></pre></figure>\n"
TABLE_OPEN = '<div class="table" tabindex="0" role="region" aria-label="Table"><table>'
LANGUAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+#.-]{0,31}")


def language_of(info: str) -> str:
    found = LANGUAGE.match(info.strip())
    return found[0] if found else "text"


def _heading(token: Token) -> str:
    # A message's headings stand below the page's own, which has h1 and h2.
    level = min(int(token.tag[1:]) + 2, 6)
    return f"<h{level}>" if token.nesting > 0 else f"</h{level}>\n"


def _cell(token: Token) -> str:
    alignment = str(token.attrs.get("style", "")).removeprefix("text-align:")
    return f'<{token.tag} class="align-{alignment}">' if alignment else f"<{token.tag}>"


def _list(token: Token) -> str:
    start = f' start="{token.attrs["start"]}"' if "start" in token.attrs else ""
    tasks = ' class="contains-task-list"' if "class" in token.attrs else ""
    return f"<{token.tag}{start}{tasks}>\n"


def _item(token: Token) -> str:
    if "checked" not in token.meta:
        return "<li>"
    state = 'checked aria-label="Completed task"' if token.meta["checked"] else 'aria-label="Incomplete task"'
    return f'<li class="task-list-item"><input type="checkbox" disabled {state}> '


def inline_html(source: str, references: References) -> str:
    """The HTML of what a paragraph, a heading or a cell says."""
    if len(source) > LONGEST or source.count("[") > BRACKETS:
        return escape(source, quote=False)
    pieces: list[str] = []
    open_links: list[str] = []
    for token in PARSER.inline.parse(source, PARSER, {"references": references}, []):
        match token.type:
            case "text" | "text_special":
                pieces.append(escape(token.content, quote=False))
            case "softbreak":
                pieces.append("\n")
            case "hardbreak":
                pieces.append("<br>\n")
            case "code_inline":
                pieces.append(f"<code>{escape(token.content, quote=False)}</code>")
            case "link_open":
                # A browser ends a link where another starts: what is nested gives way.
                opening, closing = ("", "") if open_links else _anchor(token, "href")
                pieces.append(opening)
                open_links.append(closing)
            case "link_close":
                pieces.append(open_links.pop())
            case "image":
                pieces.append(_image(token, bool(open_links)))
            case _:
                pieces.append(f"</{token.tag}>" if token.nesting < 0 else f"<{token.tag}>")
    return "".join(pieces)


def _anchor(token: Token, attribute: str, css_class: str = "") -> tuple[str, str]:
    """The tags around what leads somewhere. Only the web, mail, the page itself and passages of documents are led to;
    other destinations are told in a tooltip."""
    address = str(token.attrs[attribute])
    title = str(token.attrs.get("title", ""))
    cited = attribute == "href" and PASSAGE.fullmatch(address)
    if cited:
        css_class = ' class="citation"'
    if not (cited or LINKED.match(address)):
        return f'<span{css_class} title="{escape(title or address[:TOLD])}">', "</span>"
    told = f' title="{escape(title)}"' if title else ""
    away = ' target="_blank" rel="noopener noreferrer nofollow"' if address[:4].lower() == "http" else ""
    return f'<a{css_class} href="{escape(address)}"{told}{away}>', "</a>"


def _image(token: Token, within_link: bool) -> str:
    """Loading it tells its server who reads this, and by its address whatever a model was talked into saying. So it is
    only linked, and loaded when the reader asks for it; those of hosts that were chosen for that are shown."""
    described = _text(token.children)
    address = str(token.attrs["src"])
    host = _host_of(address)
    if host in SHOWN_HOSTS and address.startswith("https://"):
        told = f' title="{escape(str(token.attrs["title"]))}"' if "title" in token.attrs else ""
        return (
            f'<img class="image" src="{escape(address)}" alt="{escape(described)}"{told}'
            ' loading="lazy" decoding="async" referrerpolicy="no-referrer">'
        )
    name = escape(described or "image", quote=False)
    if within_link:
        return name
    opening, closing = _anchor(token, "src", ' class="image-link"')
    source = f' <span class="image-link__host">Image from {escape(host)}</span>' if host else ""
    return f"{opening}{name}{source}{closing}"


def _host_of(address: str) -> str:
    """As a browser reads it, with its port: what stands before an `@` is no host. Empty if it is not on the web."""
    found = WEB.match(address)
    return found["host"].lower() if found else ""


SHOWN_HOSTS: set[str] = set()  # those whose images are loaded by themselves; filled when the application is made
WEB = re.compile(r"https?://(?:[^/?#\\]*@)?(?P<host>[^/?#\\@]+)", re.IGNORECASE)
LINKED = re.compile(r"https?://|mailto:|#", re.IGNORECASE)
TOLD = 300  # characters of a destination that is not linked


def _text(tokens: Sequence[Token] | None) -> str:
    """What an image shows of its description."""
    return "".join(
        _text(token.children) if token.type == "image" else " " if token.tag == "br" else token.content
        for token in tokens or ()
    )


def bare_address(state: StateInline, silent: bool) -> bool:
    """Links `https://...` in running text as GitHub does. Runs at every colon."""
    colon = state.pos
    if silent or state.linkLevel or not state.src.startswith("://", colon):
        return False
    scheme = "https" if state.src.endswith("https", 0, colon) else "http"
    start = colon - len(scheme)
    before = state.src[start - 1 : start]
    if not state.pending.endswith(scheme) or (before.isascii() and before.isalnum()):
        return False
    found = ADDRESS.match(state.src, start, state.posMax)
    if found is None:
        return False
    address = _without_closing_punctuation(found[0])
    state.pending = state.pending.removesuffix(scheme)
    link = state.push("link_open", "a", 1)
    link.attrs = {"href": state.md.normalizeLink(address)}
    state.push("text", "", 0).content = address
    state.push("link_close", "a", -1)
    state.pos = start + len(address)
    return True


ADDRESS = re.compile(r"https?://[^\W_][^\s<>`\"\\\[\]{}|^\u3000-\u303f\uff00-\uffef]{0,2000}")


def _without_closing_punctuation(address: str) -> str:
    unpaired = address.count(")") - address.count("(")
    while address.endswith(PUNCTUATION) or (unpaired > 0 and address.endswith(")")):
        unpaired -= address.endswith(")")
        address = address[:-1]
    return address


PUNCTUATION = tuple("?!.,:;*_~'")


def no_deeper(rule: BlockRule) -> BlockRule:
    """The rule up to DEEPEST. The parser's own limit drops the rest of the text; here it becomes a paragraph."""

    def bounded(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        return (silent or state.level < DEEPEST) and rule(state, start, end, silent)

    return bounded


def underline(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Ends a link definition at a heading's underline, as CommonMark does. markdown-it reads on, and text that
    comes later could then turn a heading that was shown back into part of a definition."""
    if not silent or state.is_code_block(line) or state.sCount[line] < state.blkIndent:
        return False
    text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip(" \t")
    return bool(text) and (not text.strip("=") or not text.strip("-"))


class Parser(MarkdownIt):
    def __init__(self) -> None:
        super().__init__("commonmark", {"inline_definitions": True, "maxNesting": DEEPEST + 4, "tasklists": True})
        self.enable(["table", "strikethrough", "linkify"])
        self.disable(["html_block", "html_inline"])
        interrupts = ["paragraph", "reference", "blockquote"]
        self.block.ruler.at("list", no_deeper(list_block), {"alt": interrupts})
        self.block.ruler.at("blockquote", no_deeper(blockquote), {"alt": [*interrupts, "list"]})
        self.block.ruler.before("lheading", "underline", underline, {"alt": ["reference"]})
        self.inline.ruler.at("linkify", bare_address)

    def validateLink(self, url: str) -> bool:  # noqa: N802
        return True  # where a link may lead is decided when it is written


PARSER = Parser()
setattr(import_module("markdown_it.rules_block.table"), "MAX_AUTOCOMPLETED_CELLS", EMPTY_CELLS)  # noqa: B010
