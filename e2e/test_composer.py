"""Writing: what Enter does, and that nothing a person wrote is ever lost."""

import re

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import LIMIT, OpenPage
from e2e.steps import (
    composer,
    held,
    open_app,
    own_messages,
    path_of,
    reload,
    replies,
    requests,
    see_draft,
    see_own_message,
    see_problem,
    see_reply,
    see_the_end,
    see_waiting,
    send_message,
    start_conversation,
    streaming,
    write,
)
from e2e.watch import DEAD_SERVER, Watch
from tests.model_server import ModelServer
from tests.postgres import Postgres
from tests.server import Server


def test_enter_sends(page: Page) -> None:
    open_app(page)
    send_message(page, "Say this")
    see_own_message(page, "Say this")
    see_reply(page, "Say this")
    see_draft(page, "")
    expect(composer(page)).to_be_focused()


def test_shift_enter_breaks_the_line(page: Page) -> None:
    open_app(page)
    composer(page).press_sequentially("one")
    composer(page).press("Shift+Enter")
    composer(page).press_sequentially("two")
    see_draft(page, "one\ntwo")
    expect(own_messages(page)).to_have_count(0)
    composer(page).press("Enter")
    see_own_message(page, "one\ntwo")
    see_reply(page, "two")


def test_enter_while_characters_are_composed_does_not_send(page: Page) -> None:
    """As with a Japanese keyboard, where Enter takes a suggestion."""
    open_app(page)
    composer(page).focus()
    keyboard = page.context.new_cdp_session(page)
    keyboard.send("Input.imeSetComposition", {"text": "にほん", "selectionStart": 3, "selectionEnd": 3})
    keyboard.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", "key": "Enter", "windowsVirtualKeyCode": 229})
    see_draft(page, "にほん")
    keyboard.send("Input.insertText", {"text": "日本"})
    see_draft(page, "日本")
    expect(own_messages(page)).to_have_count(0)
    composer(page).press("Enter")
    see_own_message(page, "日本")


def test_enter_alone_sends_nothing(page: Page) -> None:
    open_app(page)
    send_message(page, "  \n ")
    expect(own_messages(page)).to_have_count(0)
    see_draft(page, "  \n ")


def test_the_composer_grows_with_its_text_up_to_a_limit(page: Page) -> None:
    open_app(page)
    heights = []
    for lines in (1, 4, 8, 200):
        write(page, "\n".join(["line"] * lines))
        heights.append(height(page))
    assert heights[0] < heights[1] < heights[2] < heights[3] <= 0.45 * 700
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport()
    write(page, "")
    assert height(page) == heights[0]


def height(page: Page) -> float:
    box = composer(page).bounding_box()
    assert box
    return box["height"]


def test_the_message_is_shown_before_the_server_answers_and_in_the_same_frame(page: Page) -> None:
    open_app(page)
    write(page, "At once")
    with held(page, "**/messages") as waiting:
        shown_in_time = composer(page).evaluate(
            """async field => {
              field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true, cancelable: true}));
              await new Promise(requestAnimationFrame);
              return document.getElementById('messages').textContent.includes('At once');
            }"""
        )
        assert shown_in_time
        see_own_message(page, "At once")
        expect(replies(page)).to_contain_text("is thinking")
        see_draft(page, "")
        assert len(waiting) == 1
    see_reply(page, "At once")
    # The server's own have taken the place of what was shown first.
    expect(own_messages(page)).to_have_count(1)
    expect(replies(page)).to_have_count(1)
    see_own_message(page, "At once")


def test_a_draft_survives_a_reload_and_belongs_to_its_conversation(page: Page) -> None:
    conversation = start_conversation(page)
    write(page, "half a thought")
    reload(page)
    see_draft(page, "half a thought")
    open_app(page)
    see_draft(page, "")
    write(page, "something else")
    reload(page)
    see_draft(page, "something else")
    open_app(page, conversation)
    see_draft(page, "half a thought")


def test_a_draft_is_gone_once_it_was_sent(page: Page) -> None:
    open_app(page)
    send_message(page, "sent, not kept")
    see_reply(page, "sent, not kept")
    conversation = path_of(page)
    reload(page)
    see_draft(page, "")
    open_app(page)
    see_draft(page, "")
    open_app(page, conversation)
    see_draft(page, "")


