"""A team at work in the page: lanes, the steps of a plan and all activity, and all there again after a reload."""

import json

from playwright.sync_api import Locator, Page, expect

from e2e import steps
from e2e.conftest import OpenPage
from e2e.looks import check_looks, overflow, violations
from e2e.test_documents import RIVERS, add
from e2e.test_projects import go_to, make_project
from tests.model_server import ModelServer
from tests.server import Server


def choose_team(page: Page, title: str) -> None:
    page.get_by_label("Team").select_option(title)


def lane(page: Page, agent: str) -> Locator:
    return page.locator(".turn--support").filter(has=page.locator(".turn__agent", has_text=agent))


def test_lanes_stand_side_by_side_and_fold_when_they_are_done(page: Page, model: ModelServer) -> None:
    asks = [{"agent": "Researcher", "task": "Lane facts"}, {"agent": "Critic", "task": "Lane faults"}]
    question = "May I cross the lanes?"
    model.script([{"text": json.dumps({"reason": "Both know.", "asks": asks})}], match=question, times=1)
    model.script([{"text": "A **fact**."}, {"gate": "lane-facts"}], match="Lane facts", times=1)
    model.script([{"text": "A fault."}, {"gate": "lane-faults"}], match="Lane faults", times=1)
    model.script([{"gate": "lane-answer"}, {"text": "You may."}], match=question, times=1)

    steps.open_app(page)
    choose_team(page, "Coordinator")
    steps.send_message(page, question)
    facts, faults = lane(page, "Researcher"), lane(page, "Critic")
    expect(facts.locator(".prose strong")).to_have_text("fact")
    expect(faults.locator(".prose")).to_contain_text("A fault.")
    expect(facts.locator(".turn__state")).to_have_text("writing")
    expect(steps.badge(page)).to_contain_text("Researcher is writing")
    left, right = facts.bounding_box(), faults.bounding_box()
    assert left
    assert right
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]

    model.open_gate("lane-faults")
    expect(faults.locator(".turn__state")).to_have_text("done")
    expect(faults.locator(".prose")).to_be_hidden()
    expect(facts.locator(".prose")).to_be_visible()
    faults.locator("summary").first.click()
    expect(faults.locator(".prose")).to_be_visible()

    model.open_gate("lane-facts")
    model.open_gate("lane-answer")
    steps.see_reply(page, "You may.")
    steps.see_the_end(page)
    expect(faults.locator(".prose")).to_be_visible()  # who opened it is not done reading
    before = steps.shown(page)
    steps.reload(page)
    assert steps.shown(page) == before
    expect(page.get_by_label("Team")).to_have_value("coordinator")


def script_a_plan(model: ModelServer) -> None:
    """Waits at two gates: `plan` before the plan is made, `answer` before the last words."""
    plan = {
        "steps": [{"id": "look", "purpose": "Look at a map"}, {"id": "add", "purpose": "Add it up", "after": ["look"]}]
    }
    for script in (
        [{"reasoning": "A distance."}, {"text": json.dumps({"goal": "How far it is", "criteria": ["a number"]})}],
        [{"gate": "plan"}, {"text": json.dumps(plan)}],
        [{"text": "There is a map."}],
        [{"text": "It is **7**."}],
        [{"text": json.dumps({"memories": ["Distances are asked for."]})}],
        [{"gate": "answer"}, {"text": "Seven miles."}],
    ):
        model.script(script, times=1)


def follow_a_plan(page: Page, model: ModelServer) -> None:
    script_a_plan(model)
    steps.open_app(page)
    choose_team(page, "Planning first")
    steps.send_message(page, "How far is it?")


def follow_it_to_the_end(page: Page, model: ModelServer) -> None:
    model.open_gate("plan")
    model.open_gate("answer")
    steps.see_reply(page, "Seven miles.")
    steps.see_the_end(page)


def stepper(page: Page) -> Locator:
    return steps.reply(page).get_by_role("list", name="Steps")


def activity(page: Page) -> Locator:
    return steps.reply(page).locator(".activity")


def open_activity(page: Page) -> None:
    activity(page).locator("summary").click()


def sieve(page: Page, by: str) -> Locator:
    return activity(page).get_by_role("combobox", name=by, include_hidden=True)


