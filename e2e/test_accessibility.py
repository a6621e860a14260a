"""For everyone: by keyboard, by screen reader, on a phone, in the dark, without motion."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import OpenPage
from e2e.looks import PHONE, check_looks, overflow, violations
from e2e.steps import (
    add_to_reply,
    composer,
    messages,
    open_app,
    own_message,
    path_of,
    reply,
    see_reply,
    see_the_end,
    see_version,
    see_waiting,
    send_message,
    send_next,
    start_conversation,
    stop_button,
    titles,
    try_again,
)
from tests.model_server import ModelServer
from tests.server import Server

STATIC = Path(__file__).parents[1] / "src" / "static"
EVERYTHING = (
    "# A heading\n\nText with `code`, *emphasis* and a [link](https://example.org).\n\n## Below\n\n"
    "1. one\n2. two\n\n- [x] done\n- [ ] open\n\n| a | b |\n|--:|---|\n| 1 | 2 |\n\n"
    "```python\ndef f(x):\n    return x + 1  # a rather long line, which has to be scrolled on a small screen\n```\n\n"
    "> quoted\n\nhttps://example.org/a/very/long/address/that/does/not/fit/on/a/phone/whatever/one/does/about/it\n\n"
    "averylongwordwithoutanyspaceinitaverylongwordwithoutanyspaceinitaverylongwordwithoutanyspaceinit\n\n"
)


def test_axe_finds_nothing(each_page: Page, model: ModelServer) -> None:
    """On an empty page, while a reply streams, when it has ended, with a problem, with the menus open."""
    model.script([{"reasoning": "A thought."}, {"text": EVERYTHING}, {"gate": "end"}, {"cut": "reset"}], times=1)
    open_app(each_page)
    assert violations(each_page) == []
    send_message(each_page, "Show everything")
    see_reply(each_page, "quoted")
    reply(each_page).locator(".step summary").click()
    assert violations(each_page) == []
    model.open_gate("end")
    see_the_end(each_page)
    expect(reply(each_page).locator(".notice")).to_be_visible()
    if each_page.viewport_size == PHONE:
        each_page.get_by_role("button", name="Conversations").click()
    each_page.locator("#conversations summary").first.click()
    assert violations(each_page) == []


def test_axe_finds_nothing_where_people_steer(each_page: Page, model: ModelServer) -> None:
    """While messages wait, a message is edited and another reply asked for, and with versions of both."""
    start_conversation(each_page, "one")
    own_message(each_page, "one").locator("summary").focus()
    assert violations(each_page) == []
    each_page.keyboard.press("Enter")
    expect(each_page.get_by_role("button", name="Send again")).to_be_visible()
    assert violations(each_page) == []
    each_page.keyboard.type(" and two")
    each_page.keyboard.press("Enter")
    see_version(own_message(each_page, "one and two"), "2 of 2")
    see_the_end(each_page)
    try_again(each_page)
    see_version(reply(each_page), "2 of 2")
    see_the_end(each_page)
    reply(each_page).get_by_role("link", name="with …").click()
    expect(reply(each_page).get_by_label("Model")).to_be_visible()
    check_looks(each_page)
    model.script([{"text": "Half"}, {"gate": "end"}])
    send_message(each_page, "three")
    see_reply(each_page, "Half")
    add_to_reply(each_page, "four, which is a message that is longer than a line can be on any phone that people have")
    see_waiting(each_page, "Pending: four")
    send_next(each_page, "five")
    see_waiting(each_page, "Pending: four", "Next: five")
    check_looks(each_page)
    stop_button(each_page).click()
    model.open_gate("end")


def test_nothing_but_colours_differs_in_the_dark() -> None:
    """So that the rules on colours are enough there. `light-dark()` gives nothing but colours."""
    styles = {path.name: path.read_text() for path in STATIC.glob("*.css")}
    assert "light-dark(" in styles["base.css"]
    asking = [path for path in STATIC.glob("*.*s") if "prefers-color-scheme" in path.read_text()]
    assert asking == []


@pytest.mark.parametrize("path", ["/nowhere", "/?deleted"])
def test_axe_finds_nothing_on_other_pages(open_page: OpenPage, server: Server, watch: Any, path: str) -> None:
    watch.expect("404", "400")
    page = open_page(server.url, bypass_csp=True)
    page.goto(path)
    assert violations(page) == []


@pytest.mark.parametrize("scripts", [True, False])
def test_nothing_is_wider_than_a_phone(open_page: OpenPage, server: Server, model: ModelServer, scripts: bool) -> None:
    page = open_page(server.url, viewport=PHONE, java_script_enabled=scripts, has_touch=True)
    model.script([{"reasoning": "word" * 100}, {"text": EVERYTHING}, {"gate": "end"}])
    open_app(page)
    assert overflow(page) == 0
    composer(page).fill("unbreakable" * 30)
    page.get_by_role("button", name="Send").click(no_wait_after=True)
    see_reply(page, "quoted")
    assert overflow(page) == 0
    model.open_gate("end")
    see_the_end(page)
    reply(page).locator(".step summary").click()
    assert overflow(page) == 0
    send = page.get_by_role("button", name="Send").bounding_box()
    assert send
    assert send["x"] + send["width"] <= PHONE["width"]


def test_the_phone_has_its_list_behind_a_button(open_page: OpenPage, server: Server) -> None:
    page = open_page(server.url, viewport=PHONE)
    path = start_conversation(page, "in my pocket")
    expect(titles(page).first).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(titles(page).first).to_be_visible()
    page.keyboard.press("Escape")
    expect(titles(page).first).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    titles(page).first.click()
    expect(titles(page).first).to_be_hidden()
    assert path_of(page) == path


def test_everything_can_be_done_by_keyboard(page: Page, model: ModelServer) -> None:
    model.script([{"text": "going on"}, {"stall": True}], times=1)
    open_app(page)
    expect(composer(page)).to_be_focused()
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")
    see_reply(page, "going on")
    expect(composer(page)).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(stop_button(page)).to_be_focused()
    page.keyboard.press("Enter")
    see_the_end(page)
    page.evaluate("document.activeElement.blur()")
    composer(page).focus()
    page.keyboard.press("Shift+Tab")
    expect(reply(page).get_by_role("link", name="with …")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(reply(page).get_by_role("button", name="Try again")).to_be_focused()
    page.keyboard.press("Enter")
    see_reply(page, "by hand")
    see_the_end(page)


def test_who_stops_by_keyboard_does_not_lose_the_place(page: Page, model: ModelServer) -> None:
    """The button goes when the run has ended; the focus must not fall back to the top of the page."""
    model.script([{"text": "going on"}, {"stall": True}], times=1)
    open_app(page)
    send_message(page, "stop")
    see_reply(page, "going on")
    stop_button(page).focus()
    page.keyboard.press("Enter")
    see_the_end(page)
    expect(composer(page)).to_be_focused()


def test_the_tab_order_follows_the_page_and_is_visible(page: Page) -> None:
    start_conversation(page, "tab along")
    page.reload()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the conversation")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    stops = []
    for _ in range(150):  # the list may be long by now
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        name = page.evaluate("(e => e.ariaLabel || e.name || e.textContent.trim())(document.activeElement)")
        stops.append(name)
        assert outline != "none", f"the focus cannot be seen on {name}"
        if name == "Send":
            break
        page.keyboard.press("Tab")
    order = ["Skip to the conversation", "riverrun", "New conversation", "tab along", "content", "stream", "Send"]
    assert [stop for stop in stops if stop in order] == order


def test_the_skip_link_leads_past_the_list(page: Page) -> None:
    start_conversation(page, "skip the list")
    page.reload()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


def test_a_screen_reader_hears_starts_steps_and_ends_but_no_tokens(page: Page, model: ModelServer) -> None:
    model.script([{"gate": "start"}, {"text": "many small words " * 30, "per": 5}, {"gate": "end"}])
    open_app(page)
    page.evaluate(
        """window.heard = [];
        new MutationObserver(() => heard.push(document.getElementById('status').textContent.trim()))
          .observe(document.getElementById('status'), {childList: true, characterData: true, subtree: true})"""
    )
    send_message(page, "listen")
    expect(reply(page).locator(".turn")).to_have_count(1)  # the connection is live
    model.open_gate("start")
    see_reply(page, "many small words")
    model.open_gate("end")
    see_the_end(page)
    heard = [text for text in page.evaluate("heard") if text]
    assert heard[0] == "Sent."
    assert "Assistant is writing." in heard
    assert heard[-1] == "The reply is complete."
    assert len(heard) <= 5
    assert not any("many" in text for text in heard)
    live = page.locator("[aria-live], [role=status], [role=alert], [role=log]")
    for region in live.all():
        assert "many small words" not in region.inner_text()
    expect(messages(page)).not_to_have_attribute("aria-live", "polite")
    expect(page.locator("#status")).to_have_attribute("role", "status")


def test_who_wants_no_motion_gets_none(open_page: OpenPage, server: Server, model: ModelServer) -> None:
    model.script([{"text": "moving"}, {"gate": "end"}])
    page = open_page(server.url, reduced_motion="reduce")
    open_app(page)
    send_message(page, "hold still")
    see_reply(page, "moving")
    assert page.evaluate("document.getAnimations().length") == 0
    # needs a page that does move to mean anything
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("document.getAnimations().length") > 0
    model.open_gate("end")


def test_the_page_can_be_magnified(open_page: OpenPage, server: Server) -> None:
    """At 320 pixels (1280 at 400 %) there is one column, and nothing is cut off."""
    page = open_page(server.url, viewport={"width": 320, "height": 256})
    start_conversation(page, "magnified")
    assert overflow(page) == 0
    expect(composer(page)).to_be_in_viewport()
