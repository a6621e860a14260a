"""Saying something else, and asking for another reply: branches beside what there is, with a way between them."""

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import OpenPage
from e2e.steps import (
    composer,
    edit_message,
    open_app,
    open_beside,
    own_message,
    own_messages,
    path_of,
    reload,
    replies,
    reply,
    see_problem,
    see_reply,
    see_the_end,
    see_the_same,
    see_version,
    send_message,
    start_conversation,
    try_again,
    version_after,
    version_before,
)
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.server import Server


def test_an_edited_message_begins_a_branch_beside_the_old_one(page: Page, open_page: OpenPage, server: Server) -> None:
    start_conversation(page, "first question")
    send_message(page, "what follows")
    see_reply(page, "what follows")
    see_the_end(page)
    edit_message(page, "first question", "another question")
    see_reply(page, "another question")
    see_the_end(page)
    expect(own_messages(page)).to_have_text(["another question"])
    see_version(own_message(page, "another question"), "2 of 2")
    expect(version_after(own_message(page, "another question"))).to_be_disabled()
    version_before(own_message(page, "another question")).click()
    expect(own_messages(page)).to_have_text(["first question", "what follows"])
    see_version(own_message(page, "first question"), "1 of 2")
    reload(page)
    expect(own_messages(page)).to_have_text(["first question", "what follows"])
    send_message(page, "goes on here")
    see_reply(page, "goes on here")
    see_the_end(page)
    version_after(own_message(page, "first question")).click()
    expect(own_messages(page)).to_have_text(["another question"])
    fresh = open_page(server.url)
    open_app(fresh, path_of(page))
    see_the_same(page, fresh)
    version_before(own_message(page, "another question")).click()
    expect(own_messages(page)).to_have_text(["first question", "what follows", "goes on here"])


def test_a_reply_to_an_edited_message_streams(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer
) -> None:
    start_conversation(page, "first question")
    model.script([{"text": "Half"}, {"gate": "more"}, {"text": " and whole."}], match="another")
    edit_message(page, "first question", "another")
    see_reply(page, "Half")
    expect(page.get_by_role("button", name="Add to reply")).to_be_visible()
    fresh = open_page(server.url)
    open_app(fresh, path_of(page))
    see_reply(fresh, "Half")
    see_the_same(page, fresh)
    model.open_gate("more")
    for each in (page, fresh):
        see_reply(each, "Half and whole.")
        see_the_end(each)
    see_the_same(page, fresh)


def test_the_first_of_several_versions_leads_to_the_last_and_back(page: Page) -> None:
    start_conversation(page, "one")
    for before, after in (("one", "two"), ("two", "three")):
        edit_message(page, before, after)
        see_reply(page, after)
        see_the_end(page)
    for text, at in (("three", "3 of 3"), ("two", "2 of 3"), ("one", "1 of 3")):
        expect(own_messages(page)).to_have_text([text])
        see_version(own_message(page, text), at)
        if text != "one":
            version_before(own_message(page, text)).click()
    expect(version_before(own_message(page, "one"))).to_be_disabled()
    version_after(own_message(page, "one")).click()
    see_version(own_message(page, "two"), "2 of 3")


def test_trying_again_makes_a_second_version_of_the_reply(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer
) -> None:
    model.script([{"text": "The first try."}], times=1)
    model.script([{"text": "The second"}, {"gate": "more"}, {"text": " try."}])
    start_conversation(page, "try", reply="The first try.")
    try_again(page)
    see_reply(page, "The second")
    see_version(reply(page), "2 of 2")
    expect(replies(page)).to_have_count(1)
    model.open_gate("more")
    see_reply(page, "The second try.")
    see_the_end(page)
    version_before(reply(page)).click()
    see_reply(page, "The first try.")
    see_version(reply(page), "1 of 2")
    reload(page)
    see_reply(page, "The first try.")
    see_version(reply(page), "1 of 2")
    version_after(reply(page)).click()
    see_reply(page, "The second try.")
    fresh = open_page(server.url)
    open_app(fresh, path_of(page))
    see_the_same(page, fresh)
    expect(own_messages(page)).to_have_text(["try"])


def test_trying_again_with_another_team_and_model(page: Page, model: ModelServer) -> None:
    start_conversation(page, "who are you?")
    reply(page).get_by_role("link", name="with …").click()
    form = reply(page).locator(".retry__form")
    form.get_by_label("Team").select_option(label="Planner and Coder")
    form.get_by_label("Model").fill("another-model")
    model.script([{"text": "I am another."}], match="another-model")
    form.get_by_role("button", name="Try again").click()
    see_version(reply(page), "2 of 2")
    expect(reply(page).locator(".run__model")).to_have_text("another-model")
    assert model.requests()[-1]["body"]["model"] == "another-model"


