"""A page as a tree, and the swaps that htmx makes in it: enough of both for what riverrun sends."""

from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser

VOID = {"br", "hr", "img", "input", "link", "meta"}
SPACE_COUNTS = {"pre", "code", "p", "li", "td", "th", "a", "em", "strong", "del", "h3", "h4", "h5", "h6"}


class Element:
    def __init__(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.tag = tag
        self.attributes = attributes
        self.children: list[Element | str] = []
        self.parent: Element | None = None

    def append(self, child: "Element | str") -> None:
        if isinstance(child, Element):
            child.parent = self
        elif self.children and isinstance(self.children[-1], str):
            child = f"{self.children.pop()}{child}"
        self.children.append(child)

    def __iter__(self) -> Iterator["Element"]:
        yield self
        for child in self.elements:
            yield from child

    @property
    def elements(self) -> list["Element"]:
        return [child for child in self.children if isinstance(child, Element)]

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def find(self, selector: str) -> "Element | None":
        """`#id`, which may be followed by ` > tag` and ` > tag:last-child`."""
        name, *steps = selector.split(" > ")
        found = [element for element in self if element.attributes.get("id") == name.removeprefix("#")]
        assert len(found) <= 1, f"{name} stands {len(found)} times in the page"
        for step in steps:
            tag, _, place = step.partition(":")
            inner = [child for element in found for child in element.elements]
            found = [child for child in inner if child.tag == tag and (not place or child is inner[-1])]
        return found[0] if found else None

    def html(self) -> str:
        """Without the space between elements that nobody sees."""
        attributes = "".join(
            f" {name}" if value is None else f' {name}="{escape(value)}"' for name, value in self.attributes.items()
        )
        inner = "".join(
            child.html() if isinstance(child, Element) else escape(child, quote=False)
            for child in self.children
            if isinstance(child, Element) or child.strip() or self.tag in SPACE_COUNTS
        )
        return f"<{self.tag}{attributes}>{inner}" + ("" if self.tag in VOID else f"</{self.tag}>")


class Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.open = Element("root", {})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open.append(element)
        if tag not in VOID:
            self.open = element

    def handle_endtag(self, tag: str) -> None:
        assert self.open.tag == tag, f"</{tag}> closes <{self.open.tag}>"
        assert self.open.parent is not None
        if tag == "template":
            self.open.children = []  # not part of the page
        self.open = self.open.parent

    def handle_data(self, data: str) -> None:
        self.open.append(data)


def parse(html: str) -> Element:
    parser = Parser()
    parser.feed(html)
    parser.close()
    assert parser.open is parser.root, f"<{parser.open.tag}> is not closed"
    return parser.root


def swap(page: Element, fragments: str) -> None:
    """Does what htmx does for a message of `<hx-partial>`s. A target that is missing fails, where htmx shrugs."""
    for partial in parse(fragments).elements:
        if partial.tag == "title":
            continue
        assert partial.tag == "hx-partial", partial.tag
        selector, style = partial.attributes["hx-target"], partial.attributes["hx-swap"]
        assert selector
        assert style
        target = page.find(selector)
        assert target is not None, f"{selector} is not in the page"
        put(target, style.split()[0], partial.children)


def put(target: Element, style: str, content: list[Element | str]) -> None:
    match style:
        case "innerHTML":
            target.children = []
            extend(target, content)
        case "beforeend":
            extend(target, content)
        case "afterbegin":
            present, target.children = target.children, []
            extend(target, [*content, *present])
        case "beforebegin":
            among_siblings(target, [*content, target])
        case "outerHTML":
            among_siblings(target, content)
        case "delete":
            among_siblings(target, [])
        case _:
            raise AssertionError(f"htmx knows more swaps than this test: {style}")


def among_siblings(target: Element, content: list[Element | str]) -> None:
    parent = target.parent
    assert parent is not None
    siblings, parent.children = parent.children, []
    for sibling in siblings:
        extend(parent, content if sibling is target else [sibling])


def extend(parent: Element, content: list[Element | str]) -> None:
    for child in content:
        parent.append(child)
