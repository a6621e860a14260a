"""The list of conversations: newest first, named by what was said first, renamed, deleted and brought back."""

import re

from playwright.sync_api import Page, expect

from e2e.conftest import OpenPage
from e2e.steps import (
    composer,
    delete,
    entries,
    open_app,
    open_menu,
    own_messages,
    path_of,
    rename,
    see_own_message,
    see_reply,
    see_the_end,
    send_message,
    start_conversation,
    titles,
    undo,
)
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.server import Server


def test_a_conversation_appears_in_the_list_with_a_title_while_it_begins(page: Page, model: ModelServer) -> None:
    model.script([{"text": "Well, "}, {"gate": "more"}, {"text": "yes."}])
    open_app(page)
    count = entries(page).count()
    send_message(page, "Why is the sky blue?\nAnd why is grass green?")
    see_reply(page, "Well,")
    expect(titles(page).first).to_have_text("Why is the sky blue?")
    expect(titles(page).first).to_have_attribute("aria-current", "page")
    expect(page.get_by_role("heading", level=1)).to_have_text("Why is the sky blue?")
    expect(page).to_have_title("Why is the sky blue? · riverrun")
    expect(entries(page)).to_have_count(count + 1)
    model.open_gate("more")
    see_the_end(page)
    listed = titles(page).all_inner_texts()[:20]
    page.reload()
    assert titles(page).all_inner_texts()[:20] == listed


def test_the_newest_comes_first_and_what_is_gone_on_with_moves_up(page: Page) -> None:
    older = start_conversation(page, "the older one")
    start_conversation(page, "the newer one")
    assert titles(page).all_inner_texts()[:2] == ["the newer one", "the older one"]
    page.get_by_role("link", name="the older one").first.click()
    assert path_of(page) == older
    send_message(page, "once more")
    see_reply(page, "once more")
    assert titles(page).all_inner_texts()[:2] == ["the older one", "the newer one"]
    page.reload()
    assert titles(page).all_inner_texts()[:2] == ["the older one", "the newer one"]


def test_renaming_changes_the_list_the_page_and_its_title(page: Page) -> None:
    start_conversation(page, "call me something")
    rename(page, "call me something", "A better <name>")
    expect(titles(page).first).to_have_text("A better <name>")
    expect(page.get_by_role("heading", level=1)).to_have_text("A better <name>")
    expect(page).to_have_title("A better <name> · riverrun")
    page.reload()
    expect(titles(page).first).to_have_text("A better <name>")
    send_message(page, "the name stays")
    see_reply(page, "the name stays")
    expect(titles(page).first).to_have_text("A better <name>")


def test_renaming_another_conversation_leaves_this_one_alone(page: Page) -> None:
    start_conversation(page, "to be renamed")
    start_conversation(page, "to be left alone")
    rename(page, "to be renamed", "renamed")
    expect(titles(page).nth(1)).to_have_text("renamed")
    expect(page.get_by_role("heading", level=1)).to_have_text("to be left alone")
    expect(page).to_have_title("to be left alone · riverrun")


def test_deleting_this_conversation_can_be_undone(page: Page, watch: Watch) -> None:
    watch.expect("404")
    path = start_conversation(page, "regretted")
    delete(page, "regretted")
    expect(page).to_have_url(re.compile(r"/\?deleted="))
    expect(titles(page).filter(has_text="regretted")).to_have_count(0)
    expect(page.get_by_text("Deleted “regretted”")).to_be_visible()
    gone = page.context.new_page()
    gone.goto(path)
    expect(gone.get_by_role("heading", name="Not found")).to_be_visible()
    undo(page)
    expect(titles(page).first).to_have_text("regretted")
    titles(page).first.click()
    see_own_message(page, "regretted")
    see_reply(page, "regretted")


def test_deleting_another_conversation_keeps_what_is_being_written(page: Page) -> None:
    start_conversation(page, "in the way")
    path = start_conversation(page, "the important one")
    composer(page).fill("half a sentence")
    delete(page, "in the way")
    expect(titles(page).filter(has_text="in the way")).to_have_count(0)
    expect(composer(page)).to_have_value("half a sentence")
    assert path_of(page) == path
    undo(page)
    expect(titles(page).nth(1)).to_have_text("in the way")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    expect(composer(page)).to_have_value("half a sentence")


def test_deleting_stops_what_works_there(page: Page, model: ModelServer) -> None:
    model.script([{"text": "going on and on"}, {"stall": True}])
    open_app(page)
    send_message(page, "never ending")
    see_reply(page, "going on")
    request = len(model.requests()) - 1
    delete(page, "never ending")
    expect(page.get_by_text("Deleted “never ending”")).to_be_visible()
    model.wait_closed(request)


def test_a_menu_closes_with_escape_and_when_another_opens(page: Page) -> None:
    start_conversation(page, "one menu")
    start_conversation(page, "another menu")
    first = open_menu(page, "one menu")
    expect(first.get_by_label("Title")).to_be_visible()
    second = open_menu(page, "another menu")
    expect(second.get_by_label("Title")).to_be_visible()
    expect(first.get_by_label("Title")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(second.get_by_label("Title")).to_be_hidden()
    expect(second.locator("summary")).to_be_focused()


def test_an_idea_is_put_into_the_composer(page: Page) -> None:
    open_app(page)
    page.get_by_role("link", name="What can you do?").click()
    expect(composer(page)).to_have_value("What can you do?")
    composer(page).press("Enter")
    see_own_message(page, "What can you do?")
    expect(page.get_by_text("What would you like to work on?")).to_be_hidden()


def test_a_long_conversation_shows_its_end_and_leads_to_the_beginning(
    open_page: OpenPage, server: Server, model: ModelServer
) -> None:
    page = open_page(server.url)
    path = start_conversation(page, "message 0")
    conversation = path.removeprefix("/c/")
    for n in range(1, 30):
        answer = page.request.post(f"/api/conversations/{conversation}/messages", data={"content": f"message {n}"})
        assert answer.ok
    open_app(page, path)
    expect(own_messages(page)).to_have_count(25)
    see_own_message(page, "message 29")
    page.get_by_role("link", name="Earlier messages").click()
    expect(own_messages(page)).to_have_count(5)
    expect(own_messages(page).first).to_have_text("message 0")
    page.get_by_role("link", name="To the latest messages").click()
    see_own_message(page, "message 29")
    page.go_back()
    expect(own_messages(page)).to_have_count(5)
    send_message(page, "said among old ones")
    see_own_message(page, "said among old ones")
    expect(own_messages(page)).to_have_count(25)
    expect(page).not_to_have_url(re.compile("before"))
