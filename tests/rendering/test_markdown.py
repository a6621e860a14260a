import re
import sys
from collections.abc import Callable, Iterable
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nh3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riverrun.rendering.markdown import MarkdownStream, Patch, render
from tests.each import each

ROOT = Path(__file__).parents[2]
SPEC = ROOT / "node_modules" / "commonmark-spec" / "spec.txt"  # from `npm ci`
EXAMPLE = re.compile(r"^`{32} example\n(.*?)^\.\n(.*?)^`{32}$", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    (text.replace("→", "\t"), html.replace("→", "\t"))
    for text, html in EXAMPLE.findall(SPEC.read_text().partition("<!-- END TESTS -->")[0])
]

REPLY = """\
# A plan

Setext, too
===========

First *some* **bold** text with `code`, a [link](https://example.org/a_(b)), https://example.org/bare, and a
[reference], whose definition [comes][later] at the end of it all.

1. **Install** it:
   ```bash
   pip install riverrun  # quick
   ```
2. Configure it
   - [x] a key
   - [ ] a model, see [later]
     1. deep

     2. deeper, and loose
3. Run it

```python
def stream(text: str) -> None:
    \"\"\"Cut ``` it < > &.\"\"\"

    for character in text:
        print(character)
```
| agent | does | cost |
|:------|:----:|-----:|
| planner | *plans* | 1 |
| coder | `a \\| b` | 2 |

> Quoted, and
lazy
> - with a list
>
> ```
> and code
> ```

***

~~~~html
<script>alert(1)</script>
~~~
~~~~

    indented

    code

  ```js
  let a = 1;
  ```
[later]: https://example.org/later
  'over
  two lines'
[reference]: <https://example.org/reference>
* one
* two
- three

The end. 🎉 <b>not bold</b> ![a picture](https://example.org/p.png)
"""


class Page:
    """What a browser does with patches."""

    def __init__(self) -> None:
        self.finished = self.tail = ""

    def apply(self, patch: Patch) -> None:
        if patch.reset:
            self.finished = ""
        self.finished += patch.append
        if patch.tail is not None:
            self.tail = patch.tail
        elif patch.grow:
            before, inside, after = self.tail.rpartition("</code>")
            assert inside, "only an open code block grows"
            self.tail = before + patch.grow + inside + after


def assert_streams_as_rendered(text: str, cuts: Iterable[int]) -> None:
    stream, page, begun = MarkdownStream(), Page(), 0
    for cut in [*cuts, len(text)]:
        page.apply(stream.feed(text[begun:cut]))
        begun = cut
        assert page.finished + page.tail == render(text[:cut]), text[:cut]
        assert (stream.finished, stream.tail) == (page.finished, page.tail), "for a page that comes in the middle"


def test_the_specification_is_there() -> None:
    assert len(EXAMPLES) > 600


@each(text for text, _ in EXAMPLES)
def test_every_example_streams_as_rendered_cut_at_every_character(text: str) -> None:
    assert_streams_as_rendered(text, range(1, len(text)))


@pytest.mark.parametrize(("size", "line_end"), [(1, "\n"), (40, "\n"), (3, "\r\n"), (7, "\r")])
def test_a_long_reply_streams_as_rendered(size: int, line_end: str) -> None:
    text = REPLY.replace("\n", line_end)
    assert_streams_as_rendered(text, range(size, len(text), size))
    assert render(text) == render(REPLY)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("- a\n---b |\n\t|-|-\nc", id="a table ends a list only when its second line is known"),
        pytest.param("para\na | b\n--|--\nc | d\n", id="the same for a paragraph"),
        pytest.param("```a|b\n--|--\nc|d\n", id="a fence may turn out to be the head of a table"),
        pytest.param("[a]: /x\n'title\nmore'\n", id="a paragraph becomes a definition's title"),
        pytest.param("[a]: /x\n'title\n===\nmore'\n", id="a heading does not"),
        pytest.param("[a\n===\nb\nc]: /x\n\n[a b c]\n", id="nor does it become a label"),
        pytest.param("- [a]: /x\n'title\nmore'\n\n[a]\n", id="a title may be outside the list it belongs to"),
        pytest.param("[a]\n\n> [a]: /x\n> 'title\n\n[a]: /y\n", id="the first definition holds"),
        pytest.param("a\r", id="half a line end"),
    ],
)
def test_what_later_lines_decide_streams_as_rendered(text: str) -> None:
    assert_streams_as_rendered(text, range(1, len(text)))


