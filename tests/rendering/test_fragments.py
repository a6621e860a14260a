"""Principle 4: the page before plus the fragments is the page after, at every point and for every kind of event."""

import asyncio
import typing
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riverrun.agents.events import (
    AgentChunk,
    AgentStart,
    CodeChange,
    Error,
    Event,
    Interaction,
    Progress,
)
from riverrun.rendering.fragments import Fragments
from riverrun.rendering.templates import to_html
from tests.rendering.dom import Element, parse, swap
from tests.rendering.runs import MESSAGE, REPLY, RUNS, chunks, complete, ended, stamped, start, view_of

each_run = pytest.mark.parametrize("events", RUNS.values(), ids=RUNS.keys())


def page_of(events: Sequence[Event]) -> Element:
    view = view_of(events)
    reply = to_html("messages/_assistant.html", run=view, branches=())
    acts = to_html("messages/_acts.html", running=view.running)
    return parse(f'{reply}{acts}<p id="status"></p>')


def told(page: Element) -> str:
    """What the page shows: but for the cursor it was loaded with, and what was announced meanwhile."""
    for element in page:
        element.attributes.pop("hx-sse:connect", None)
    status = page.find("#status")
    assert status is not None
    status.children = []
    return page.html()


async def test_the_runs_here_hold_every_kind_of_event() -> None:
    assert {type(event) for event in RUNS["whole"]} | {Error} == set(typing.get_args(Event))


@each_run
async def test_page_plus_fragment_is_the_next_page(events: list[Event]) -> None:
    for before in range(len(events)):
        page = page_of(events[:before])
        swap(page, await Fragments(view_of(events[:before])).apply([events[before]]))
        assert told(page) == told(page_of(events[: before + 1])), events[before]


@each_run
@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
async def test_a_page_that_stays_open_ends_as_a_fresh_one(events: list[Event], size: int) -> None:
    page, fragments = page_of([]), Fragments(view_of([]))
    for at in range(0, len(events), size):
        swap(page, await fragments.apply(events[at : at + size]))
        assert told(page) == told(page_of(events[: at + size]))


