"""A reply as it comes: text that grows as formatted markdown, who is at work, and how it ends."""

import re

from playwright.sync_api import Locator, Page, expect

from e2e.conftest import OpenPage
from e2e.steps import (
    badge,
    eventually,
    open_app,
    own_messages,
    place,
    replies,
    reply,
    see_own_message,
    see_reply,
    see_the_end,
    see_thinking,
    see_version,
    send_message,
    stop,
    stop_button,
    try_again,
)
from tests.model_server import ModelServer
from tests.server import Server

CODE = "def greet(name):\n    return f'Hello, {name}'  # <b>kind</b>\n"


def prose(page: Page) -> Locator:
    return reply(page).locator(".prose")


def test_thinking_is_told_until_the_first_word(page: Page, model: ModelServer) -> None:
    model.script([{"open": {}}, {"gate": "think"}, {"text": "Now."}, {"gate": "more"}])
    open_app(page)
    send_message(page, "think first")
    model.wait_gate("think")
    see_thinking(page)
    expect(stop_button(page)).to_be_visible()
    model.open_gate("think")
    see_reply(page, "Now.")
    expect(badge(page)).to_contain_text("Assistant is writing")
    model.open_gate("more")
    see_the_end(page)
    expect(badge(page)).to_have_text("Assistant")


def test_text_grows_as_formatted_markdown(page: Page, model: ModelServer) -> None:
    model.script(
        [
            {
                "text": "# A heading\n\nA paragraph with **bold** and a [link](https://example.org/a) in it.\n\n",
                "per": 3,
            },
            {"gate": "list"},
            {"text": "1. first\n2. second\n   - inner\n\n", "per": 3},
            {"gate": "table"},
            {"text": "| left | right |\n|:--|--:|\n| a | 1 |\n| b", "per": 3},
            {"gate": "tasks"},
            {"text": " | 2 |\n\n- [x] done\n- [ ] to do\n\n", "per": 3},
            {"gate": "code"},
            {"text": f"```python\n{CODE}", "per": 3},
            {"gate": "close"},
            {"text": "```\n\nThe end.", "per": 3},
            {"gate": "end"},
        ]
    )
    open_app(page)
    send_message(page, "every format")
    text = prose(page)

    expect(text.get_by_role("heading", name="A heading")).to_be_visible()
    expect(text.locator("strong")).to_have_text("bold")
    link = text.get_by_role("link", name="link")
    expect(link).to_have_attribute("href", "https://example.org/a")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(text.locator("ol")).to_have_count(0)

    model.open_gate("list")
    expect(text.locator("ol > li")).to_have_count(2)
    expect(text.locator("ol > li ul > li")).to_have_text("inner")

    model.open_gate("table")
    expect(text.get_by_role("row")).to_have_count(3)
    expect(text.get_by_role("row").last).to_contain_text("b")
    model.open_gate("tasks")
    expect(text.get_by_role("cell").last).to_have_text("2")
    expect(text.get_by_role("checkbox", name="Completed task")).to_be_checked()
    expect(text.get_by_role("checkbox", name="Incomplete task")).not_to_be_checked()

    model.open_gate("code")
    code = text.locator("pre code")
    expect(code).to_have_text(CODE)
    expect(code.locator("span")).to_have_count(0)
    model.open_gate("close")
    expect(code.locator(".k").first).to_have_text("def")
    expect(code).to_have_text(CODE)

    model.open_gate("end")
    see_the_end(page)
    expect(text.locator("p").last).to_have_text("The end.")