FRAGMENTS = [
    *("- ", "* ", "+ ", "1. ", "2) ", "> ", "# ", "    ", "  ", " ", "\t", "\n", "\n", "\n\n", "\r\n", "\r"),
    *("a", "b c", "**", "_", "`", "``", "```", "~~~", "```py\n", "---", "===", "--", "***", "|", "a|b\n", "--|--"),
    *("[a]", "[a]: ", "/x", "[b]: /y\n", "'t", '"', "(", ")", "[", "]", "![", "](", "[x] ", "[ ] ", "<b>", "&amp;"),
    *("https://a.b", "\\", ":", "\0", "\ud800", "é🎉", "\xa0", "<https://c.d>"),
]
TEXTS = st.lists(
    st.one_of(st.sampled_from(FRAGMENTS), st.sampled_from([text for text, _ in EXAMPLES]), st.characters()),
    max_size=25,
).map("".join)


@settings(deadline=None, max_examples=max(200, settings().max_examples))
@given(TEXTS, st.data())
def test_any_text_streams_as_rendered_however_it_is_cut(text: str, data: st.DataObject) -> None:
    everywhere = data.draw(st.booleans())
    cuts = (
        range(1, len(text)) if everywhere else data.draw(st.lists(st.integers(0, len(text)), unique=True).map(sorted))
    )
    assert_streams_as_rendered(text, cuts)


@settings(deadline=None, max_examples=max(200, settings().max_examples))
@given(TEXTS)
def test_whatever_is_written_nothing_but_known_markup_leaves(text: str) -> None:
    html = render(text)
    assert spelled_alike(SANITISER.clean(html)) == spelled_alike(html)
    assert all(re.match("https?://|mailto:|#", address, re.IGNORECASE) for address in HREF.findall(html))
    html.encode()


