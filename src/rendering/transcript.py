"""A conversation as Markdown for people: what was said, and beside it what agents did.

Whatever somebody or something has written stays within its place: headings become smaller than those of the transcript,
fences are closed, what would be HTML elsewhere is text here too, and links are defined nowhere but where they stand.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from html import escape
from itertools import pairwise
from typing import NamedTuple

from markdown_it.token import Token

from ..agents.events import CodeChange, Decided, Interaction
from ..runs.view import RunView, Turn
from .dialect import LONGEST, References, clean, closed_by_fence, lines_of, parse
from .steps import Part, answer, arguments, duration, hunks, in_short, passages

HIGHEST = 3  # level of the highest heading within a reply
DEEPEST = 6
BROKEN = re.compile(r"\n[ \t>]*(?=<)")  # within code, where a line that begins like HTML would be HTML
QUOTE = re.compile(r"^[ \t>]*")

# What a backslash keeps from being more than a character, in a line of its own.
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")
# Code, and addresses, which stay; every other `<` and `&` could begin HTML.
HTML = re.compile(
    r"(?P<kept>(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)|<[a-zA-Z][a-zA-Z0-9+.-]*:[^\s<>]*>|\\.)|<|!(?=\[)",
    re.DOTALL,
)


class Said(NamedTuple):
    """A message; `run` is what wrote it, None for a person's and for a reply that a program brought."""

    role: str
    content: str
    at: datetime
    run: RunView | None


def transcript(title: str, messages: Iterable[Said]) -> str:
    sections = [f"# {plain(title) or 'Untitled'}"]
    for message in messages:
        if message.run:
            sections += of_run(message.run, message.at)
        elif message.role == "assistant":
            sections += [heading("", message.at), prose(message.content)]
        else:
            sections += of_person(message)
    return "\n\n".join(sections) + "\n"


def of_person(message: Said) -> list[str]:
    return [heading("You", message.at), quoted(message.content)]


def of_run(run: RunView, at: datetime) -> Iterator[str]:
    """Everything in the order in which the page shows it."""
    answering = run.answer
    yield heading(answering.agent if answering else run.team, at)
    for turn in run.turns.values():
        if turn is answering:
            yield from map(of_step, steps_of(turn))
        else:
            yield from of_turn(turn)
    if answering and answering.text.strip():
        yield prose(answering.text)
    yield from map(of_change, run.code_changes)
    if run.error:
        yield f"> **{plain(run.error.message)}**"
    elif run.status == "cancelled":
        yield "> **Stopped**"
    elif run.running:
        yield "> **Still being written**"


def heading(name: str, at: datetime) -> str:
    return f"## {plain(name) or 'Assistant'}, {at.strftime('%Y-%m-%d %H:%M')} UTC"


def of_turn(turn: Turn) -> Iterator[str]:
    """The turn of an agent that helped, folded."""
    took = f" ({duration(turn.duration_ms / 1000)})" if turn.duration_ms is not None else ""
    told = [*map(of_step, steps_of(turn)), *([prose(turn.text)] if turn.text.strip() else [])]
    yield folded(": ".join(filter(None, (turn.agent, turn.task or turn.role))) + took, told)


class Step(NamedTuple):
    event: Interaction
    answer: Interaction | None
    decided: Decided | None


def steps_of(turn: Turn) -> list[Step]:
    return [Step(step, turn.answers.get(step.seq), turn.decided.get(step.seq)) for step in turn.steps]


def of_step(step: Step) -> str:
    event = step.event
    match event.kind:
        case "tool_call":
            told = [*parts(arguments(event))] or ([fenced(event.content)] if event.content else [])
            if step.decided:
                told.append(plain(f"{step.decided.said}."))
            if step.answer:
                told += ["Answer:", *(parts(answer(step.answer, event)) or ["nothing"])]
            short = in_short(event)
            return folded(f"Calls {event.tool_name or 'a tool'}{': ' if short else ''}{short}", told)
        case "tool_response":
            return folded(f"{event.tool_name or 'Tool'} answers", parts(answer(event)))
        case "thought":
            return folded("Thought", [quoted(event.content)])
        case "message":
            return folded(f"Tells {event.to_agent or 'the team'}", [quoted(event.content)])
        case "memory":
            return f"Remembers: {plain(event.content)}"
        case "retrieval":
            found = [f"- {plain(passage.name)}: {plain(passage.text)}" for passage in passages(event) or ()]
            return folded(f"Finds {in_short(event)}", ["\n".join(found)] if found else [])


