"""What a person says while a reply is being written, Stop, and a server that falls in the middle of it all."""

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import OpenPage
from e2e.proxy import Proxy
from e2e.steps import (
    add_to_reply,
    composer,
    open_app,
    open_beside,
    own_messages,
    path_of,
    place_of_rest,
    reload,
    remove,
    replies,
    reply,
    scroll_up,
    see_acts,
    see_draft,
    see_own_message,
    see_reply,
    see_the_end,
    see_the_same,
    see_waiting,
    send_message,
    send_next,
    shown,
    stop,
    stop_button,
    waiting,
)
from e2e.watch import DEAD_SERVER, Watch
from tests.model_server import ModelServer
from tests.server import Server


def long_reply(
    model: ModelServer, match: str, gate: str = "more", begin: str = "So far", end: str = " and done."
) -> None:
    model.script([{"text": begin}, {"gate": gate}, {"text": end}], match=match, times=1)


def see_taken_in(page: Page, text: str) -> None:
    """It stands above the reply, and the reply tells that it was heard."""
    see_own_message(page, text)
    expect(reply(page).locator(".step", has_text="You added")).to_contain_text(text)
    see_waiting(page)


# Adding to a reply


def test_the_composer_offers_both_ways_as_long_as_a_reply_is_written(page: Page, model: ModelServer) -> None:
    long_reply(model, "begin")
    open_app(page)
    see_acts(page, "Send")
    send_message(page, "begin")
    see_reply(page, "So far")
    see_acts(page, "Send next", "Add to reply")
    reload(page)
    see_acts(page, "Send next", "Add to reply")
    model.open_gate("more")
    see_the_end(page)
    see_acts(page, "Send")


@pytest.mark.parametrize("by", ["button", "enter"])
def test_what_is_added_waits_until_an_agent_takes_it_in(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer, by: str
) -> None:
    long_reply(model, "tell me", end=" and on.")
    long_reply(model, "in French", "french", "En français", ", voilà.")
    open_app(page)
    send_message(page, "tell me")
    see_reply(page, "So far")
    (add_to_reply if by == "button" else send_message)(page, "in French, please")
    see_waiting(page, "Pending: in French, please")
    see_draft(page, "")
    expect(own_messages(page)).to_have_text(["tell me"])
    second = open_page(server.url)
    open_app(second, path_of(page))
    see_waiting(second, "Pending: in French, please")
    model.open_gate("more")
    for each in (page, second):
        see_taken_in(each, "in French, please")
        see_reply(each, "En français")
    fresh = open_page(server.url)
    open_app(fresh, path_of(page))
    see_taken_in(fresh, "in French, please")
    see_reply(fresh, "En français")
    for each in (page, second):
        see_the_same(each, fresh)
    model.open_gate("french")
    for each in (page, second, fresh):
        see_reply(each, "So far and on.")
        see_reply(each, "voilà.")
        see_the_end(each)
        expect(own_messages(each)).to_have_text(["tell me", "in French, please"])
        expect(replies(each)).to_have_count(1)
    live = shown(page)
    reload(page)
    assert shown(page) == live == shown(second) == shown(fresh)


def test_several_are_taken_in_together_and_in_order(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer
) -> None:
    long_reply(model, "tell me")
    model.script([{"text": "Both it is."}], match="and second")
    open_app(page)
    send_message(page, "tell me")
    see_reply(page, "So far")
    add_to_reply(page, "first")
    see_waiting(page, "Pending: first")
    add_to_reply(page, "and second")
    see_waiting(page, "Pending: first", "Pending: and second")
    model.open_gate("more")
    see_reply(page, "Both it is.")
    see_the_end(page)
    expect(own_messages(page)).to_have_text(["tell me", "first", "and second"])
    fresh = open_page(server.url)
    open_app(fresh, path_of(page))
    see_the_same(page, fresh)


def test_what_waits_can_be_removed(page: Page, model: ModelServer) -> None:
    long_reply(model, "tell me")
    open_app(page)
    send_message(page, "tell me")
    see_reply(page, "So far")
    add_to_reply(page, "forget this")
    see_waiting(page, "Pending: forget this")
    send_next(page, "and this")
    see_waiting(page, "Pending: forget this", "Next: and this")
    elsewhere = open_beside(page)
    remove(page, "forget this")
    see_waiting(page, "Next: and this")
    see_waiting(elsewhere, "Next: and this")
    remove(page, "and this")
    see_waiting(page)
    model.open_gate("more")
    see_the_end(page)
    reload(page)
    see_waiting(page)
    expect(own_messages(page)).to_have_text(["tell me"])


