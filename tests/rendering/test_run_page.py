"""What a page tells of a run beside its text: steps that can be opened, diffs, lanes, the stepper, all activity."""

from typing import Any
from uuid import UUID

import pytest

from riverrun.agents.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    CodeChange,
    Event,
    Interaction,
    Progress,
)
from riverrun.agents.planning import STEPS
from riverrun.rendering.markdown import render
from riverrun.rendering.steps import cut
from riverrun.rendering.templates import to_html
from tests.rendering.dom import Element, parse
from tests.rendering.runs import BEGAN, MESSAGE, OTHER, RUNS, complete, ended, stamped, start, view_of

REVISION = UUID(int=9)
BEGUN = Progress(fraction=0.0, step="start")  # of the eight steps


def page_of(*events: Event) -> Element:
    begun = [start(), AgentStart(agent="Writer", turn=1, role="writes", lane="support")]
    return parse(to_html("runs/_body.html", run=view_of(stamped([*begun, *events]))))


def call(name: str, call_id: str, **arguments: Any) -> Interaction:
    return Interaction(
        agent="Writer", turn=1, kind="tool_call", tool_name=name, tool_arguments=arguments, call_id=call_id
    )


def answer(name: str, call_id: str, content: str) -> Interaction:
    return Interaction(agent="Writer", turn=1, kind="tool_response", tool_name=name, call_id=call_id, content=content)


def step(kind: Any, **told: Any) -> Element:
    return one(page_of(Interaction(agent="Writer", turn=1, kind=kind, **told)), f"step--{kind}")


def change(diff: str, **told: Any) -> Element:
    return one(page_of(CodeChange(path="a.py", change="modified", diff=diff, **told)), "step--change")


def every(page: Element, css_class: str) -> list[Element]:
    return [element for element in page if css_class in (element.attributes.get("class") or "").split()]


def one(page: Element, css_class: str) -> Element:
    [element] = every(page, css_class)
    return element


def words(element: Element) -> str:
    return " ".join(element.text.split())


# Steps


def test_arguments_are_highlighted_json() -> None:
    search = step("tool_call", tool_name="search", tool_arguments={"query": "<b>", "most": 3})
    assert one(search, "step__text").text == '{\n  "query": "<b>",\n  "most": 3\n}'
    assert '<span class="m">3</span>' in search.html()
    assert words(search.elements[0]) == "Calls search query: <b>, most: 3"


def test_a_text_among_arguments_stands_by_itself_highlighted_by_the_path() -> None:
    arguments = {"path": "src/a.py", "content": 'def f():\n    return "x"\n'}
    write = page_of(call("write_file", "c", **arguments))
    rest, content = every(write, "step__text")
    assert rest.text == '{\n  "path": "src/a.py"\n}'
    assert words(one(write, "step__label")) == "content"
    assert content.text == arguments["content"]
    assert '<span class="k">def</span>' in content.html()


def test_what_is_replaced_stands_as_text_even_if_it_is_a_line() -> None:
    edit = page_of(call("edit_file", "c", path="a.py", old="import os", new="import sys"))
    assert [words(label) for label in every(edit, "step__label")] == ["old", "new"]
    assert [text.text for text in every(edit, "step__text")[1:]] == ["import os", "import sys"]


def test_an_answer_stands_with_its_call() -> None:
    calls = [call("search", "c", q="x"), call("search", "d", q="y")]
    told = page_of(*calls, answer("search", "d", "one\ntwo"), answer("search", "c", ""))
    first, second = every(told, "step")
    assert words(first.elements[0]) == "Calls search x → nothing"
    assert words(second.elements[0]) == "Calls search y → one two"
    assert [text.text for text in every(second, "step__text")] == ['{\n  "q": "y"\n}', "one\ntwo"]
    waiting = page_of(*calls)
    assert [words(said) for said in every(waiting, "step__said")] == ["", ""]


def test_an_answer_to_nothing_stands_by_itself() -> None:
    assert words(step("tool_response", tool_name="t", call_id="nobody's", content="42").elements[0]) == "t answers 42"