def lines(page: Page) -> Locator:
    return activity(page).locator(".entry-line").filter(visible=True)


def test_the_steps_of_a_plan_are_followed_and_stay(page: Page, open_page: OpenPage, model: ModelServer) -> None:
    follow_a_plan(page, model)
    current = stepper(page).locator("[aria-current=step]")
    expect(current).to_have_text("Planning")
    expect(stepper(page).get_by_role("listitem")).to_have_count(8)
    expect(stepper(page).locator(".stepper__step--done")).to_have_count(3)
    model.open_gate("plan")
    expect(current).to_have_text("Completion")
    expect(stepper(page).locator(".stepper__step--done")).to_have_count(7)
    follow_it_to_the_end(page, model)
    expect(current).to_have_count(0)
    expect(stepper(page).locator(".stepper__step--done")).to_have_count(8)
    before = steps.shown(page)
    steps.reload(page)
    assert steps.shown(page) == before


def test_a_plan_that_is_stopped_tells_where(page: Page, model: ModelServer) -> None:
    follow_a_plan(page, model)
    expect(stepper(page).locator("[aria-current=step]")).to_have_text("Planning")
    steps.stop(page)
    steps.see_the_end(page)
    expect(stepper(page).locator(".stepper__step--ended")).to_contain_text("Planning")
    expect(stepper(page).locator(".stepper__step--to-come")).to_have_count(4)


def test_all_activity_can_be_looked_through_while_it_happens(page: Page, model: ModelServer) -> None:
    follow_a_plan(page, model)
    expect(stepper(page).locator("[aria-current=step]")).to_have_text("Planning")
    open_activity(page)
    expect(lines(page).filter(has_text="A distance.")).to_have_count(1)
    before = lines(page).count()
    sieve(page, "Agent").select_option("Analyst")
    expect(lines(page).locator(".entry-line__agent")).to_have_text(["Analyst"] * lines(page).count())
    assert 0 < lines(page).count() < before
    chosen = lines(page).count()

    follow_it_to_the_end(page, model)
    expect(lines(page)).to_have_count(chosen)  # what came since is another's
    sieve(page, "Agent").select_option("All")
    sieve(page, "Kind").select_option("agent start")
    expect(lines(page)).to_have_count(6)
    sieve(page, "Agent").select_option("Worker")
    expect(lines(page)).to_have_count(2)
    sieve(page, "Agent").select_option("All")
    sieve(page, "Kind").select_option("All")
    told = lines(page).all_inner_texts()
    expect(activity(page).locator("summary")).to_have_text(f"Activity ({len(told)})")
    steps.reload(page)
    open_activity(page)
    assert lines(page).all_inner_texts() == told


def test_without_scripts_a_plan_is_shown_too(plain_page: Page, model: ModelServer) -> None:
    """When it grows as well as when it is there already."""
    script_a_plan(model)
    model.open_gate("plan")
    model.open_gate("answer")
    steps.open_app(plain_page)
    choose_team(plain_page, "Planning first")
    steps.write(plain_page, "How far is it?")
    plain_page.get_by_role("button", name="Send").click(no_wait_after=True)
    for _ in range(2):
        expect(steps.reply(plain_page)).to_contain_text("Seven miles.")
        expect(stepper(plain_page).locator(".stepper__step--done")).to_have_count(8)
        expect(lines(plain_page)).to_have_count(0)
        open_activity(plain_page)
        expect(lines(plain_page).filter(has_text="A distance.")).to_have_count(1)
        expect(sieve(plain_page, "Agent")).to_be_hidden()
        steps.reload(plain_page)


def test_axe_finds_nothing_in_a_run_that_is_opened(each_page: Page, model: ModelServer) -> None:
    follow_a_plan(each_page, model)
    expect(stepper(each_page).locator("[aria-current=step]")).to_have_text("Planning")
    open_activity(each_page)
    check_looks(each_page)
    follow_it_to_the_end(each_page, model)
    for closed in steps.reply(each_page).locator(".turn--support > summary").all():
        closed.click()
    steps.reply(each_page).locator(".step > summary").first.click()
    assert violations(each_page) == []
    assert overflow(each_page) <= 0


