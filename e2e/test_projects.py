"""Projects as people use them: made, described, worked in, remembered, deleted and brought back."""

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from e2e.conftest import OpenPage
from e2e.looks import PHONE, check_looks
from e2e.steps import (
    composer,
    eventually,
    held,
    open_app,
    own_messages,
    path_of,
    see_draft,
    see_own_message,
    see_reply,
    see_the_end,
    send_message,
    titles,
    write,
)
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.server import Server


def make_project(page: Page, name: str) -> str:
    """From the list of conversations; gives back the project's path."""
    open_app(page)
    menu = page.get_by_role("button", name="Conversations")
    if menu.is_visible():
        menu.click()
    page.locator(".switcher summary").click()
    page.get_by_label("New project").fill(name)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    return re.sub(r".*(/p/[0-9a-f-]{36}).*", r"\1", page.url)


def instruct(page: Page, instructions: str, team: str = "Assistant") -> None:
    page.get_by_label("Instructions").fill(instructions)
    page.get_by_label("Team for new conversations").select_option(team)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()


def go_to(page: Page, part: str) -> None:
    page.get_by_role("navigation", name="Project").get_by_role("link", name=part).click()


def remember(page: Page, content: str) -> None:
    page.get_by_label("New memory").fill(content)
    page.get_by_role("button", name="Add").click()
    expect(memories(page).first).to_have_text(content)


def memories(page: Page) -> Locator:
    return page.locator(".card__text")


def open_memory(page: Page, content: str) -> Locator:
    card = page.locator(".card").filter(has_text=content)
    card.locator("summary").click()
    return card


def system_message(model: ModelServer, asked: str) -> str:
    """What the model was told before this was asked."""
    told = next(request["body"]["messages"] for request in model.requests() if asked in str(request))
    assert told[0]["role"] == "system"
    return str(told[0]["content"])


def test_a_person_makes_a_project_writes_instructions_and_says_something_in_it(page: Page, model: ModelServer) -> None:
    project = make_project(page, "The <harbour>")
    instruct(page, "Answer as the harbour office does.")
    go_to(page, "Memories")
    remember(page, "The harbour master is called Ida.")
    go_to(page, "Conversations")
    send_message(page, "Who decides at the pier?")
    see_reply(page, "Who decides at the pier?")
    see_the_end(page)
    expect(page.locator(".page__project a")).to_have_attribute("href", project)
    expect(page.locator(".page__project")).to_have_text("The <harbour>")
    expect(titles(page)).to_have_text(["Who decides at the pier?"])
    known = system_message(model, "Who decides at the pier?")
    assert "Answer as the harbour office does." in known
    assert "The harbour master is called Ida." in known
    page.reload()
    expect(titles(page)).to_have_text(["Who decides at the pier?"])
    path = path_of(page)
    page.get_by_role("link", name="New conversation").click()
    expect(page).to_have_url(re.compile("project="))
    page.go_back()
    assert path_of(page) == path
    send_message(page, "And at night?")
    see_reply(page, "And at night?")
    expect(titles(page)).to_have_count(1)


def test_what_is_said_elsewhere_knows_nothing_of_it(page: Page, model: ModelServer) -> None:
    """Needs the test before it to mean anything."""
    make_project(page, "Secret")
    instruct(page, "Never leave this harbour.")
    open_app(page)
    send_message(page, "What holds here?")
    see_reply(page, "What holds here?")
    assert "Never leave this harbour." not in system_message(model, "What holds here?")


def test_a_project_gives_new_conversations_its_team(page: Page) -> None:
    make_project(page, "Planned")
    instruct(page, "", "Planning first")
    go_to(page, "Conversations")
    expect(page.get_by_label("Team")).to_have_value("planning")


def test_drafts_of_two_projects_are_kept_apart(page: Page) -> None:
    project = make_project(page, "Drafts").removeprefix("/p/")
    go_to(page, "Conversations")
    write(page, "half a thought")
    open_app(page)
    see_draft(page, "")
    open_app(page, f"/?project={project}")
    see_draft(page, "half a thought")


def test_one_goes_from_project_to_project(page: Page) -> None:
    make_project(page, "From here")
    make_project(page, "To there")
    go_to(page, "Conversations")
    expect(page.locator(".switcher__current")).to_have_text("To there")
    page.locator(".switcher summary").click()
    page.get_by_role("list", name="Projects").get_by_role("link", name="From here").click()
    expect(page.locator(".switcher__current")).to_have_text("From here")
    expect(page.get_by_role("list", name="Projects").get_by_role("link", name="To there")).to_be_hidden()


@pytest.mark.parametrize("scripts", [True, False])
def test_deleting_a_project_can_be_undone(open_page: OpenPage, server: Server, watch: Watch, scripts: bool) -> None:
    watch.expect("404")
    page = open_page(server.url, java_script_enabled=scripts)
    project = make_project(page, "Regretted")
    go_to(page, "Conversations")
    composer(page).fill("still here")
    page.get_by_role("button", name="Send").click()
    see_own_message(page, "still here")
    expect(page.locator(".run__facts")).to_be_visible()
    page.locator(".page__project a").click()
    page.get_by_role("button", name="Delete this project").click()
    expect(page.get_by_text("Deleted the project “Regretted”.")).to_be_visible()
    page.goto(project)
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".switcher__current")).to_have_text("Regretted")
    titles(page).filter(has_text="still here").click()
    expect(own_messages(page)).to_have_text(["still here"])


