"""A reply that is done can be seen again: played, paused, and moment by moment."""

import re

from playwright.sync_api import Locator, Page, expect

from e2e.conftest import OpenPage
from e2e.looks import check_looks, violations
from e2e.steps import eventually, open_app, path_of, reply, see_reply, see_the_end, send_message, start_conversation
from tests.model_server import ModelServer

LONG = "\n\n".join(f"Paragraph {n} of a text that takes its time." for n in range(30))


def finish_a_long_reply(page: Page, model: ModelServer) -> None:
    model.script([{"reasoning": "A thought."}, {"text": LONG, "per": 8, "pause": 0.01}])
    start_conversation(page, "take your time", "Paragraph 29")


def open_replay(page: Page) -> None:
    reply(page).get_by_role("link", name="Replay").click()
    expect(page.get_by_role("heading", name="Replay")).to_be_visible()
    expect(page.get_by_role("button", name="Jump to latest")).to_be_hidden()


def see_moment(page: Page, number: int) -> None:
    expect(page.locator("#moment")).to_contain_text(f"Event {number} of ")
    expect(page).to_have_url(re.compile(rf"\?at={number}$"))


def moment(page: Page) -> int:
    return int(page.locator("#moment").get_attribute("data-at") or 0)


def last(page: Page) -> int:
    return int(seek(page).get_attribute("max") or 0)


def seek(page: Page) -> Locator:
    return page.get_by_role("slider", name="Event")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name)


def way(page: Page, name: str) -> Locator:
    return page.get_by_role("link", name=name, exact=True)


def test_a_reply_is_played_paused_and_played_on(page: Page, model: ModelServer) -> None:
    finish_a_long_reply(page, model)
    said = reply(page).locator(".prose").inner_text()
    open_replay(page)
    see_reply(page, "Paragraph 1 ")
    button(page, "Pause").click()
    expect(button(page, "Play")).to_be_visible()
    at = moment(page)
    assert 1 < at < last(page)
    see_moment(page, at)
    assert seek(page).input_value() == str(at)
    expect(reply(page)).not_to_contain_text("Paragraph 29")
    page.get_by_label("Speed").select_option("as fast as it goes")
    button(page, "Play").click()
    see_reply(page, "Paragraph 29")
    see_moment(page, last(page))
    expect(button(page, "Play")).to_be_visible()
    assert reply(page).locator(".prose").inner_text() == said
    expect(reply(page).get_by_role("button", name="Try again")).to_have_count(0)


def test_from_the_end_it_is_played_anew(page: Page, model: ModelServer) -> None:
    finish_a_long_reply(page, model)
    open_replay(page)
    button(page, "Pause").click()
    way(page, "Last event").click()
    see_moment(page, last(page))
    button(page, "Play").click()
    expect(button(page, "Pause")).to_be_visible()
    expect(reply(page)).not_to_contain_text("Paragraph 29")
    see_reply(page, "Paragraph 0")


def test_the_speed_is_changed_while_it_plays(page: Page, model: ModelServer) -> None:
    finish_a_long_reply(page, model)
    open_replay(page)
    see_reply(page, "Paragraph 0")
    page.get_by_label("Speed").select_option("as fast as it goes")
    see_moment(page, last(page))
    see_reply(page, "Paragraph 29")


def test_moments_are_gone_through_by_keyboard(page: Page, model: ModelServer) -> None:
    finish_a_long_reply(page, model)
    page.emulate_media(reduced_motion="reduce")
    open_replay(page)
    see_moment(page, 1)
    way(page, "Next event").focus()
    for at in (2, 3):
        page.keyboard.press("Enter")
        see_moment(page, at)
        expect(way(page, "Next event")).to_be_focused()
    expect(page.get_by_role("status")).to_contain_text("Event 3 of")
    way(page, "Back one event").press("Enter")
    see_moment(page, 2)
    seek(page).press("End")
    see_moment(page, last(page))
    expect(way(page, "Next event")).to_have_attribute("aria-disabled", "true")
    seek(page).press("ArrowLeft")
    see_moment(page, last(page) - 1)
    assert page.evaluate("document.getElementById('seek').ariaValueText").startswith(f"Event {last(page) - 1} of")
    way(page, "First event").press("Enter")
    see_moment(page, 1)
    button(page, "Play").press("Enter")
    expect(button(page, "Pause")).to_be_focused()