def parts(told: list[Part]) -> list[str]:
    return [
        piece
        for part in told
        for piece in (f"{part.name}:" if part.name else "", fenced(part.text, part.language))
        if piece
    ]


def of_change(change: CodeChange) -> str:
    return f"{change.change.capitalize()} {code(change.path)}\n\n{fenced(hunks(change.diff), 'diff')}"


# Pieces


def plain(text: str) -> str:
    """On one line, and nothing but text."""
    return SPECIAL.sub(r"\\\1", " ".join(clean(text).split()))


def code(text: str) -> str:
    line = " ".join(clean(text).split())
    ticks = "`" * (longest_run("`", line) + 1)
    return f"{ticks} {line} {ticks}" if line.startswith("`") or line.endswith("`") else f"{ticks}{line}{ticks}"


def fenced(text: str, language: str = "") -> str:
    inner = clean(text).strip("\n")
    fence = "`" * max(3, longest_run("`", inner) + 1)
    name = language if re.fullmatch(r"[A-Za-z0-9_+#.-]{1,32}", language) else ""
    return f"{fence}{name}\n{inner}\n{fence}"


def longest_run(character: str, text: str) -> int:
    return max(map(len, re.findall(f"{re.escape(character)}+", text)), default=0)


def quoted(text: str) -> str:
    """As it was typed: what looks like Markdown works, and stays within the quotation."""
    source = text.expandtabs(4)  # a tab would reach less far behind the mark
    return "\n".join(f"> {line}".rstrip() for line in safe(source).split("\n"))


def folded(summary: str, told: Iterable[str]) -> str:
    inner = "\n\n".join(told)
    line = escape(" ".join(clean(summary).split()), quote=False)
    return f"<details><summary>{line}</summary>\n\n{inner}\n\n</details>" if inner else f"- {plain(summary)}"


def prose(text: str) -> str:
    return safe(text, HIGHEST)


def safe(text: str, highest: int = HIGHEST) -> str:
    """Markdown that can do nothing to what stands around it."""
    source = without_definitions(clean(text).strip("\n"))
    lines = source.split("\n")
    tokens = tokens_of(source)
    row: tuple[int, int] = (0, 0)
    inline: set[tuple[int, int]] = set()
    for token, following in pairwise([*tokens, *tokens[-1:]]):
        if token.type == "heading_open":
            lower(token, following, lines, highest)
        elif token.type == "tr_open":
            row = lines_of(token)
        elif token.type == "inline":
            inline.add(lines_of(token) if token.map else row)
    for start, end in sorted(inline, reverse=True):  # from the end, as lines may be joined
        lines[start:end] = without_html("\n".join(lines[start:end])).split("\n")
    last = tokens[-1] if tokens else None
    if last and last.type == "fence" and last.level == 0 and not closed_by_fence(last):
        lines.append(last.markup)
    return "\n".join(lines)


def without_definitions(source: str) -> str:
    """Definitions of links as text: they would hold for the whole transcript, and so change what others have said."""
    lines = source.split("\n")
    for token in tokens_of(source):
        if token.type == "definition":
            start, _ = lines_of(token)
            lines[start] = lines[start].replace("[", "\\[", 1)
    return "\n".join(lines)


def tokens_of(source: str) -> list[Token]:
    return [token for block in parse(source, References()) for token in block.tokens]


def lower(heading: Token, words: Token, lines: list[str], highest: int) -> None:
    """A heading some levels down. One that is underlined becomes a line, where it stood in a list or a quotation."""
    start, end = lines_of(heading)
    marks = "#" * min(int(heading.tag[1]) + highest - 1, DEEPEST)
    if heading.markup.startswith("#"):
        lines[start] = lines[start].replace(heading.markup, marks, 1)
        return
    first, *rest = words.content.split("\n")
    before = lines[start][: lines[start].index(first)]
    lines[start] = f"{before}{marks} {' '.join([first, *map(str.strip, rest)])}"
    for number in range(start + 1, end):
        lines[number] = "".join(QUOTE.findall(lines[number])[:1]).rstrip()


def without_html(text: str) -> str:
    """Nor with images, which whatever shows the transcript would load: a `!` stays one, before a link."""
    if len(text) > LONGEST:  # too long to look for code in it
        return text.replace("<", "\\<").replace("![", "\\![")
    return HTML.sub(lambda found: BROKEN.sub(" ", found["kept"] or f"\\{found[0]}"), text)
