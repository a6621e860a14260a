"""A team at work in the page: lanes side by side, folded when they are done, and all there again after a reload."""

import json

from playwright.sync_api import Locator, Page, expect

from e2e import steps
from tests.model_server import ModelServer


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
