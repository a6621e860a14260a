"""Reading along: the page follows the end until the reader scrolls up, and offers the way back."""

from playwright.sync_api import Page, expect

from e2e.steps import (
    eventually,
    is_at_the_end,
    open_app,
    path_of,
    place,
    place_of_rest,
    scroll_up,
    see_reply,
    see_the_end,
    send_message,
    way_down,
)
from tests.model_server import ModelServer

LONG = "\n\n".join(f"Paragraph {n}." for n in range(40))


def test_the_page_follows_the_text(page: Page, model: ModelServer) -> None:
    model.script([{"text": f"{LONG}\n\n"}, {"gate": "more"}, {"text": f"{LONG}\n\nThe end", "per": 100}])
    open_app(page)
    send_message(page, "long")
    see_reply(page, "Paragraph 39.")
    eventually(page, lambda: is_at_the_end(page))
    expect(way_down(page)).to_be_hidden()
    model.open_gate("more")
    see_the_end(page)
    eventually(page, lambda: is_at_the_end(page))
    expect(page.get_by_text("The end")).to_be_in_viewport()


def test_who_scrolls_up_stays_there_and_is_offered_the_way_down(page: Page, model: ModelServer) -> None:
    model.script(
        [{"text": f"{LONG}\n\n"}, {"gate": "more"}, {"text": f"{LONG}\n\nThen"}, {"gate": "end"}, {"text": " the end"}]
    )
    open_app(page)
    send_message(page, "long")
    see_reply(page, "Paragraph 39.")
    eventually(page, lambda: is_at_the_end(page))
    read_from = scroll_up(page)
    expect(way_down(page)).to_be_visible()
    model.open_gate("more")
    see_reply(page, "Then")
    assert place(page) == read_from
    way_down(page).click()
    eventually(page, lambda: is_at_the_end(page))
    expect(way_down(page)).to_be_hidden()
    model.open_gate("end")
    see_reply(page, "the end")
    see_the_end(page)
    eventually(page, lambda: is_at_the_end(page))


def test_one_small_turn_of_the_wheel_is_enough_to_stay(page: Page, model: ModelServer) -> None:
    model.script([{"text": f"{LONG}\n\n"}, {"gate": "more"}, {"text": f"{LONG}\n\nThen"}])
    open_app(page)
    send_message(page, "long")
    see_reply(page, "Paragraph 39.")
    eventually(page, lambda: is_at_the_end(page))
    read_from = scroll_up(page, 30)
    model.open_gate("more")
    see_the_end(page)
    assert place(page) == read_from
    expect(way_down(page)).to_be_visible()


def test_the_keyboard_scrolls_up_as_well(page: Page, model: ModelServer) -> None:
    model.script([{"text": f"{LONG}\n\n"}, {"gate": "more"}, {"text": f"{LONG}\n\nThen"}])
    open_app(page)
    send_message(page, "long")
    see_reply(page, "Paragraph 39.")
    eventually(page, lambda: is_at_the_end(page))
    page.get_by_text("Paragraph 39.").click()
    end = place(page)
    page.keyboard.press("PageUp")
    eventually(page, lambda: place(page) < end)
    read_from = place_of_rest(page)
    model.open_gate("more")
    see_the_end(page)
    assert place(page) == read_from
    expect(way_down(page)).to_be_visible()


def test_sending_goes_to_the_end(page: Page, model: ModelServer) -> None:
    model.script([{"text": LONG}], times=1)
    open_app(page)
    send_message(page, "long")
    see_the_end(page)
    eventually(page, lambda: is_at_the_end(page))
    scroll_up(page)
    send_message(page, "and now?")
    see_reply(page, "and now?")
    see_the_end(page)
    eventually(page, lambda: is_at_the_end(page))
    expect(way_down(page)).to_be_hidden()


def test_a_conversation_opens_at_its_end(page: Page, model: ModelServer) -> None:
    model.script([{"text": LONG}])
    open_app(page)
    send_message(page, "long")
    see_the_end(page)
    conversation = path_of(page)
    open_app(page)
    open_app(page, conversation)
    eventually(page, lambda: is_at_the_end(page))
    expect(page.get_by_text("Paragraph 39.")).to_be_in_viewport()
