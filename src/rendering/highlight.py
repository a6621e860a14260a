"""Code to highlighted HTML: a dozen classes for a small stylesheet, and never a style attribute."""

import asyncio
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from html import escape
from itertools import groupby
from time import thread_time

from pygments.lexer import Lexer
from pygments.lexers import find_lexer_class_by_name
from pygments.token import Token, _TokenType
from pygments.util import ClassNotFound

# A token takes the class of its nearest ancestor here; what has none stays bare text.
CLASSES: dict[_TokenType, str] = {
    Token.Comment: "c",
    Token.Comment.Preproc: "k",
    Token.Keyword: "k",
    Token.Keyword.Constant: "m",
    Token.Literal.String: "s",
    Token.Literal.Number: "m",
    Token.Name.Function: "f",
    Token.Name.Class: "t",
    Token.Name.Exception: "t",
    Token.Name.Namespace: "t",
    Token.Keyword.Type: "t",
    Token.Name.Builtin: "b",
    Token.Name.Decorator: "d",
    Token.Name.Tag: "k",
    Token.Name.Attribute: "a",
    Token.Name.Variable: "v",
    Token.Operator.Word: "k",
    Token.Generic.Deleted: "gd",
    Token.Generic.Inserted: "gi",
    Token.Generic.Heading: "gh",
    Token.Generic.Subheading: "gh",
    Token.Generic.Prompt: "gp",
    Token.Generic.Output: "go",
}

LONGEST = 50_000  # characters; longer code is shown plain
# So is code with lines that no person writes, in which many lexers are quadratic or worse.
MONSTROUS = re.compile(r"[^\n]{2000}|\n([ \t]*\n){50}")
BIG = 4_000  # characters from which highlighting (about 10 ms) is worth a thread
PATIENCE = 20e-6  # seconds of processor time a character; usual code takes 2 to 6
HICCUP = 0.1  # seconds more: a processor that is taken away for a moment counts as busy

# What models write after the fence, and Pygments calls otherwise.
ALIASES = {"env": "bash", "dotenv": "bash", "jsonc": "json", "kt": "kotlin", "svelte": "html", "vue": "html"}


@lru_cache(maxsize=64)
def highlight(code: str, language: str) -> str:
    """The HTML that goes inside `<code>`. Its text is exactly `code`, whatever the lexer made of it."""
    lexer = _lexer(language)
    if lexer is None or len(code) > LONGEST or MONSTROUS.search(code):
        return escape(code, quote=False)
    pieces = [
        (css_class, "".join(text for _, text in run))
        for css_class, run in groupby(_classified(lexer, code), key=lambda piece: piece[0])
    ]
    if "".join(text for _, text in pieces) != code:
        return escape(code, quote=False)
    return "".join(
        f'<span class="{css_class}">{escape(text, quote=False)}</span>' if css_class else escape(text, quote=False)
        for css_class, text in pieces
    )


def _classified(lexer: Lexer, code: str) -> Iterator[tuple[str, str]]:
    """Text and its class. Lexers can be led into quadratic time; when one takes too long, the rest stays bare."""
    deadline = thread_time() + HICCUP + PATIENCE * len(code)
    done = 0
    for count, (kind, text) in enumerate(lexer.get_tokens(code)):
        text = text[: len(code) - done]  # the lexer ends the last line if the code does not
        yield _class_of(kind), text
        done += len(text)
        if count % 8 == 0 and thread_time() > deadline:
            yield "", code[done:]
            return


async def warm(code: str, language: str) -> None:
    """Highlight a big block in a thread, so that the `highlight` that follows finds it in the cache."""
    if BIG <= len(code) <= LONGEST:
        await asyncio.to_thread(highlight, code, language)


def _lexer(language: str) -> Lexer | None:
    try:
        found = find_lexer_class_by_name(ALIASES.get(language.lower(), language))
    except ClassNotFound:
        return None
    return found(stripnl=False)


@cache
def _class_of(kind: _TokenType | None) -> str:
    if kind is None:
        return ""
    return CLASSES.get(kind) or _class_of(kind.parent)