def test_what_was_read_of_a_file_is_highlighted_as_that_file() -> None:
    told = page_of(call("read_file", "c", path="src/a.py"), answer("read_file", "c", "import os\n"))
    assert '<span class="k">import</span>' in told.html()


def test_json_on_one_line_is_laid_out() -> None:
    told = one(step("tool_response", tool_name="t", content='{"a": [1, {"b": null}]}'), "step__text")
    assert told.text.split("\n")[:2] == ["{", '  "a": [']


def test_a_response_is_highlighted_if_it_is_json() -> None:
    assert '<span class="m">1</span>' in step("tool_response", tool_name="t", content='{"a": 1}').html()
    assert "<span class=" not in one(step("tool_response", tool_name="t", content="{1 is no JSON"), "step__text").html()
    assert every(step("tool_response", tool_name="t", content=""), "step__text") == []


def test_of_a_long_text_the_rest_is_shown_when_it_is_asked_for() -> None:
    text = "\n".join(f"line {n}" for n in range(1, 101))
    response = step("tool_response", tool_name="read", content=text)
    more = one(response, "step__more")
    assert more.tag == "details"
    assert "open" not in more.attributes
    assert words(more.elements[0]) == "Show all (100 lines)"
    shown, rest = every(response, "step__text")
    assert f"{shown.text}\n{rest.text}" == text
    assert shown.text.endswith("line 12")
    assert rest.parent is more


@pytest.mark.parametrize(
    "text",
    ["", "short", "a\nb\n", "x" * 5000, "y\n" * 13, "z\n" * 100, ("w" * 700 + "\n") * 9, "x" * 1600 + "\nend"],
)
def test_what_is_cut_is_all_there(text: str) -> None:
    told = cut(text)
    assert told.shown + told.rest == text or f"{told.shown}\n{told.rest}" == text
    assert len(told.shown) <= 2000


def test_long_code_behind_a_click_does_not_hold_up_the_page() -> None:
    """Highlighting takes tens of milliseconds for such a text, and a conversation may hold hundreds."""
    arguments = {"path": "a.py", "content": "x = f(1)\n" * 4000}
    shown, rest = every(page_of(call("write_file", "c", **arguments)), "step__text")[1:]
    assert "<span" in shown.html()
    assert "<span" not in rest.html()


def test_passages_that_were_found_are_links() -> None:
    passages = [
        {"document": "Rivers.pdf", "heading": "Bends", "address": f"/p/{OTHER}/passages/7", "text": "Water <swings>."},
        {"document": "Notes", "heading": "", "address": f"/p/{OTHER}/passages/8", "text": "More"},
    ]
    found = step("retrieval", content="why bends", tool_arguments={"passages": passages})
    assert words(one(found, "step__gist")) == "“why bends”: 2 passages"
    links = [element for element in found if element.tag == "a"]
    assert [(link.text, link.attributes["href"]) for link in links] == [
        ("Rivers.pdf › Bends", f"/p/{OTHER}/passages/7"),
        ("Notes", f"/p/{OTHER}/passages/8"),
    ]
    assert "Water <swings>." in found.text
    assert "1 passage" in words(step("retrieval", content="q", tool_arguments={"passages": passages[:1]}))
    assert "0 passages" in words(step("retrieval", content="q", tool_arguments={"passages": []}))


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "https://evil.example", f"/p/{OTHER}/../../tokens", "/p/1/passages/7", "", None]
)
def test_a_passage_leads_nowhere_but_to_this_house(address: str | None) -> None:
    passages = [{"document": "Rivers.pdf", "address": address, "text": "Water"}]
    found = step("retrieval", content="q", tool_arguments={"passages": passages})
    assert [element for element in found if element.tag == "a"] == []
    assert "Rivers.pdf" in words(found)


@pytest.mark.parametrize("arguments", [None, {}, {"passages": None}, {"passages": ["x", 1]}, {"passages": [{}]}])
def test_a_retrieval_of_another_make_is_shown_as_it_is(arguments: dict[str, Any] | None) -> None:
    assert "why bends" in words(step("retrieval", content="why bends", tool_arguments=arguments))