def test_what_is_written_while_a_message_is_on_its_way_stays(page: Page) -> None:
    open_app(page)
    with held(page, "**/messages"):
        send_message(page, "first")
        see_own_message(page, "first")
        composer(page).press_sequentially("and next")
    see_reply(page, "first")
    see_draft(page, "and next")
    reload(page)
    see_draft(page, "and next")


def test_an_oversized_message_stays_in_the_composer(page: Page, watch: Watch) -> None:
    watch.expect("413")
    text = "long " * (int(LIMIT) // 4)
    open_app(page)
    send_message(page, text)
    see_problem(page, re.compile(r"characters long; a message may have 5,000"))
    see_draft(page, text)
    expect(own_messages(page)).to_have_count(0)
    expect(replies(page)).to_have_count(0)
    reload(page)
    see_draft(page, text)
    send_message(page, "short enough")
    see_reply(page, "short enough")
    expect(page.get_by_role("alert")).to_be_empty()


def test_enter_during_a_run_adds_to_its_reply(page: Page, model: ModelServer) -> None:
    model.script([{"text": "still "}, {"gate": "more"}, {"text": "writing"}], times=1)
    open_app(page)
    send_message(page, "first")
    see_reply(page, "still")
    send_message(page, "second")
    see_waiting(page, "Pending: second")
    see_draft(page, "")
    expect(composer(page)).to_be_focused()
    expect(own_messages(page)).to_have_count(1)
    reload(page)
    see_draft(page, "")
    see_waiting(page, "Pending: second")
    model.open_gate("more")
    see_reply(page, "still writing")
    see_own_message(page, "second")
    see_the_end(page)
    expect(own_messages(page)).to_have_count(2)
    expect(replies(page)).to_have_count(1)
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_message_to_a_server_that_is_down_is_kept(open_page: OpenPage, own_server: Server, watch: Watch) -> None:
    watch.expect(*DEAD_SERVER)
    page = open_page(own_server.url)
    open_app(page)
    own_server.kill()
    send_message(page, "is anybody there?")
    see_problem(page, "The server cannot be reached")
    see_draft(page, "is anybody there?")
    expect(own_messages(page)).to_have_count(0)
    own_server.start()
    composer(page).press("Enter")
    see_reply(page, "is anybody there?")
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_message_is_kept_while_the_database_is_away(
    open_page: OpenPage, own_server: Server, postgres: Postgres, watch: Watch, scripts: bool
) -> None:
    watch.expect("503")
    own_server.stop()
    own_server.start(RIVERRUN_DATABASE_URL=postgres.create_database(), RIVERRUN_DATABASE_PATIENCE="0.5")
    page = open_page(own_server.url, java_script_enabled=scripts)
    open_app(page)
    write(page, "to be kept")
    with postgres.away():
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_text("The database cannot be reached").first).to_be_visible()
        see_draft(page, "to be kept")
        expect(own_messages(page)).to_have_count(0)
    page.get_by_role("button", name="Send").click()
    see_reply(page, "to be kept")


def test_streaming_can_be_switched_off_and_that_is_remembered(page: Page, model: ModelServer) -> None:
    model.script([{"text": "all at "}, {"gate": "more"}, {"text": "once"}])
    open_app(page)
    streams = requests(page, "/stream")
    streaming(page).uncheck()
    reload(page)
    expect(streaming(page)).not_to_be_checked()
    send_message(page, "do not stream")
    see_own_message(page, "do not stream")
    model.wait_gate("more")
    expect(replies(page)).to_contain_text("is thinking")
    expect(replies(page)).not_to_contain_text("all at")
    expect(composer(page)).to_have_value("")
    model.open_gate("more")
    see_reply(page, "all at once")
    see_the_end(page)
    assert streams == []
    open_app(page)
    expect(streaming(page)).not_to_be_checked()
    streaming(page).check()
    reload(page)
    expect(streaming(page)).to_be_checked()


def test_a_message_during_a_reply_that_is_waited_for_is_told_to_wait(page: Page, model: ModelServer) -> None:
    model.script([{"gate": "more"}, {"text": "one reply"}], times=1)
    open_app(page)
    streaming(page).uncheck()
    send_message(page, "first")
    model.wait_gate("more")
    send_message(page, "second")
    see_problem(page, "still being answered")
    see_draft(page, "second")
    expect(own_messages(page)).to_have_count(1)
    model.open_gate("more")
    see_reply(page, "one reply")
    composer(page).press("Enter")
    see_own_message(page, "second")
    see_reply(page, "second")