def test_who_removes_by_keyboard_goes_on_in_the_composer(page: Page, model: ModelServer) -> None:
    long_reply(model, "tell me")
    open_app(page)
    send_message(page, "tell me")
    see_reply(page, "So far")
    add_to_reply(page, "forget this")
    see_waiting(page, "Pending: forget this")
    composer(page).focus()
    page.keyboard.press("Shift+Tab")
    expect(waiting(page).get_by_role("button")).to_be_focused()
    page.keyboard.press("Enter")
    see_waiting(page)
    expect(composer(page)).to_be_focused()
    model.open_gate("more")


def test_what_is_being_read_does_not_move_when_a_message_comes_in_above(page: Page, model: ModelServer) -> None:
    long_reply(model, "tell me", begin="\n\n".join(f"Paragraph {n}." for n in range(60)))
    model.script([{"text": "I see."}], match="one more thing")
    open_app(page)
    send_message(page, "tell me")
    see_reply(page, "Paragraph 59.")
    add_to_reply(page, "one more thing")
    see_waiting(page, "Pending: one more thing")
    scroll_up(page, 600)
    before = height_of(page, "Paragraph 40.")
    model.open_gate("more")
    see_taken_in(page, "one more thing")
    see_the_end(page)
    place_of_rest(page)
    assert height_of(page, "Paragraph 40.") == pytest.approx(before, abs=1)


def height_of(page: Page, text: str) -> float:
    """Where it stands in the window, in pixels from the top."""
    box = reply(page).get_by_text(text).bounding_box()
    assert box
    return box["y"]


# The next turn


def test_what_waits_for_its_turn_is_answered_by_itself(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer
) -> None:
    long_reply(model, "first")
    long_reply(model, "second", "second", "To the second", " a reply.")
    long_reply(model, "third", "third", "To the third", " as well.")
    open_app(page)
    send_message(page, "first")
    see_reply(page, "So far")
    send_next(page, "second")
    see_waiting(page, "Next: second")
    send_next(page, "third")
    see_waiting(page, "Next: second", "Next: third")
    second = open_page(server.url)
    open_app(second, path_of(page))
    see_waiting(second, "Next: second", "Next: third")
    model.open_gate("more")
    for each in (page, second):
        see_own_message(each, "second")
        see_reply(each, "To the second")
        see_waiting(each, "Next: third")
        see_acts(each, "Send next", "Add to reply")
    model.open_gate("second")
    for each in (page, second):
        see_own_message(each, "third")
        see_reply(each, "To the third")
        see_waiting(each)
    model.open_gate("third")
    for each in (page, second):
        see_reply(each, "To the third as well.")
        see_the_end(each)
        see_acts(each, "Send")
        expect(own_messages(each)).to_have_text(["first", "second", "third"])
        expect(replies(each)).to_have_count(3)
    fresh = open_page(server.url)
    open_app(fresh, path_of(page))
    see_the_same(page, fresh)
    see_the_same(second, fresh)


def test_a_page_that_does_not_know_what_waits_sees_its_turn_all_the_same(page: Page, model: ModelServer) -> None:
    """It was opened before, and stands in another window: nobody touches it."""
    long_reply(model, "first")
    long_reply(model, "second", "second", "To the second", " a reply.")
    open_app(page)
    send_message(page, "first")
    see_reply(page, "So far")
    other = open_beside(page)
    see_reply(other, "So far")
    send_next(page, "second")
    see_waiting(page, "Next: second")
    model.open_gate("more")
    see_reply(other, "To the second")
    model.open_gate("second")
    see_reply(other, "To the second a reply.")
    see_the_end(other)
    see_reply(page, "To the second a reply.")
    see_the_end(page)
    see_the_same(page, other)


def test_a_message_that_comes_too_late_for_a_reply_has_the_next_turn(page: Page, model: ModelServer) -> None:
    """The agent has ended its last step when the message is sent."""
    model.script([{"text": "Only this."}, {"gate": "end"}, {"cut": "reset"}], match="begin", times=1)
    open_app(page)
    send_message(page, "begin")
    see_reply(page, "Only this.")
    add_to_reply(page, "hello?")
    see_waiting(page, "Pending: hello?")
    model.open_gate("end")
    see_own_message(page, "hello?")
    see_reply(page, "hello?")
    see_the_end(page)
    expect(replies(page)).to_have_count(2)


