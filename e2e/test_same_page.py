"""The page is the truth: open all along, opened later, opened twice or come back to, it shows what is saved."""

import re

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import OpenPage
from e2e.steps import (
    open_app,
    open_beside,
    own_messages,
    path_of,
    reload,
    replies,
    reply,
    see_own_message,
    see_reply,
    see_the_end,
    see_the_same,
    see_thinking,
    send_message,
    set_hidden,
    shown,
    start_conversation,
    stop,
)
from tests.model_server import ModelServer, Step
from tests.server import Server

MARKDOWN = (
    "# Title\n\nText with *emphasis*, `code`, a [link][1] and https://example.org.\n\n1. one\n2. two\n   - inner\n\n"
    "| a | b |\n|---|--:|\n| 1 | 2 |\n\n```js\nconst a = 1;\n```\n\n- [x] done\n- [ ] open\n\n> quoted\n> twice\n\n"
    "~~~\nunknown\n~~~\n\n<b>not bold</b> & so on\n\n[1]: https://example.org/one\n\n***\n\nThe end."
)


@pytest.mark.parametrize("per", [1, 7, 10_000])
def test_a_page_open_all_along_equals_a_page_opened_later(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer, per: int
) -> None:
    model.script(
        [
            {"reasoning": "A thought.\n\nAnother one.", "per": per},
            {"text": MARKDOWN[:200], "per": per},
            {"gate": "middle"},
            {"text": MARKDOWN[200:], "per": per},
        ]
    )
    open_app(page)
    send_message(page, "everything")
    see_reply(page, "Title")
    expect(reply(page).locator(".prose")).to_contain_text("inner"[: 200 - MARKDOWN.index("inner")] or "two")
    fresh = open_page(server.url)
    open_app(fresh, path_of(page))
    see_the_same(page, fresh)
    model.open_gate("middle")
    for each in (page, fresh):
        see_reply(each, "The end.")
        see_the_end(each)
    see_the_same(page, fresh)
    later = open_page(server.url)
    open_app(later, path_of(page))
    see_the_same(page, later)
    assert page.title() == fresh.title() == later.title() == "everything · riverrun"


@pytest.mark.parametrize("ending", ["stopped", "failed"])
def test_a_page_equals_a_later_one_however_the_run_ends(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer, ending: str
) -> None:
    rest: Step = {"stall": True} if ending == "stopped" else {"cut": "reset"}
    model.script([{"text": "Some text and **unfini"}, {"gate": "go"}, rest])
    open_app(page)
    send_message(page, ending)
    see_reply(page, "unfini")
    model.open_gate("go")
    if ending == "stopped":
        stop(page)
    see_the_end(page)
    later = open_page(server.url)
    open_app(later, path_of(page))
    see_the_same(page, later)


def test_a_reload_in_the_middle_goes_on(page: Page, model: ModelServer) -> None:
    model.script([{"text": "One, "}, {"gate": "two"}, {"text": "two, "}, {"gate": "three"}, {"text": "three."}])
    open_app(page)
    send_message(page, "count")
    see_reply(page, "One,")
    reload(page)
    see_reply(page, "One,")
    model.open_gate("two")
    see_reply(page, "One, two,")
    reload(page)
    model.open_gate("three")
    see_reply(page, "One, two, three.")
    see_the_end(page)
    expect(own_messages(page)).to_have_count(1)


def test_a_reload_before_the_first_word(page: Page, model: ModelServer) -> None:
    model.script([{"gate": "go"}, {"text": "Here."}])
    open_app(page)
    send_message(page, "wait")
    path_of(page)
    reload(page)
    see_own_message(page, "wait")
    see_thinking(page)
    model.open_gate("go")
    see_reply(page, "Here.")


def test_a_second_tab_follows_the_same_run_and_may_stop_it(page: Page, model: ModelServer) -> None:
    model.script([{"text": "for both "}, {"gate": "more"}, {"text": "of you"}, {"stall": True}])
    open_app(page)
    send_message(page, "two tabs")
    see_reply(page, "for both")
    second = open_beside(page)
    see_reply(second, "for both")
    model.open_gate("more")
    for tab in (page, second):
        see_reply(tab, "for both of you")
    see_the_same(page, second)
    stop(second)
    for tab in (page, second):
        see_the_end(tab)
    see_the_same(page, second)


def test_many_tabs_do_not_starve_each_other(page: Page, model: ModelServer) -> None:
    """A browser keeps six connections to a server: with six tabs in the back the seventh has to work all the same."""
    model.script([{"text": "for all "}, {"gate": "more"}, {"text": "of you"}])
    open_app(page)
    send_message(page, "many tabs")
    see_reply(page, "for all")
    tabs = [page]
    for _ in range(6):
        set_hidden(tabs[-1], True)
        tabs.append(open_beside(page))
        see_reply(tabs[-1], "for all")
    model.open_gate("more")
    see_reply(tabs[-1], "for all of you")
    for tab in tabs:
        set_hidden(tab, False)
        see_reply(tab, "for all of you")


def test_back_and_forward_show_what_is_saved(page: Page, model: ModelServer) -> None:
    start_conversation(page, "the first one")
    page.get_by_role("link", name="New conversation").click()
    expect(own_messages(page)).to_have_count(0)
    model.script([{"text": "Half "}, {"gate": "more"}, {"text": "and whole"}])
    send_message(page, "the second one")
    see_reply(page, "Half")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("New conversation")
    expect(own_messages(page)).to_have_count(0)
    page.go_back()
    see_own_message(page, "the first one")
    see_reply(page, "the first one")
    page.go_forward()
    page.go_forward()
    see_own_message(page, "the second one")
    see_reply(page, "Half")
    model.open_gate("more")
    see_reply(page, "Half and whole")
    see_the_end(page)


def test_leaving_does_not_end_a_run(page: Page, model: ModelServer) -> None:
    model.script([{"text": "Gone "}, {"gate": "more"}, {"text": "but not lost"}])
    open_app(page)
    send_message(page, "leave")
    see_reply(page, "Gone")
    path = path_of(page)
    page.goto("about:blank")
    model.open_gate("more")
    open_app(page, path)
    see_reply(page, "Gone but not lost")
    see_the_end(page)


def test_what_is_said_in_one_tab_does_not_enter_another_conversation(page: Page, model: ModelServer) -> None:
    path = start_conversation(page, "here")
    before = shown(page)
    other = page.context.new_page()
    start_conversation(other, "there")
    assert shown(page) == before
    open_app(other, path)
    see_the_same(page, other)
    expect(replies(other)).to_have_count(1)


def test_an_address_from_a_browser_without_scripts_becomes_a_page_that_updates_itself(
    page: Page, model: ModelServer
) -> None:
    model.script([{"text": "Half "}, {"gate": "more"}, {"text": "and whole"}])
    open_app(page)
    send_message(page, "passed on")
    see_reply(page, "Half")
    path = path_of(page)
    other = page.context.new_page()
    other.goto(f"{path}?live=1", wait_until="commit")
    expect(other).to_have_url(re.compile(f"{path}$"))
    see_reply(other, "Half")
    expect(other.locator(".stream")).to_have_count(1)
    model.open_gate("more")
    see_reply(other, "Half and whole")
    see_the_end(other)
    see_the_end(page)
    see_the_same(page, other)