@each_run
async def test_a_snapshot_brings_any_page_up_to_date(events: list[Event]) -> None:
    for behind in range(len(events)):
        for ahead in (behind, (behind + len(events)) // 2, len(events)):
            page = page_of(events[:behind])
            swap(page, Fragments(view_of(events[:ahead])).snapshot())
            assert told(page) == told(page_of(events[:ahead]))


@each_run
async def test_a_finished_run_shows_the_same_without_its_chunks(events: list[Event]) -> None:
    kept = [event for event in events if not isinstance(event, AgentChunk)]
    assert told(page_of(kept)) == told(page_of(events))


async def test_what_is_being_read_is_never_replaced() -> None:
    """Otherwise a selection would be lost, and steps that were opened would close."""
    reply = REPLY.replace("[link][later]", "link")
    thought = Interaction(agent="Writer", turn=1, kind="thought", content="Well")
    turn = [AgentStart(agent="Writer", turn=1), thought, *chunks(1, reply, 3), ended(1, reply)]
    page, fragments = page_of([]), Fragments(view_of([]))
    seen: set[Element] = set()
    for event in stamped([start(), *turn, complete("complete", reply)]):
        swap(page, await fragments.apply([event]))
        assert seen <= set(page)
        seen |= {element for element in page if element.tag == "details"}
        text = page.find(f"#text-{MESSAGE}-1")
        if text:
            seen |= {block for block in text.elements if block.attributes.get("class") != "tail"}
    assert {element.tag for element in seen} >= {"details", "h3", "p", "ol", "div", "figure"}


async def test_screen_readers_hear_steps_and_ends_but_no_text() -> None:
    page, fragments = page_of([]), Fragments(view_of([]))
    heard: list[str] = []
    for event in RUNS["whole"]:
        swap(page, await fragments.apply([event]))
        status = page.find("#status")
        assert status is not None
        heard.append(status.text)
    changes = [after for before, after in pairwise(["", *heard]) if after != before]
    assert changes == [
        "Thinking",
        "Finder is thinking.",
        "Finder is calling search.",
        "Writer is thinking.",
        "Writer is writing.",
        "Writer is thinking.",
        "Finder is calling write_file.",
        "Writing",
        "Writer is writing.",
        "The reply is complete.",
    ]


async def test_text_of_a_frame_comes_as_one_change() -> None:
    view = view_of(RUNS["whole"][:2])
    writing = stamped([AgentStart(agent="Writer", turn=1), *chunks(1, "word " * 200, 5)])
    fragments = Fragments(view)
    await fragments.apply(writing[:10])
    html = await fragments.apply(writing[10:])
    assert html.count("<hx-partial") == 1


PIECES = [
    "a",
    " ",
    "\n",
    "\n\n",
    "*",
    "**",
    "`",
    "```\n",
    "```py\n",
    "# ",
    "- ",
    "1. ",
    "> ",
    "|",
    "|-|\n",
    "[x]",
    "](u)",
    "<b>",
]
PIECES += ["[r]: http://e.x\n", "&amp;", "    ", "\r\n", "é", "\0"]


HAPPENINGS = ["start", *["chunk"] * 3, "end", "step", "call", "call", "answer", "answer", "again", "change", "progress"]


@st.composite
def runs(draw: st.DrawFn) -> list[Event]:
    """A valid run of up to three turns that overlap as they like."""
    events: list[Event] = [start()]
    written: dict[int, str] = {}
    attempts: dict[int, int] = {}
    called: list[tuple[int, str]] = []
    for _ in range(draw(st.integers(0, 40))):
        match draw(st.sampled_from(HAPPENINGS)):
            case "start" if len(attempts) < 3:
                turn = len(attempts) + 1
                attempts[turn], written[turn] = 1, ""
                events.append(AgentStart(agent=f"Agent {turn}", turn=turn, lane="support" if turn == 1 else "answer"))
            case "chunk" if written:
                turn = draw(st.sampled_from(sorted(written)))
                text = "".join(draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6)))
                events.append(AgentChunk(agent=f"Agent {turn}", turn=turn, text=text, offset=len(written[turn])))
                written[turn] += text
            case "end" if written:
                turn = draw(st.sampled_from(sorted(written)))
                events.append(ended(turn, written.pop(turn)))
            case "again" if written:
                turn = draw(st.sampled_from(sorted(written)))
                attempts[turn] += 1
                written[turn] = ""
                events.append(AgentStart(agent=f"Agent {turn}", turn=turn, attempt=attempts[turn]))
            case "step" if attempts:
                turn = draw(st.sampled_from(sorted(attempts)))
                events.append(Interaction(turn=turn, kind="thought", content=draw(st.sampled_from(PIECES))))
            case "call" if attempts:
                turn, call_id = draw(st.sampled_from(sorted(attempts))), f"{len(events)}"
                called.append((turn, call_id))
                events.append(Interaction(turn=turn, kind="tool_call", tool_name="look", call_id=call_id))
            case "answer" if called:
                turn, call_id = called.pop(draw(st.integers(0, len(called) - 1)))
                said = draw(st.sampled_from(PIECES))
                events.append(Interaction(turn=turn, kind="tool_response", content=said, call_id=call_id))
            case "change":
                events.append(CodeChange(path="a.py", change="created", diff="+1"))
            case "progress":
                events.append(Progress(fraction=0.5, message=draw(st.sampled_from(["", "Working"]))))
            case _:
                pass
    if draw(st.booleans()):
        events += [ended(turn, text, "cancelled") for turn, text in written.items()]
        events.append(complete("cancelled"))
    return stamped(events)


@settings(max_examples=80, deadline=None)
@given(runs(), st.data())
def test_any_run_in_any_batches(events: list[Event], data: st.DataObject) -> None:
    async def follow() -> None:
        at = data.draw(st.integers(0, len(events)))
        page, fragments = page_of(events[:at]), Fragments(view_of(events[:at]))
        while at < len(events):
            size = data.draw(st.integers(1, 8))
            swap(page, await fragments.apply(events[at : at + size]))
            at += size
        assert told(page) == told(page_of(events))

    asyncio.run(follow())