def test_the_question_who_shall_try_again_can_be_dropped(page: Page) -> None:
    start_conversation(page, "who are you?")
    reply(page).get_by_role("link", name="with …").click()
    team = reply(page).locator(".retry__form").get_by_label("Team")
    expect(team).to_be_focused()
    page.keyboard.press("Escape")
    expect(reply(page).locator(".retry__form")).to_have_count(0)
    expect(reply(page).get_by_role("link", name="with …")).to_be_focused()
    expect(reply(page).get_by_role("button", name="Try again")).to_be_visible()


def test_versions_by_keyboard_alone(page: Page) -> None:
    start_conversation(page, "one")
    message = own_message(page, "one")
    message.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(message.get_by_role("textbox")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.type(" and two")
    page.keyboard.press("Enter")
    see_reply(page, "one and two")
    see_the_end(page)
    expect(own_messages(page)).to_have_text(["one and two"])
    version_before(own_message(page, "one and two")).focus()
    page.keyboard.press("Enter")
    see_version(own_message(page, "one"), "1 of 2")
    expect(version_after(own_message(page, "one"))).to_be_focused()
    page.keyboard.press("Enter")
    see_version(own_message(page, "one and two"), "2 of 2")
    expect(version_before(own_message(page, "one and two"))).to_be_focused()


def test_the_way_to_edit_is_quiet_and_moves_nothing(page: Page, open_page: OpenPage, server: Server) -> None:
    path = start_conversation(page, "one")
    edit = own_message(page, "one").locator("summary")
    expect(edit).to_have_css("opacity", "0")
    before = reply(page).bounding_box()
    own_message(page, "one").hover()
    expect(edit).to_have_css("opacity", "1")
    assert reply(page).bounding_box() == before
    composer(page).hover()
    expect(edit).to_have_css("opacity", "0")
    edit.focus()
    expect(edit).to_have_css("opacity", "1")
    phone = open_page(server.url, viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    open_app(phone, path)
    expect(own_message(phone, "one").locator("summary")).to_have_css("opacity", "1")


def test_editing_can_be_left(page: Page) -> None:
    start_conversation(page, "one")
    message = own_message(page, "one")
    message.get_by_text("Edit", exact=True).click()
    message.get_by_role("textbox").fill("not this")
    page.keyboard.press("Escape")
    expect(message.get_by_role("textbox")).to_be_hidden()
    expect(message.locator("summary")).to_be_focused()
    message.locator("summary").click()
    expect(message.get_by_role("textbox")).to_have_value("one")
    expect(own_messages(page)).to_have_text(["one"])


def test_a_branch_is_refused_while_a_reply_is_written(page: Page, model: ModelServer, watch: Watch) -> None:
    watch.expect("409")
    start_conversation(page, "one")
    edit_message(page, "one", "two")
    see_version(own_message(page, "two"), "2 of 2")
    see_the_end(page)
    model.script([{"text": "Half"}, {"gate": "more"}, {"text": " and whole."}])
    send_message(page, "and now?")
    see_reply(page, "Half")
    version_before(own_message(page, "two")).click()
    see_problem(page, "still being written")
    with page.expect_response(lambda response: response.status == 409):  # the problem is there from before
        edit_message(page, "and now?", "or now?")
    see_problem(page, "still being written")
    expect(own_message(page, "and now?").get_by_role("textbox")).to_have_value("or now?")
    model.open_gate("more")
    see_reply(page, "Half and whole.")
    see_the_end(page)
    own_message(page, "and now?").get_by_role("button", name="Send again").click()
    expect(own_messages(page)).to_have_text(["two", "or now?"])


@pytest.mark.parametrize("way", ["edited", "tried again"])
def test_two_pages_that_show_different_branches_agree_after_a_reload(page: Page, way: str) -> None:
    start_conversation(page, "one")
    other = open_beside(page)
    if way == "edited":
        edit_message(page, "one", "two")
    else:
        try_again(page)
    see_version(own_message(page, "two") if way == "edited" else reply(page), "2 of 2")
    see_the_end(page)
    other.evaluate("dispatchEvent(new Event('focus'))")
    see_version(own_message(other, "two") if way == "edited" else reply(other), "2 of 2")
    see_the_end(other)
    see_the_same(page, other)
    send_message(other, "both the same")
    see_reply(other, "both the same")
    expect(composer(other)).to_be_focused()