def test_copy_puts_the_code_on_the_clipboard(open_page: OpenPage, server: Server, model: ModelServer) -> None:
    page = open_page(server.url, permissions=["clipboard-read", "clipboard-write"])
    model.script([{"text": f"Here:\n\n```python\n{CODE}```\n\n"}, {"gate": "more"}, {"text": "And *more*."}])
    open_app(page)
    send_message(page, "code, please")
    copy = prose(page).get_by_role("button", name="Copy")
    copy.click()
    expect(prose(page).get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == CODE
    expect(page.get_by_role("status").filter(has_text="Copied")).to_be_attached()
    model.open_gate("more")
    see_the_end(page)
    expect(copy).to_have_text("Copy")
    copy.dblclick()
    expect(prose(page).get_by_role("button", name="Copied")).to_be_visible()
    expect(copy).to_have_text("Copy")
    reply(page).locator("[data-copy-message]").click()
    eventually(page, lambda: "And more." in page.evaluate("navigator.clipboard.readText()"))
    types = page.evaluate("navigator.clipboard.read().then(items => items[0].types)")
    assert types == ["text/plain", "text/html"]


def test_progress_elapsed_time_and_speed_are_shown(page: Page, model: ModelServer) -> None:
    page.clock.install()
    slowly = {"text": "word " * 40, "pieces": 8, "pause": 0.05}  # of a shorter time no rate is told
    model.script([{"text": "word " * 40}, {"gate": "more"}, slowly, {"gate": "end"}])
    open_app(page)
    send_message(page, "how far?")
    see_reply(page, "word")
    expect(reply(page).get_by_role("progressbar", name="Progress")).to_have_attribute("value", "0.5")
    expect(reply(page)).to_contain_text("Writing")
    page.clock.run_for(2000)
    expect(reply(page).locator(".meter")).to_have_text(re.compile(r"^\d+ s"))
    model.open_gate("more")
    expect(prose(page)).to_contain_text("word " * 79)
    page.clock.run_for(3000)
    expect(reply(page).locator(".meter")).to_have_text(re.compile(r"^\d+ s · about \d+ tokens/s$"))
    model.open_gate("end")
    see_the_end(page)
    expect(reply(page).get_by_role("progressbar")).to_have_count(0)
    expect(reply(page).locator(".run__facts")).to_have_text(
        re.compile(r"\d s\s+80 tokens\s+[\d,]+ tokens/s\s+scripted")
    )


def test_stop_keeps_what_had_come(page: Page, model: ModelServer) -> None:
    model.script([{"text": "kept *as it is*"}, {"stall": True}])
    open_app(page)
    send_message(page, "go on for ever")
    see_reply(page, "kept as it is")
    stop(page)
    see_the_end(page)
    model.wait_closed(len(model.requests()) - 1)  # the model was told to stop, too
    expect(reply(page).locator(".run__facts")).to_contain_text("Stopped")
    expect(prose(page).locator("em")).to_have_text("as it is")
    page.reload()
    expect(reply(page).locator(".run__facts")).to_contain_text("Stopped")
    see_reply(page, "kept as it is")
    send_message(page, "and on we go")
    see_own_message(page, "and on we go")


def test_escape_does_not_stop_a_run(page: Page, model: ModelServer) -> None:
    """A key that closes menus must not throw work away."""
    model.script([{"text": "still "}, {"gate": "more"}, {"text": "here"}])
    open_app(page)
    send_message(page, "do not stop")
    see_reply(page, "still")
    page.keyboard.press("Escape")
    model.open_gate("more")
    see_reply(page, "still here")


def test_an_error_is_told_with_a_way_to_try_again(page: Page, model: ModelServer) -> None:
    model.script([{"text": "half a "}, {"cut": "reset"}], times=1)
    open_app(page)
    send_message(page, "will break")
    expect(reply(page).locator(".notice")).to_contain_text("broke in the middle of the reply")
    see_reply(page, "half a")
    expect(reply(page).locator(".run__facts")).to_contain_text("Not finished")
    model.script([{"text": "whole again"}])
    try_again(page)
    see_reply(page, "whole again")
    see_the_end(page)
    see_version(reply(page), "2 of 2")
    expect(replies(page)).to_have_count(1)
    expect(own_messages(page)).to_have_count(1)
    expect(page.get_by_role("button", name="Try again")).to_have_count(1)


def test_a_key_that_is_wrong_is_told_without_a_try_again(page: Page, model: ModelServer) -> None:
    model.script([{"status": 401, "body": {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}}])
    open_app(page)
    send_message(page, "who are you?")
    expect(reply(page).locator(".notice")).to_contain_text("RIVERRUN_MODEL_KEY")
    see_the_end(page)


def test_thoughts_stay_open_while_text_streams(page: Page, model: ModelServer) -> None:
    model.script(
        [
            {"reasoning": "First I wonder.\n\nHow?"},
            {"gate": "thought"},
            {"reasoning": "Then I know."},
            {"text": "The answer"},
            {"gate": "more"},
            {"text": " is 42.\n\nReally.", "per": 2},
        ]
    )
    open_app(page)
    send_message(page, "think")
    thoughts = reply(page).locator("details.step")
    expect(thoughts).to_have_count(1)
    thoughts.first.locator("summary").click()
    expect(thoughts.first).to_have_attribute("open", "")
    expect(thoughts.first.locator(".step__content")).to_be_visible()
    model.open_gate("thought")
    see_reply(page, "The answer")
    expect(thoughts).to_have_count(2)
    expect(thoughts.first).to_have_attribute("open", "")
    expect(thoughts.last).not_to_have_attribute("open", "")
    model.open_gate("more")
    see_the_end(page)
    see_reply(page, "Really.")
    expect(thoughts.first).to_have_attribute("open", "")
    expect(thoughts.first.locator(".step__content")).to_have_text("First I wonder.\n\nHow?")


def test_a_selection_survives_streaming_and_the_end(page: Page, model: ModelServer) -> None:
    model.script(
        [
            {"text": "To be selected.\n\nNext"},
            {"gate": "more"},
            {"text": " paragraph.\n\n```python\nx = 1\n```\n\nEnd", "per": 2},
            {"gate": "end"},
        ]
    )
    open_app(page)
    send_message(page, "select")
    see_reply(page, "Next")
    prose(page).locator("p").first.select_text()
    model.open_gate("more")
    see_reply(page, "End")
    assert selection(page) == "To be selected."
    model.open_gate("end")
    see_the_end(page)
    assert selection(page) == "To be selected."


def selection(page: Page) -> str:
    return str(page.evaluate("getSelection().toString()"))


def test_nothing_that_is_read_moves_when_the_run_ends(page: Page, model: ModelServer) -> None:
    model.script([{"reasoning": "Hm.\n\n"}, {"text": "Read me.\n\nAnd me."}, {"gate": "end"}])
    open_app(page)
    send_message(page, "still life")
    see_reply(page, "And me.")
    before = places(page)
    model.open_gate("end")
    see_the_end(page)
    assert places(page) == before


def test_nothing_that_is_read_moves_at_the_end_of_a_long_page(page: Page, model: ModelServer) -> None:
    model.script([{"text": "A paragraph.\n\n" * 40 + "The last."}, {"gate": "end"}])
    open_app(page)
    send_message(page, "still life")
    see_reply(page, "The last.")
    eventually(page, lambda: place(page) > 500)
    before = places(page)
    model.open_gate("end")
    see_the_end(page)
    assert places(page) == before


def places(page: Page) -> list[float]:
    """Where the paragraphs stand on the screen."""
    tops: list[float] = reply(page).evaluate(
        "e => [...e.querySelectorAll('.prose > p, .prose > .tail > p')].map(p => p.getBoundingClientRect().top)"
    )
    return tops