def test_a_memory_is_told_as_one() -> None:
    assert "Remembers They like metres" in words(step("memory", content="They like metres"))


def test_a_call_without_arguments_says_so() -> None:
    assert "Without arguments" in words(step("tool_call", tool_name="list_files", tool_arguments={}))


# Changes


def test_a_change_tells_its_kind_path_and_size() -> None:
    diff = "--- a/a.py\n+++ b/a.py\n@@ -1,3 +1,3 @@\n kept\n--- a comment\n-x\n+y\n"
    told = change(diff)
    assert words(told.elements[0]) == "Modified a.py +1 −2"
    assert one(told, "step__text").text == "@@ -1,3 +1,3 @@\n kept\n--- a comment\n-x\n+y"
    assert {element.text.strip("\n") for element in every(one(told, "step__body"), "gi")} == {"+y"}
    assert every(told, "step__acts") == []


def test_a_change_with_a_revision_can_be_taken_back_and_opened() -> None:
    told = change("+y", revision_id=REVISION)
    taken = told.find(f"#taken-{REVISION}")
    assert taken is not None
    [form] = taken.elements
    assert form.attributes["method"] == "post"
    assert form.attributes["action"] == form.attributes["hx-post"] == f"/revisions/{REVISION}/reverts"
    assert words(form) == "Take back"
    links = [element for element in told if element.tag == "a"]
    assert [(link.text, link.attributes["href"]) for link in links] == [("Open", f"/revisions/{REVISION}")]
    assert not any(link in list(taken) for link in links), "it can be opened after it was taken back as well"


def test_a_change_without_lines_says_so() -> None:
    assert "no lines to compare" in change("").text


def test_a_long_diff_is_cut() -> None:
    told = change("--- a/a.py\n+++ b/a.py\n" + "+line\n" * 60)
    assert words(one(told, "step__more").elements[0]) == "Show all (60 lines)"


# Lanes


def test_a_lane_tells_what_its_agent_does() -> None:
    chunk = AgentChunk(agent="Writer", turn=1, text="So")
    done = [ended(1, "So", reason) for reason in ("stop", "cancelled", "error")]
    calls: list[Event] = [call("search", "c"), call("read", "d")]
    so_far = [*calls, answer("search", "c", "1"), answer("read", "d", "2"), chunk, call("read", "e")]
    so_far.append(answer("read", "e", "3"))
    states = [words(one(page_of(*so_far[:n]), "turn__state")) for n in range(len(so_far) + 1)]
    assert states == [
        "thinking",
        "calling search",
        "calling search",
        "calling read",
        "thinking",
        "writing",
        "calling read",
        "thinking",
    ]
    assert [words(one(page_of(end), "turn__state")) for end in done] == ["done", "stopped", "failed"]


def test_a_lane_tells_how_long_it_works() -> None:
    clock = one(page_of(), "turn__time")
    assert "meter" in (clock.attributes["class"] or "")
    assert (clock.attributes["data-started-at"] or "").startswith(BEGAN.isoformat()[:19])
    assert words(one(page_of(ended(1, "Done")), "turn__time")) == "1.5 s"


# Steps of a plan


def stages(*events: Event) -> list[tuple[str, str]]:
    marks = {"done": "done", "current": "current", "ended": "ended", "to-come": "to come"}
    return [
        (
            words(item).removesuffix(" done").removesuffix(" ended"),
            marks[(item.attributes["class"] or "").split("--")[-1]],
        )
        for item in every(page_of(*events), "stepper__step")
    ]


def test_the_stepper_tells_what_is_done_at_work_and_to_come() -> None:
    told = stages(BEGUN, Progress(fraction=0.4, step="planning"))
    assert [name.lower() for name, _ in told] == list(STEPS)
    assert [standing for _, standing in told] == ["done"] * 3 + ["current"] + ["to come"] * 4
    [current] = [
        item for item in page_of(BEGUN, Progress(fraction=0.4, step="planning")) if item.attributes.get("aria-current")
    ]
    assert (current.text.strip(), current.attributes["aria-current"]) == ("Planning", "step")


