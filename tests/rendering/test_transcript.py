"""A transcript keeps its structure, whatever was written in it."""

import re
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from riverrun.agents.events import AgentComplete, AgentStart, CodeChange, Event, Interaction
from riverrun.rendering.transcript import Said, safe, transcript
from tests.rendering.runs import RUNS, complete, ended, stamped, start, view_of

AT = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
STRANGER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])  # who reads it elsewhere


def of_reply(text: str, *events: Event) -> Said:
    begun = [start(), AgentStart(agent="Writer", turn=1)]
    return Said("assistant", "", AT, view_of(stamped([*begun, *events, ended(1, text), complete("complete", text)])))


def defined_in(text: str) -> dict[str, Any]:
    """Links that are defined for all of it."""
    env: dict[str, Any] = {}
    STRANGER.parse(text, env)
    return dict(env.get("references", {}))


def images_in(text: str) -> list[str]:
    inner = [child for token in STRANGER.parse(text) for child in token.children or ()]
    return [str(child.attrs["src"]) for child in inner if child.type == "image"]


def outline(text: str) -> list[tuple[str, str]]:
    tokens = STRANGER.parse(text)
    return [(token.tag, following.content) for token, following in pairwise(tokens) if token.type == "heading_open"]


def html_in(text: str) -> list[str]:
    """What a browser would take for HTML."""
    tokens = STRANGER.parse(text)
    blocks = [token.content for token in tokens if token.type == "html_block"]
    return blocks + [inner.content for token in tokens for inner in token.children or () if inner.type == "html_inline"]


def test_a_whole_run_is_told() -> None:
    text = transcript(
        "Rivers", [Said("user", "Tell me of rivers", AT, None), Said("assistant", "", AT, view_of(RUNS["whole"]))]
    )
    assert text.startswith("# Rivers\n\n## You, 2026-11-20 12:30 UTC\n\n> Tell me of rivers\n\n## Writer, ")
    summaries = re.findall(r"<summary>(.*)</summary>", text)
    assert summaries == [
        "Finder: Look &lt;there&gt; (1.5 s)",
        "Thought",
        "Calls search: &lt;x&gt;",
        "Finds “rivers”: 1 passage",
        "Calls write_file: path: a.py, content: import os import os import os import os import os…",
        "Tells Writer",
    ]
    assert "Remembers: They like rivers" in text
    assert '```json\n{\n  "q": "<x>"\n}\n```\n\nAnswer:\n\n```\n3 found\n```' in text
    assert "Modified `src/<a>.py`\n\n```diff\n-old\n+new\n```" in text
    assert "### A heading" in text
    assert r"\<b>no tag\</b>" in text
    assert 'return "</code>"' in text
    assert "Void" not in text


@pytest.mark.parametrize(
    ("name", "end"), [("failed", r"> **The model's server \<closed\>"), ("stopped", "> **Stopped**")]
)
def test_how_it_ended_is_told(name: str, end: str) -> None:
    assert end in transcript("", [Said("assistant", "", AT, view_of(RUNS[name]))]).split("\n\n")[-1]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("# One\n\n### Three", "### One\n\n##### Three"),
        ("###### Six", "###### Six"),
        ("One\n===\n\nTwo\nlines\n---\nafter", "### One\n\n\n#### Two lines\n\n\nafter"),
        ("> # Quoted\n> text", "> ### Quoted\n> text"),
        ("- # Listed", "- ### Listed"),
        ("- One\n  ===\n  after", "- ### One\n\n  after"),
        ("```\n# no heading\n```", "```\n# no heading\n```"),
        ("```python\nleft open", "```python\nleft open\n```"),
        ("~~~~\nleft open", "~~~~\nleft open\n~~~~"),
        ("- ```\n  left open", "- ```\n  left open"),
        ("a <b>bold</b> `<code>` <https://example.org>", "a \\<b>bold\\</b> `<code>` <https://example.org>"),
        ("<!-- begun", "\\<!-- begun"),
        ("<details>\n\ntext", "\\<details>\n\ntext"),
        ("    <indented>", "    <indented>"),
        ("| <a> | `<b>` |\n|---|---|\n| <c> | d |", "| \\<a> | `<b>` |\n|---|---|\n| \\<c> | d |"),
        ("`a\n<?` b\n`c\nd`", "`a <?` b\n`c\nd`"),
        ("> `a\n> <?` b", "> `a <?` b"),
        ("![a *b*](https://x.y/z.png) `![c](d)` \\![e](f)", "\\![a *b*](https://x.y/z.png) `![c](d)` \\![e](f)"),
        ("[x]: https://y.z\n\n[x]", "\\[x]: https://y.z\n\n[x]"),
        ("> - [x]: <y>\n> [z]: /y\n===", "> - \\[x]: \\<y>\n> \\[z]: /y\n==="),
        ("[x]: /y\n===", "### \\[x]: /y\n"),
        ("\\<escaped> and \\`<b>`", "\\<escaped> and \\`\\<b>`"),
    ],
)
def test_what_was_written_stays_in_its_place(written: str, told: str) -> None:
    assert safe(written) == told


MEAN = [
    "<div>",
    "<!--",
    "-->",
    "</details>",
    "<summary>",
    "```",
    "~~~",
    "# x",
    "===",
    "---",
    "> ",
    "- ",
    "    ",
    "|",
    "\n",
]
MEAN += ["\n\n", "`", "<b", "](", "[x]: /y", "\\", "1. ", "text", "&lt;", "<?", "<![CDATA[", "\t", "*", "\r", "\0"]
MEAN += ["![x]", "(y)"]
mean = st.lists(st.sampled_from(MEAN), max_size=12).map("".join)


@settings(max_examples=200, deadline=None)
@given(mean, mean, mean)
@example("```", "- ```", "````")
@example("> ```\n> x", "<!--", "</details>")
@example("\t<?", "`> \n<?===`", "> [x]: /y")
def test_nothing_that_is_written_breaks_the_structure(asked: str, said: str, did: str) -> None:
    events: list[Event] = [
        AgentStart(agent=did, turn=2, lane="support", task=did),
        Interaction(turn=1, kind="thought", content=did),
        Interaction(turn=1, kind="tool_call", tool_name=did, tool_arguments={"content": did, "a": did}, call_id="c"),
        Interaction(turn=1, kind="tool_response", content=did, call_id="c"),
        Interaction(turn=1, kind="memory", content=did),
        AgentComplete(turn=2, content=said, duration_ms=1),
        CodeChange(path=did, change="modified", diff=did, revision_id=UUID(int=1)),
    ]
    text = transcript(did, [Said("user", asked, AT, None), of_reply(said, *events), Said("user", "The last", AT, None)])
    told = [(tag, name) for tag, name in outline(text) if tag in ("h1", "h2")]
    assert [tag for tag, _ in told] == ["h1", "h2", "h2", "h2"]
    assert told[-1] == ("h2", "You, 2026-11-20 12:30 UTC")
    assert text.endswith("## You, 2026-11-20 12:30 UTC\n\n> The last\n")
    assert all(re.fullmatch(r"(<details><summary>[^<>]*</summary>|</details>)\n?", html) for html in html_in(text))
    assert defined_in(text) == {}
    assert images_in(text) == []
    assert sum("<details>" in html for html in html_in(text)) == sum("</details>" in html for html in html_in(text))


def test_much_is_told_in_time() -> None:
    """Every length of code marks once, none closed: the work must not grow with their square."""
    many = " ".join("`" * n + "<" for n in range(1, 1200))
    assert "\\<" in safe(many)
