"""A page without scripts is only ever appended to, and ends with the text that a fresh page shows."""

import pytest

from riverrun.agents.events import AgentStart, Event, Interaction
from riverrun.rendering.growing import Growing
from riverrun.rendering.templates import finished_prose
from tests.rendering.dom import Element, parse
from tests.rendering.runs import MESSAGE, OTHER, REPLY, RUNS, chunks, complete, ended, stamped, start, view_of

TEXTS = {
    "with a definition that comes late": REPLY,
    "with an open code block": "Look:\n\n```python\nprint(1)",
    "with nothing to show": "[a]: https://example.org",
    "cut in the middle of a word": "One **two** thr",
    "empty": "",
}


def grown(events: list[Event], size: int) -> Element:
    reply = Growing(view_of([]))
    return parse("".join([reply.opening, *(reply.apply(events[at : at + size]) for at in range(0, len(events), size))]))


def shown(page: Element) -> str:
    """The text as the stylesheet lets it be seen: no version that another follows, no draft that anything follows."""
    versions = [element for element in page if "version" in (element.attributes.get("class") or "")]
    blocks = versions[-1].elements if versions else []
    drafts = [at for at, block in enumerate(blocks) if block.attributes.get("class") == "draft"]
    seen = [block for at, block in enumerate(blocks) if at not in drafts or at == len(blocks) - 1]
    return "".join(block.html() for block in seen if "hidden" not in block.attributes)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_text_ends_as_on_a_fresh_page(text: str, size: int) -> None:
    turn = [AgentStart(agent="Writer", turn=1), *chunks(1, text, 4), ended(1, text)]
    page = grown(stamped([start(), *turn, complete("complete", text)]), size)
    assert shown(page) == "".join(block.html() for block in parse(finished_prose(text)).elements)


@pytest.mark.parametrize("events", RUNS.values(), ids=RUNS.keys())
@pytest.mark.parametrize("size", [1, 10])
def test_any_run_ends_with_its_facts(events: list[Event], size: int) -> None:
    page = grown(events, size)
    foot = page.find(f"#foot-{MESSAGE}")
    assert foot is not None
    assert "a-model" in foot.text
    told = [
        element for element in page if {"step", "step__answer"} & set((element.attributes.get("class") or "").split())
    ]
    told = [element for element in told if element.elements]  # no call that waits for its answer
    assert len(told) == sum(type(event).__name__ in ("Interaction", "CodeChange") for event in events)


def test_text_that_waits_for_its_block_is_seen_meanwhile() -> None:
    reply = Growing(view_of([]))
    begun = stamped([start(), AgentStart(agent="Writer", turn=1), *chunks(1, "Done.\n\nStill <open", 100)])
    html = reply.opening + reply.apply(begun)
    assert html.endswith('<p>Done.</p>\n<p class="draft">Still &lt;open')


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_what_was_written_before_a_step_stands_before_it_alone(size: int) -> None:
    heard = Interaction(agent=None, turn=1, kind="message", content="In French!", message_id=OTHER)
    text = "So far and on.\n\nEn français."
    said = [*chunks(1, text[:14], 4), heard, *chunks(1, text[14:], 4), ended(1, text)]
    page = grown(stamped([start(), AgentStart(agent="Writer", turn=1), *said, complete("complete", text)]), size)
    versions = [element for element in page if "version" in (element.attributes.get("class") or "")]
    blocks = [[block.text for block in version.elements[1:] if block.text] for version in versions]
    assert blocks == [["So far and on."], ["En français."]]


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_what_became_void_is_not_seen(size: int) -> None:
    """Before a restart, that is: together with what came after it, or while the page grows."""
    first = [AgentStart(agent="Writer", turn=1), *chunks(1, "Gone.\n\nAnd vo", 4)]
    again = [AgentStart(agent="Writer", turn=1, attempt=2), *chunks(1, "Kept.", 4), ended(1, "Kept.")]
    page = grown(stamped([start(), *first, *again, complete("complete", "Kept.")]), size)
    assert shown(page) == "".join(block.html() for block in parse(finished_prose("Kept.")).elements)