@pytest.mark.parametrize(("status", "standing"), [("failed", "ended"), ("cancelled", "ended"), ("complete", "done")])
def test_the_stepper_stays_and_tells_where_it_ended(status: Any, standing: str) -> None:
    told = stages(BEGUN, Progress(fraction=0.6, step="validation"), ended(1, ""), complete(status))
    assert told[4] == ("Validation", standing)
    assert told[3][1] == "done"
    assert told[5][1] == "to come"


def test_a_step_of_another_name_leaves_the_stepper_where_it_is() -> None:
    told = stages(BEGUN, Progress(fraction=0.4, step="planning"), Progress(fraction=0.5, step="searching"))
    assert told[3][1] == "current"


def test_other_teams_have_no_stepper() -> None:
    assert stages(Progress(fraction=0.4, step="writing")) == []
    assert stages(Progress(fraction=0.4, step="planning"), Progress(fraction=0.5, step="coding")) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(41.2, "about 40 s left"), (2.0, "about 5 s left"), (118.0, "about 2 min left"), (None, ""), (0.0, "")],
)
def test_the_time_that_is_left_is_told_as_exactly_as_it_is_known(seconds: float | None, told: str) -> None:
    metadata = {} if seconds is None else {"seconds_left": seconds}
    page = page_of(Progress(fraction=0.5, step="planning", message="Planning", metadata=metadata))
    assert " ".join(map(words, every(page, "run__left"))) == told


# Activity


def test_activity_is_everything_in_order_but_the_text() -> None:
    events = RUNS["whole"]
    page = parse(to_html("runs/_body.html", run=view_of(events)))
    lines = every(page, "entry-line")
    kept = [event for event in events if not isinstance(event, AgentChunk)]
    assert len(lines) == len(kept)
    assert words(page.find(f"#activity-{MESSAGE}") or page).startswith(f"Activity ({len(kept)})")
    assert words(lines[0]) == "0.0 s start assistant, a-model"
    assert words(lines[3]) == "0.8 s Finder thought First line and <more>"
    kinds = {line.attributes["data-kind"] for line in lines}
    assert kinds >= {"thought", "tool call", "tool response", "message", "memory", "retrieval", "code change"}
    assert [line.attributes["data-agent"] for line in lines] == [event.agent or "" for event in kept]


def test_every_line_of_the_activity_says_something() -> None:
    for events in RUNS.values():
        page = parse(to_html("runs/_body.html", run=view_of(events)))
        assert all(words(line) for line in every(page, "entry-line__about"))


def test_an_agents_end_tells_how_long_it_took() -> None:
    end = AgentComplete(agent="Writer", turn=1, content="x", duration_ms=1500, finish_reason="stop")
    assert words(every(page_of(end), "entry-line")[-1]).endswith("stop, 1.5 s")


# Citations


@pytest.mark.parametrize(
    ("address", "cited"),
    [
        ("/p/00000000-0000-7000-8000-000000000001/passages/12", True),
        ("/p/00000000-0000-7000-8000-000000000001/passages/12/delete", False),
        ("/p/00000000-0000-7000-8000-000000000001/passages/12?x=1", False),
        ("/p/00000000-0000-7000-8000-000000000001/passages/12/../../x", False),
        ("/p/x/passages/12", False),
        ("//evil.example/p/00000000-0000-7000-8000-000000000001/passages/12", False),
        ("/projects", False),
    ],
)
def test_a_citation_leads_to_its_passage_in_the_same_window(address: str, cited: bool) -> None:
    html = render(f"So it is [Rivers, 12]({address}).")
    assert (f'<a class="citation" href="{address}">Rivers, 12</a>' in html) is cited
    assert ("<a" in html) is cited
    assert "<a" not in render(f"![Rivers]({address})"), "a passage is no image"