def test_what_was_chosen_of_the_activity_outlasts_an_absence(page: Page, model: ModelServer) -> None:
    follow_a_plan(page, model)
    expect(stepper(page).locator("[aria-current=step]")).to_have_text("Planning")
    open_activity(page)
    sieve(page, "Agent").select_option("Analyst")
    chosen = lines(page).count()
    steps.set_hidden(page, True)
    model.open_gate("plan")
    model.wait_gate("answer")
    steps.set_hidden(page, False)
    expect(stepper(page).locator("[aria-current=step]")).to_have_text("Completion")
    expect(sieve(page, "Agent")).to_have_value("Analyst")
    expect(lines(page)).to_have_count(chosen)
    follow_it_to_the_end(page, model)


def read_a_long_file(page: Page, model: ModelServer) -> Locator:
    """By the coder. Gives back the step in which it is read."""
    text = "".join(f"value_{number} = {number}\n" for number in range(1, 61))
    work = {"satisfied": False, "judgement": "It is not known yet.", "work": "Read it"}
    for script in (
        [{"text": json.dumps(work)}],
        [{"tool_call": {"name": "write_file", "arguments": json.dumps({"path": "long.py", "content": text})}}],
        [{"tool_call": {"name": "read_file", "arguments": json.dumps({"path": "long.py"})}}],
        [{"gate": "read"}, {"text": "Sixty values."}],
        [{"text": json.dumps({"satisfied": True, "judgement": "It was read."})}],
        [{"text": "There are sixty values."}],
    ):
        model.script(script, times=1)
    make_project(page, "Reading")
    go_to(page, "Conversations")
    choose_team(page, "Planner and Coder")
    steps.send_message(page, "What is in it?")
    return steps.reply(page).locator(".step--tool_call").filter(has_text="Calls read_file")


def test_what_a_tool_answers_stands_with_its_call_and_can_be_seen_whole(page: Page, model: ModelServer) -> None:
    read = read_a_long_file(page, model)
    expect(read.locator(".step__said")).to_contain_text("→ value_1 = 1")
    expect(lane(page, "Coder").locator(".turn__state")).to_have_text("thinking")
    read.locator("summary").first.click()
    expect(read.get_by_text("value_12 = 12")).to_be_visible()
    expect(read.get_by_text("value_60 = 60")).to_be_hidden()
    read.get_by_text("Show all (60 lines)").click()
    expect(read.get_by_text("value_60 = 60")).to_be_visible()
    model.open_gate("read")
    steps.see_reply(page, "There are sixty values.")
    steps.see_the_end(page)
    before = steps.shown(page)
    steps.reload(page)
    assert steps.shown(page) == before


def test_without_scripts_what_a_tool_answers_can_be_seen_whole(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer
) -> None:
    read_a_long_file(page, model)
    model.open_gate("read")
    steps.see_the_end(page)
    plain = open_page(server.url, java_script_enabled=False)
    steps.open_app(plain, steps.path_of(page))
    lane(plain, "Coder").locator("summary").first.click()
    read = steps.reply(plain).locator(".step--tool_call").filter(has_text="Calls read_file")
    read.locator("summary").first.click()
    read.get_by_text("Show all (60 lines)").click()
    expect(read.get_by_text("value_60 = 60")).to_be_visible()


def test_what_a_tool_says_is_not_counted_as_written(page: Page, model: ModelServer) -> None:
    call = {"name": "search_documents", "arguments": json.dumps({"query": "meander"})}
    model.script([{"gate": "call"}, {"tool_call": call}], times=1)
    model.script([{"gate": "answer"}, {"text": "It is a bend."}], times=1)
    make_project(page, "Tools")
    add(page, "rivers.md", RIVERS)
    expect(page.get_by_text("2 passages")).to_be_visible()
    go_to(page, "Conversations")
    choose_team(page, "Assistant")
    steps.send_message(page, "What is a meander?")
    meter = steps.reply(page).locator(".run__foot .meter")
    expect(meter).not_to_be_empty()  # from here on it counts
    model.open_gate("call")
    expect(steps.reply(page).locator(".step--retrieval")).to_have_count(1)
    before = meter.inner_text()
    expect(meter).not_to_have_text(before)
    assert "tokens" not in meter.inner_text()
    model.open_gate("answer")
    steps.see_the_end(page)