def test_a_line_of_the_activity_leads_to_its_moment(page: Page, model: ModelServer) -> None:
    finish_a_long_reply(page, model)
    reply(page).get_by_text("Activity").click()
    line = reply(page).locator(".entry-line").nth(3)
    about = line.locator(".entry-line__about").text_content() or ""
    line.get_by_role("link").click()
    expect(page.locator(".replay__about")).to_have_text(about.strip())
    expect(button(page, "Play")).to_be_visible()
    reply(page).get_by_text("Activity").click()
    reply(page).locator(".entry-line").nth(1).get_by_role("link").click()
    see_moment(page, 2)
    expect(reply(page).locator(".entry-line")).to_have_count(2)


def test_a_link_to_a_moment_shows_it_to_somebody_else(page: Page, open_page: OpenPage, model: ModelServer) -> None:
    finish_a_long_reply(page, model)
    open_replay(page)
    see_reply(page, "Paragraph 3")
    button(page, "Pause").click()
    expect(button(page, "Play")).to_be_visible()
    other = open_page(page.url.partition("/runs")[0])
    other.goto(page.url)
    see_moment(other, moment(page))
    assert reply(other).locator(".prose").inner_html() == reply(page).locator(".prose").inner_html()


def test_a_slider_that_is_dragged_shows_what_it_passes(page: Page, model: ModelServer) -> None:
    finish_a_long_reply(page, model)
    open_replay(page)
    see_reply(page, "Paragraph 0")
    box = seek(page).bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    for part in (0.2, 0.5, 0.9):
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2, steps=5)
    eventually(page, lambda: moment(page) > 0.8 * last(page))
    page.mouse.up()
    expect(button(page, "Play")).to_be_visible()
    see_moment(page, int(seek(page).input_value()))


def test_without_scripts_every_moment_can_be_reached(plain_page: Page, page: Page, model: ModelServer) -> None:
    finish_a_long_reply(page, model)
    plain_page.goto(path_of(page))
    open_replay(plain_page)
    for hidden in ("Play", "Pause"):
        expect(button(plain_page, hidden)).to_have_count(0)
    expect(plain_page.get_by_label("Speed")).to_be_hidden()
    way(plain_page, "Next event").click()
    see_moment(plain_page, 2)
    way(plain_page, "Last event").click()
    see_moment(plain_page, last(plain_page))
    see_reply(plain_page, "Paragraph 29")
    seek(plain_page).fill("3")
    button(plain_page, "Show").click()
    see_moment(plain_page, 3)
    plain_page.get_by_role("link", name="take your time").click()
    see_the_end(plain_page)


def test_a_moment_of_a_reply_at_work(page: Page, model: ModelServer) -> None:
    model.script([{"text": "Half of it"}, {"gate": "rest"}, {"text": " and the rest."}])
    open_app(page)
    send_message(page, "at work")
    see_reply(page, "Half of it")
    reply(page).get_by_text("Activity").click()
    reply(page).locator(".entry-line").first.get_by_role("link").click()
    see_moment(page, 1)
    expect(button(page, "Play")).to_have_count(0)
    page.get_by_role("link", name="follow it in its conversation").click()
    see_reply(page, "Half of it")
    model.open_gate("rest")
    see_the_end(page)


def test_axe_finds_nothing_in_a_replay(each_page: Page, model: ModelServer) -> None:
    finish_a_long_reply(each_page, model)
    open_replay(each_page)
    see_reply(each_page, "Paragraph 0")
    button(each_page, "Pause").click()
    expect(button(each_page, "Play")).to_be_visible()
    reply(each_page).get_by_text("Activity").click()
    check_looks(each_page)
    way(each_page, "Last event").click()
    see_moment(each_page, last(each_page))
    check_looks(each_page)
    button(each_page, "Play").click()
    expect(button(each_page, "Pause")).to_be_visible()
    assert violations(each_page) == []
