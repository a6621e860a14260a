"""Whatever is written, and wherever it stands, it stays text: seen through the tags of all that is rendered."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from riverrun.rendering.markdown import MarkdownStream, render
from riverrun.rendering.templates import show_images_of, to_html
from tests.each import each
from tests.hostile import ALL, CUTS, SHORT, run_of
from tests.rendering.runs import OTHER, stamped, view_of

# What a message is made of, and nothing else is.
ELEMENTS = {
    "a",
    "blockquote",
    "br",
    "button",
    "code",
    "del",
    "div",
    "em",
    "figcaption",
    "figure",
    "h3",
    "h4",
    "h5",
    "h6",
}
ELEMENTS |= {
    "hr",
    "input",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "span",
    "strong",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "tr",
    "ul",
}
ATTRIBUTES = {"aria-label", "checked", "class", "data-copy", "disabled", "href", "rel", "role", "start", "tabindex"}
ATTRIBUTES |= {"target", "title", "type"}
ADDRESS = re.compile(r"https?://|mailto:|#|/p/[0-9a-f-]{36}/passages/\d+$")
AWAY = "noopener noreferrer nofollow"


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_comment(self, data: str) -> None:
        self.found.append(("!--", {}))

    def handle_decl(self, decl: str) -> None:
        self.found.append(("!", {}))

    def handle_pi(self, data: str) -> None:
        self.found.append(("?", {}))


def faults(html: str) -> list[str]:
    found = Tags(html).found
    return [f"<{tag} {attributes}>" for tag, attributes in found if not is_harmless(tag, attributes)]


def is_harmless(tag: str, attributes: dict[str, str | None]) -> bool:
    if tag not in ELEMENTS or not set(attributes) <= ATTRIBUTES:
        return False
    address = attributes.get("href") or "#"
    is_kept_apart = not address.startswith("http") or attributes.get("rel") == AWAY
    return bool(ADDRESS.match(address)) and is_kept_apart and not re.search(r"[\x00-\x20\"'<>\\]", address)


def test_the_check_finds_what_it_is_for() -> None:
    for html in (
        "<script>x</script>",
        "<b onclick=x>",
        "<img src=x>",
        '<a href="javascript:x">a</a>',
        '<a href="https://x.y">a</a>',
        "<!-- x -->",
    ):
        assert faults(html), html


@each(ALL)
def test_a_message_is_made_of_harmless_elements(text: str) -> None:
    html = render(text)
    assert faults(html) == []
    for cut in CUTS if len(text) < 1_000 else CUTS[-1:]:
        stream = MarkdownStream()
        for piece in cut.pieces(text):
            shown = stream.feed(piece)
            assert faults(shown.append + (shown.tail or "") + shown.grow) == []
        assert stream.finished + stream.tail == html


def shape(html: str) -> list[tuple[str, tuple[str, ...]]]:
    """The elements in which no text makes a difference."""
    prose = {
        "td",
        "span",
        "p",
        "br",
        "details",
        "summary",
        "pre",
        "code",
        "div",
        "figure",
        "figcaption",
        "button",
        "h2",
    }
    return [(tag, tuple(attributes)) for tag, attributes in Tags(html).found if tag not in ELEMENTS | prose]


@each(SHORT)
def test_whatever_a_run_tells_is_text_in_its_place(text: str) -> None:
    """Every field of every event at once; the page is made of the same elements as one about a river."""
    shown, plain = (to_html("runs/_body.html", run=view_of(stamped(run_of([(each, each)])))) for each in (text, "Elbe"))
    assert shape(shown) == shape(plain)
    assert {name for _, given in Tags(shown).found for name in given} <= ATTRIBUTES | NAMES_IN_PAGES


NAMES_IN_PAGES = {"id", "action", "method", "aria-expanded", "data-agent", "data-kind", "data-filter", "data-of", "for"}
NAMES_IN_PAGES |= {
    "datetime",
    "hidden",
    "max",
    "value",
    "name",
    "open",
    "aria-current",
    "data-started-at",
    "data-revision",
}
NAMES_IN_PAGES |= {
    "hx-post",
    "hx-get",
    "hx-sync",
    "hx-target",
    "autocomplete",
    "aria-hidden",
    "aria-live",
    "data-copy-message",
}


@each(SHORT)
def test_a_name_stays_within_its_page(text: str) -> None:
    known = {"id": OTHER, "title": text, "content": text, "name": text}
    contexts: dict[str, dict[str, Any]] = {
        "conversations/_entry.html": {"conversation": known, "current": None},
        "conversations/_undo.html": {"deleted": known},
        "messages/_user.html": {"message": known, "branches": ()},
        "errors/_notice.html": {"message": text},
    }
    for name, context in contexts.items():
        shown, plain = (to_html(name, **each) for each in (context, replaced(context, text)))
        assert len(Tags(shown).found) == len(Tags(plain).found), name
        assert [sorted(given) for _, given in Tags(shown).found] == [sorted(given) for _, given in Tags(plain).found]


def replaced(context: dict[str, Any], text: str) -> dict[str, Any]:
    return {
        name: replaced(value, text) if isinstance(value, dict) else "Elbe" if value == text else value
        for name, value in context.items()
    }


@pytest.fixture
def _trusting() -> Iterator[None]:
    show_images_of(["images.example.org", "other.example.org:8443"])
    yield
    show_images_of([])


@pytest.mark.usefixtures("_trusting")
def test_images_of_chosen_hosts_are_shown_and_tell_nobody_where() -> None:
    assert render('![a *b*](https://images.example.org/a.png?x=1&y "t")') == (
        '<p><img class="image" src="https://images.example.org/a.png?x=1&amp;y" alt="a b" title="t"'
        ' loading="lazy" decoding="async" referrerpolicy="no-referrer"></p>\n'
    )
    assert "<img" in render("![](https://other.example.org:8443/a.png)")


@pytest.mark.usefixtures("_trusting")
@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/a.png",
        "http://images.example.org/a.png",
        "https://images.example.org:8443/a.png",
        "https://images.example.org.evil.example/a.png",
        "https://images.example.org@evil.example/a.png",
        "https://evil.example/@images.example.org/a.png",
        "https://evil.example#@images.example.org/a.png",
        "https://evil.example?@images.example.org/a.png",
        "//images.example.org/a.png",
    ],
)
def test_no_other_hosts_images_are(address: str) -> None:
    assert "<img" not in render(f"![a]({address})")
    assert "<img" not in render(f"![a](<{address}>)")


@pytest.mark.usefixtures("_trusting")
@each(SHORT)
def test_nothing_else_is_shown_where_images_are(text: str) -> None:
    for html in (
        render(f"![x](https://images.example.org/{text})"),
        render(f"![{text}](https://images.example.org/a)"),
    ):
        images = [given for tag, given in Tags(html).found if tag == "img"]
        names = {"class", "src", "alt", "title", "loading", "decoding", "referrerpolicy"}
        assert all(
            set(given) <= names and str(given["src"]).startswith("https://images.example.org/") for given in images
        )
        assert [fault for fault in faults(html) if not fault.startswith("<img ")] == []


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("https://example.org/a.png", "example.org"),
        ("https://user:pass@evil.example:8443/@example.org", "evil.example:8443"),
        ("HTTP://Example.ORG?x", "example.org"),
        ("https://bücher.example/a.png", "xn--bcher-kva.example"),
        ("https://evil.example\\\\@example.org", "example.org"),  # as it is written in the link: `evil.example%5C@`
    ],
)
def test_an_image_says_where_it_comes_from(address: str, host: str) -> None:
    assert f'<span class="image-link__host">Image from {host}' in render(f"![A river](<{address}>)")