SANITISER = nh3.Cleaner(
    tags={
        *("p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "hr", "br", "em", "strong", "s", "code", "pre"),
        *("figure", "figcaption", "span", "button", "div", "table", "thead", "tbody", "tr", "th", "td", "a", "input"),
    },
    attributes={
        "*": {"class"},
        "a": {"href", "title", "target", "rel"},
        "span": {"title"},
        "ol": {"start"},
        "input": {"type", "disabled", "checked", "aria-label"},
        "button": {"type", "data-copy"},
        "div": {"tabindex", "role", "aria-label"},
        "pre": {"tabindex"},
    },
    link_rel=None,
    url_schemes={"http", "https", "mailto"},
)


HREF = re.compile(r'<a[^>]* href="([^"]*)"')


def spelled_alike(html: str) -> str:
    """Without what the sanitiser spells in another way, and without addresses: it knows which hosts cannot be."""
    return re.sub(r' (data-copy|disabled|checked)=""', r" \1", re.sub(r' href="[^"]*"', "", html)).replace(
        "&nbsp;", "\xa0"
    )


# which is a link here
BARE_ADDRESS = re.compile(r"(?<![<(\]])https?://")


@pytest.mark.parametrize(
    ("text", "expected"),
    [(text, html) for text, html in EXAMPLES if "<" not in text and not BARE_ADDRESS.search(text)],
)
def test_it_is_commonmark(text: str, expected: str) -> None:
    assert outline(render(text)) == outline(expected)


def outline(html: str) -> str:
    reader = Outline()
    reader.feed(html)
    return re.sub(r"\s*(<(?!/?(em|strong|a|code|br)>)[^>]*>)\s*", r"\1", "".join(reader.pieces)).strip()


class Outline(HTMLParser):
    """Structure and text of HTML, without what we do differently on purpose: the frame of code, attributes of
    links, links to images for images, and the level of headings."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "img":
            self.handle_data(attributes["alt"] or "image")
        elif tag in ("hr", "br"):
            self.pieces.append(f"<{tag}>")
        else:
            css_class = attributes.get("class") or ""
            told = tag == "span" and "title" in attributes and css_class != "image-link"
            kept = tag not in ("span", "figure") and css_class != "image-link"
            self.within.append(
                "figcaption" if css_class == "image-link__host" else "a" if told else tag if kept else ""
            )
            self._tell(f"<{level(self.within[-1])} {attributes.get('start', '')}>")

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("hr", "br", "img"):
            self._tell(f"</{level(self.within[-1])}>")
            self.within.pop()

    def handle_data(self, data: str) -> None:
        if "figcaption" not in self.within:
            self.pieces.append(data if "pre" in self.within else re.sub(r"\s+", " ", data))

    def _tell(self, tag: str) -> None:
        if self.within[-1] and "figcaption" not in self.within:
            self.pieces.append(tag)


def level(tag: str) -> str:
    return "heading" if re.fullmatch("h[1-6]", tag) else tag


# What a reader sees while text comes


def test_finished_blocks_are_sent_once_and_only_the_open_one_is_sent_again() -> None:
    stream = MarkdownStream()
    assert stream.feed("One") == Patch(tail="<p>One</p>\n")
    assert stream.feed(" *two*") == Patch(tail="<p>One <em>two</em></p>\n")
    assert stream.feed("\n\n") == Patch(append="<p>One <em>two</em></p>\n", tail="")
    assert stream.feed("Three") == Patch(tail="<p>Three</p>\n")


def test_a_list_is_open_until_a_line_shows_that_it_is_over() -> None:
    stream = MarkdownStream()
    stream.feed("1. a\n\n2")
    assert stream.finished == ""
    stream.feed(". b\n\n")
    assert (stream.finished, stream.tail.count("<li>")) == ("", 2)
    stream.feed("So")
    assert (stream.finished.count("<li>"), stream.tail) == (2, "<p>So</p>\n")


def test_an_open_code_block_only_grows_and_is_highlighted_when_it_closes() -> None:
    stream = MarkdownStream()
    stream.feed("```python\n")
    assert stream.feed("if a < b:") == Patch(grow="if a &lt; b:")
    assert stream.feed("\n  ") == Patch(grow="\n"), "a line that is blank so far may be the fence's"
    assert stream.feed("pass\n``") == Patch(grow="  pass\n``")
    closed = stream.feed("`\n")
    assert '<span class="k">if</span>' in closed.append
    assert closed.tail == ""


def test_a_line_that_only_looked_like_the_fence_reopens_the_code() -> None:
    stream = MarkdownStream()
    assert "<span" in (stream.feed("```python\nif a:\n```").tail or "").partition("<pre")[2]
    reopened = stream.feed("b\n")
    assert reopened.tail is not None
    assert "if a:\n```b\n</code>" in reopened.tail


def test_a_definition_that_comes_late_shows_the_links_anew() -> None:
    stream, page = MarkdownStream(), Page()
    page.apply(stream.feed("See [the docs].\n\nMore text.\n\n"))
    assert "[the docs]" in page.finished
    patch = stream.feed("[The Docs]: https://example.org\n")
    page.apply(patch)
    assert patch.reset
    assert '<a href="https://example.org"' in page.finished
    assert not stream.feed("\nAnd on it goes, [not defined] here.\n\n[other]: #x\n").reset, "nothing shown has changed"


async def test_following_gives_the_patches_of_feeding() -> None:
    code = "```python\n" + "x = [1, 2, 3]\n" * 500 + "```\n\nThe end."
    fed, followed = MarkdownStream(), MarkdownStream()
    pieces = [code[i : i + 700] for i in range(0, len(code), 700)]
    assert [await followed.follow(piece) for piece in pieces] == [fed.feed(piece) for piece in pieces]


def test_a_feed_costs_the_same_after_a_long_text() -> None:
    def calls(stream: MarkdownStream) -> int:
        return count_calls(lambda: [stream.feed(piece) for piece in ("Some *text*", " and more", ".\n\n")])

    fresh, long = MarkdownStream(), MarkdownStream()
    long.feed(REPLY * 20 + "\n")
    assert calls(long) < calls(fresh) * 1.5


def test_a_word_in_a_long_list_costs_no_parse_of_the_list() -> None:
    stream = MarkdownStream()
    stream.feed("- item with *text*\n" * 500 + "- and")
    assert count_calls(lambda: stream.feed(" a word")) < 200


def count_calls(work: Callable[[], object]) -> int:
    count = 0

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


# What it is rendered as


def test_markup_in_a_message_is_shown_as_text() -> None:
    html = render("<script>alert(1)</script>\n\n<b onclick=x>a</b> &lt;i> `<u>`")
    assert set(re.findall("<([a-z]+)", html)) == {"p", "code"}
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


@pytest.mark.parametrize("address", ["http://a.b/c?d=1&e=2", "https://a.b", "HTTPS://a.b"])
def test_links_to_the_web_open_elsewhere_and_tell_nothing(address: str) -> None:
    assert render(f"[x]({address})") == (
        f'<p><a href="{escape(address)}" target="_blank" rel="noopener noreferrer nofollow">x</a></p>\n'
    )


@pytest.mark.parametrize("address", ["mailto:a@b.c", "#part"])
def test_links_to_mail_and_within_the_page_stay_here(address: str) -> None:
    assert render(f"[x]({address})") == f'<p><a href="{address}">x</a></p>\n'


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "//evil.example",
        "/runs/1",
        "src/a.py",
        "http:a",
    ],
)
def test_other_destinations_are_told_but_not_linked(address: str) -> None:
    for html in (render(f"[x]({address})"), render(f"![x]({address})"), render(f"[x]\n\n[x]: {address}")):
        assert "href" not in html
        assert f'title="{address}">x</span>' in unescape(html)


def test_images_are_linked_and_never_loaded() -> None:
    html = render('![a *b* c](https://x.y/z.png "t")')
    assert html == (
        '<p><a class="image-link" href="https://x.y/z.png" title="t" target="_blank"'
        ' rel="noopener noreferrer nofollow">a b c <span class="image-link__host">Image from x.y</span></a></p>\n'
    )
    assert render("[![alt](https://a.b/c.png)](https://d.e)").count("<a") == 1, "a link holds no other"
    assert render("[a <https://b.c> d](https://e.f)").count("<a") == 1
    assert ">image <span" in render("![](https://a.b/c.png)")
    assert "<a" not in render("![a](data:image/png;base64,AAAA) ![b](/own.png) ![c](//a.b/c.png)")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("see https://a.b/c.", "https://a.b/c"),
        ("(https://a.b/c_(d))", "https://a.b/c_(d)"),
        ("**https://a.b**, and", "https://a.b"),
        ("看https://a.b。", "https://a.b"),
        ("| x |\n|--|\n| https://a.b|", "https://a.b"),
    ],
)
def test_bare_addresses_are_links(text: str, address: str) -> None:
    assert re.findall('href="([^"]*)"', render(text)) == [address]
    assert f">{address}</a>" in render(text)


@pytest.mark.parametrize("text", ["xhttps://a.b", "https://", "`https://a.b`", "http:a", "ftp://a.b"])
def test_what_only_looks_like_an_address_is_text(text: str) -> None:
    assert "<a" not in render(text)


def test_a_code_block_has_a_frame_with_its_language_and_a_button() -> None:
    assert render("```nosuch\na < b\n```") == (
        '<figure class="code"><figcaption class="code__bar"><span class="code__language">nosuch</span>'
        '<button class="code__copy" type="button" data-copy>Copy</button></figcaption>'
        '<pre class="code__body" tabindex="0"><code class="language-nosuch">a &lt; b\n</code></pre></figure>\n'
    )


@pytest.mark.parametrize(
    ("info", "language"),
    [
        ("", "text"),
        ("c++", "c++"),
        ("python title=x", "python"),
        ('"><script>', "text"),
        ("py<b>", "py"),
        ("a" * 50, "a" * 32),
    ],
)
def test_the_language_is_only_ever_a_word(info: str, language: str) -> None:
    html = render(f"```{info}\nx\n```")
    assert f'<span class="code__language">{language}</span>' in html
    assert f'<code class="language-{language}">' in html


def test_code_is_highlighted_only_when_its_own_fence_closed_it() -> None:
    def is_highlighted(text: str) -> bool:
        return 'class="k"' in render(text)

    assert is_highlighted("```python\nimport a\n```")
    assert is_highlighted("- ```python\n  import a\n  ```")
    assert not is_highlighted("```python\nimport a\n")
    assert not is_highlighted("> ```python\n> import a\n\nand")


def test_tables_scroll_by_themselves_and_align_by_class() -> None:
    html = render("|a|b|c|d|\n|:-|:-:|-:|-|\n|1|2|3|")
    assert html.startswith('<div class="table" tabindex="0" role="region" aria-label="Table"><table>')
    assert re.findall(r"<th[^>]*>", html)[1:] == [
        '<th class="align-left">',
        '<th class="align-center">',
        '<th class="align-right">',
        "<th>",
    ]
    assert "style" not in html


def test_headings_stand_below_those_of_the_page() -> None:
    assert re.findall(r"<h(\d)", render("# a\n## b\n### c\n#### d\n###### e\nf\n=\n")) == list("345663")


def test_tasks_say_whether_they_are_done() -> None:
    html = render("- [x] a\n- [ ] b\n- c")
    assert '<ul class="contains-task-list">' in html
    assert '<li class="task-list-item"><input type="checkbox" disabled checked aria-label="Completed task"> a' in html
    assert '<input type="checkbox" disabled aria-label="Incomplete task"> b' in html
    assert "<li>c" in html


# Input that means no good


def test_what_cannot_stand_in_a_page_is_replaced() -> None:
    assert render("a\0b\ud800c") == "<p>a\ufffdb\ufffdc</p>\n"


def test_text_nested_too_deeply_is_shown_all_the_same() -> None:
    assert "deep" in render("> " * 300 + "deep")
    assert "after" in render("".join("  " * i + "- a\n" for i in range(60)) + "\nafter")


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "![",
        "[![",
        "*",
        "**a",
        "a**b_",
        "`",
        "~",
        "<",
        "&",
        ">",
        "> ",
        "- ",
        "1. ",
        "|",
        "#",
        "https://",
        "\\",
        "((",
    ],
)
def test_ten_thousand_of_anything_end(piece: str) -> None:
    text = piece * (10_000 // len(piece))
    assert_streams_as_rendered(text, range(2_000, len(text), 2_000))


def test_short_rows_of_a_wide_table_do_not_fill_the_memory() -> None:
    text = "a|" * 256 + "\n" + "-|" * 256 + "\n" + "a\n" * 250
    assert len(render(text)) < 100 * len(text)
    assert_streams_as_rendered(text, range(100, len(text), 100))


def test_a_paragraph_of_brackets_is_shown_as_it_was_written() -> None:
    assert render("[a](#b) " * 100).count("<a") == 100
    assert "[a](#b) [a](#b)" in render("[a](#b) " * 1_000)


def test_a_very_long_paragraph_is_shown_as_it_was_written() -> None:
    assert "<em>" in render("*word* " * 1_000)
    assert "*word* *word*" in render("*word* " * 10_000)


@pytest.mark.parametrize("at", range(1, len(REPLY), 11))
def test_a_copy_goes_on_from_where_its_original_was(at: int) -> None:
    original, page = MarkdownStream(), Page()
    for character in REPLY[:at]:
        page.apply(original.feed(character))
    copy = original.copy()
    assert (copy.finished, copy.tail) == (original.finished, original.tail)
    original.feed("\n\n[docs]: https://example.org/elsewhere\n\n```\nsomething else")
    for character in REPLY[at : at + 40]:
        page.apply(copy.feed(character))
    assert page.finished + page.tail == render(REPLY[: at + 40])
