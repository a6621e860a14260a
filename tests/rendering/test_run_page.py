"""What a page tells of a run beside its text."""

import pytest

from riverrun.agents.events import AgentStart, CodeChange, Event, Interaction, Progress
from riverrun.rendering.markdown import render
from riverrun.rendering.templates import counts, cut, time_left, to_html
from tests.rendering.dom import Element, parse
from tests.rendering.runs import MESSAGE, OTHER, RUNS, planned_run, stamped, start, view_of


def page_of(*events: Event) -> Element:
    return parse(to_html("runs/_body.html", run=view_of(stamped([start(), *events]))))


def find(page: Element, selector: str) -> Element:
    found = page.find(selector)
    assert found is not None, selector
    return found


def with_class(page: Element, name: str) -> list[Element]:
    return [element for element in page if name in (element.attributes.get("class") or "").split()]


def call(name: str, call_id: str, **arguments: object) -> Interaction:
    return Interaction(
        agent="Coder", turn=1, kind="tool_call", tool_name=name, tool_arguments=dict(arguments), call_id=call_id
    )


def answer(name: str, call_id: str, content: str = "done") -> Interaction:
    return Interaction(agent="Coder", turn=1, kind="tool_response", tool_name=name, call_id=call_id, content=content)


BEGUN = AgentStart(agent="Coder", turn=1, role="works", lane="support")


def test_a_lane_tells_which_tool_it_waits_for() -> None:
    waiting = page_of(BEGUN, call("read_file", "1"), call("search_files", "2"))
    assert with_class(waiting, "turn__state")[0].text == "calling read_file"
    one_answered = page_of(BEGUN, call("read_file", "1"), call("search_files", "2"), answer("read_file", "1"))
    assert with_class(one_answered, "turn__state")[0].text == "calling search_files"
    answered = page_of(BEGUN, call("read_file", "1"), answer("read_file", "1"))
    assert with_class(answered, "turn__state")[0].text == "thinking"


def test_the_steps_of_a_plan_are_told_as_far_as_they_were_taken() -> None:
    def standings(events: list[Event]) -> list[str]:
        page = parse(to_html("runs/_body.html", run=view_of(events)))
        return [step.attributes["class"].split("--")[1] for step in with_class(page, "stepper__step")]  # type: ignore[union-attr]

    assert standings(planned_run("complete")[:-3]) == ["done"] * 3 + ["current"] + ["to-come"] * 4
    assert standings(planned_run("cancelled")) == ["done"] * 3 + ["ended"] + ["to-come"] * 4
    assert standings(RUNS["whole"]) == []


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, ""),
        (0, ""),
        (3, "about 5 s left"),
        (41, "about 40 s left"),
        (89, "about 90 s left"),
        (130, "about 2 min left"),
    ],
)
def test_the_time_that_is_left_is_told_no_better_than_it_is_known(seconds: float | None, told: str) -> None:
    assert time_left(Progress(fraction=0.5, metadata={} if seconds is None else {"seconds_left": seconds})) == told


def test_long_results_are_cut_and_nothing_of_them_is_lost() -> None:
    text = "".join(f"line {number}\n" for number in range(100))
    page = page_of(BEGUN, answer("read_file", "1", text))
    more = with_class(page, "step__more")
    assert len(more) == 1
    assert "Show all (100 lines)" in more[0].text
    assert "line 0" not in more[0].text
    shown, rest, lines = cut(text)
    assert (shown + "\n" + rest, lines) == (text, 100)
    assert cut("short\n") == ("short\n", "", 1)
    assert "".join(cut("x" * 5000)[:2]) == "x" * 5000


def test_texts_among_arguments_stand_by_themselves_and_are_highlighted() -> None:
    page = page_of(BEGUN, call("write_file", "1", path="a.py", content="import os\nprint(1)\n"))
    arguments, content = with_class(page, "step__text")
    assert '"path": "a.py"' in arguments.text
    assert "content" not in arguments.text
    assert content.text.startswith("import os\nprint(1)")
    assert [element.text for element in with_class(content, "k")] == ["import"]


def test_a_json_answer_is_highlighted() -> None:
    page = page_of(BEGUN, answer("look", "1", '{"a": [1, true]}'))
    assert [element.text for element in with_class(page, "m")] == ["1", "true"]


def test_passages_that_were_found_lead_to_where_they_stand() -> None:
    page = parse(to_html("runs/_body.html", run=view_of(RUNS["whole"])))
    [step] = with_class(page, "step--retrieval")
    assert "“rivers”: 1 passage" in step.text
    [link] = [element for element in step if element.tag == "a"]
    assert link.attributes["href"] == f"/p/{OTHER}/passages/1"
    assert "Some <words>" in step.text


def test_a_citation_in_an_answer_leads_to_its_passage_and_nothing_else_does() -> None:
    address = f"/p/{OTHER}/passages/12"
    assert f'<a class="citation" href="{address}">a.md</a>' in render(f"So it is [a.md]({address}).")
    for other in ("/p/1/passages/2", f"{address}/../../x", f"{address}?x=1", "/agents", f"//evil.example{address}"):
        assert "<a" not in render(f"[a.md]({other})")


def test_a_change_tells_how_much_it_changed_and_offers_to_take_it_back() -> None:
    diff = "--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n-one\n+two\n+three\n"
    assert counts(diff) == (2, 1)
    page = page_of(CodeChange(agent="Coder", path="x", change="modified", diff=diff, revision_id=OTHER))
    form = next(element for element in page if element.tag == "form" and "reverts" in str(element.attributes))
    assert form.attributes["action"] == f"/revisions/{OTHER}/reverts"
    without = page_of(CodeChange(agent="Coder", path="x", change="modified", diff=diff))
    assert "Take back" not in without.text


def test_all_that_was_told_stands_in_the_activity_in_its_order() -> None:
    page = parse(to_html("runs/_body.html", run=view_of(RUNS["whole"])))
    log = find(page, f"#log-{MESSAGE}")
    lines = log.elements
    kinds = [line.attributes["data-kind"] for line in lines]
    assert kinds[:4] == ["start", "progress", "agent start", "thought"]
    assert kinds[-1] == "complete"
    assert "agent chunk" not in kinds
    assert find(page, f"#count-{MESSAGE}").text == str(len(lines))
    assert [line.attributes["data-agent"] for line in lines[2:5]] == ["Finder", "Finder", "Finder"]


def test_without_arguments_that_is_said() -> None:
    assert "Without arguments" in page_of(BEGUN, call("list_files", "1")).text