# Stop


def test_stop_keeps_what_has_come_from_any_tab(page: Page, model: ModelServer) -> None:
    model.script([{"text": "Kept, and"}, {"stall": True}], match="stop")
    open_app(page)
    send_message(page, "stop")
    see_reply(page, "Kept, and")
    other = open_beside(page)
    see_reply(other, "Kept, and")
    stop(other)
    for each in (page, other):
        see_the_end(each)
        see_acts(each, "Send")
        see_reply(each, "Kept, and")
        expect(reply(each).locator(".run__facts")).to_contain_text("Stopped")
    see_the_same(page, other)
    reload(page)
    see_the_same(page, other)


def test_stop_is_acknowledged_before_the_reply_has_ended(
    open_page: OpenPage, server: Server, model: ModelServer
) -> None:
    model.script([{"text": "Kept, and"}, {"stall": True}], match="stop")
    with Proxy(server.port).running() as proxy:
        page = open_page(proxy.url)
        open_app(page)
        send_message(page, "stop")
        see_reply(page, "Kept, and")
        proxy.hold_streams()
        stop(page)
        expect(reply(page).get_by_text("Stopping …")).to_be_visible()
        expect(stop_button(page)).to_have_count(0)
        expect(page.locator("#status")).to_have_text("Stopping …")
        proxy.release_streams()
        see_the_end(page)
        expect(page.locator("#status")).to_have_text("The reply was stopped.")
        page.close()


def test_what_waits_when_a_reply_is_stopped_has_its_turn(page: Page, model: ModelServer) -> None:
    model.script([{"text": "On and"}, {"stall": True}], match="stop", times=1)
    open_app(page)
    send_message(page, "stop")
    see_reply(page, "On and")
    add_to_reply(page, "rather this")
    see_waiting(page, "Pending: rather this")
    stop(page)
    see_own_message(page, "rather this")
    see_reply(page, "rather this")
    see_the_end(page)
    expect(replies(page)).to_have_count(2)


# A restart


def test_a_server_that_is_killed_goes_on_where_it_was(
    open_page: OpenPage, own_server: Server, model: ModelServer, watch: Watch
) -> None:
    watch.expect(*DEAD_SERVER)
    model.script([{"text": "Shown before the crash"}, {"stall": True}], match="crash", times=1)
    long_reply(model, "crash", "after", "After the", " crash.")
    page = open_page(own_server.url)
    open_app(page)
    send_message(page, "crash")
    see_reply(page, "Shown before the crash")
    send_next(page, "and then?")
    see_waiting(page, "Next: and then?")
    own_server.kill()
    expect(reply(page).get_by_text("No connection to the server")).to_be_visible()
    see_reply(page, "Shown before the crash")
    own_server.start()
    expect(reply(page).locator(".run__step")).to_have_text("The server was restarted; going on from here")
    see_reply(page, "After the")
    expect(reply(page)).not_to_contain_text("before the crash")
    expect(page.locator(".stream:not(.stream--polled)")).to_have_count(1)  # live again, and at once
    fresh = open_page(own_server.url)
    open_app(fresh, path_of(page))
    see_the_same(page, fresh)
    model.open_gate("after")
    for each in (page, fresh):
        see_own_message(each, "and then?")
        see_reply(each, "and then?")
        see_the_end(each)
    later = open_page(own_server.url)
    open_app(later, path_of(page))
    see_the_same(page, later)
    see_the_same(fresh, later)
    expect(page.locator(".prose").first).to_have_text("After the crash.")


def test_what_was_taken_in_before_a_crash_is_kept(
    open_page: OpenPage, own_server: Server, model: ModelServer, watch: Watch
) -> None:
    watch.expect(*DEAD_SERVER)
    long_reply(model, "tell me", end=".")
    model.script([{"text": "En franç"}, {"stall": True}], match="in French", times=1)
    model.script([{"text": "En français, voilà."}], match="in French")
    page = open_page(own_server.url)
    open_app(page)
    send_message(page, "tell me")
    see_reply(page, "So far")
    add_to_reply(page, "in French")
    see_waiting(page, "Pending: in French")
    model.open_gate("more")
    see_taken_in(page, "in French")
    see_reply(page, "En franç")
    own_server.kill()
    own_server.start()
    see_reply(page, "En français, voilà.")
    see_the_end(page)
    expect(own_messages(page)).to_have_text(["tell me", "in French"])
    later = open_page(own_server.url)
    open_app(later, path_of(page))
    see_the_same(page, later)