@pytest.mark.parametrize("scripts", [True, False])
def test_memories_are_added_changed_and_deleted(open_page: OpenPage, server: Server, scripts: bool) -> None:
    page = open_page(server.url, java_script_enabled=scripts)
    make_project(page, "Remembers")
    go_to(page, "Memories")
    expect(page.get_by_text("Nothing is remembered yet.")).to_be_visible()
    remember(page, "Tides are given in local time.")
    remember(page, "Ida is on holiday.")
    card = open_memory(page, "Ida")
    card.get_by_label("Memory").fill("Ida is back.")
    card.get_by_role("button", name="Save").click()
    expect(memories(page)).to_have_text(["Ida is back.", "Tides are given in local time."])
    open_memory(page, "Tides").get_by_role("button", name="Delete").click()
    expect(memories(page)).to_have_text(["Ida is back."])
    shown = page.locator("#memories").inner_html()
    page.reload()
    assert re.sub(r"\s+", " ", page.locator("#memories").inner_html()) == re.sub(r"\s+", " ", shown)


def test_memories_are_kept_by_keyboard(page: Page) -> None:
    make_project(page, "By hand")
    go_to(page, "Memories")
    page.get_by_label("New memory").focus()
    page.keyboard.type("typed")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(memories(page)).to_have_text(["typed"])
    expect(page.get_by_role("button", name="Add")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Memory", exact=True)).to_be_focused()
    page.keyboard.type("more ")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(memories(page)).to_have_text(["more typed"])


def test_a_tool_server_is_added_and_removed(page: Page, watch: Watch) -> None:
    watch.expect("400")
    make_project(page, "Tools")
    go_to(page, "Tools")
    page.get_by_label("Name").fill("weather")
    page.get_by_label("Address").fill("rm -rf /")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_label("Address")).to_have_accessible_description(re.compile("Command lines are off here"))
    expect(page.get_by_label("Address")).to_be_focused()
    expect(page.get_by_label("Name")).to_have_value("weather")
    page.get_by_label("Address").fill("http://127.0.0.1:9/mcp")
    page.get_by_role("button", name="Add").click()
    expect(page.locator(".card__title")).to_have_text("weather")
    expect(page.get_by_text("Connecting…")).to_be_hidden()
    with held(page, "**/trials") as trials:
        page.get_by_role("button", name="Try weather").click()
        expect(page.get_by_text("Connecting…")).to_be_visible()
        eventually(page, lambda: len(trials) == 1)
    expect(page.get_by_text("The tool server weather cannot be used")).to_be_visible()
    expect(page.get_by_text("Connecting…")).to_be_hidden()
    expect(page.get_by_role("button", name="Try weather")).to_be_focused()
    page.get_by_role("button", name="Remove weather").click()
    expect(page.locator(".card")).to_have_count(0)


def test_axe_finds_nothing_and_nothing_is_too_wide(each_page: Page, watch: Watch) -> None:
    watch.expect("400")

    project = make_project(each_page, "unbreakable" * 15)
    check_looks(each_page)
    go_to(each_page, "Memories")
    check_looks(each_page)
    remember(each_page, "averyveryverylongword" * 20)
    open_memory(each_page, "averyvery")
    check_looks(each_page)
    go_to(each_page, "Tools")
    each_page.get_by_label("Name").fill("weather")
    each_page.get_by_label("Address").fill("http://127.0.0.1:9/" + "long" * 100)
    each_page.get_by_role("button", name="Add").click()
    expect(each_page.locator(".card")).to_be_visible()
    each_page.get_by_label("Name").fill("weather")
    each_page.get_by_label("Address").fill("http://127.0.0.1:9/")
    each_page.get_by_role("button", name="Add").click()
    expect(each_page.locator(".field__problem")).to_be_visible()
    check_looks(each_page)
    each_page.goto("/projects")
    check_looks(each_page)
    open_app(each_page, f"/?project={project.removeprefix('/p/')}")
    if each_page.viewport_size == PHONE:
        each_page.get_by_role("button", name="Conversations").click()
    each_page.locator(".switcher summary").click()
    check_looks(each_page)


def test_a_project_can_be_described_by_keyboard(page: Page) -> None:
    make_project(page, "Typed")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    page.keyboard.press("Enter")
    stops: list[Any] = []
    while "instructions" not in stops:
        page.keyboard.press("Tab")
        stops.append(page.evaluate("document.activeElement.name || document.activeElement.textContent.trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert stops[-2:] == ["name", "instructions"]
    page.keyboard.type("Written by hand.")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.get_by_label("Instructions")).to_have_value("Written by hand.")
