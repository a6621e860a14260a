"""Agents and teams of people's own: made in the page, offered beside the composer, at work."""

import json
import re
from secrets import token_hex
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import OpenPage
from e2e.looks import check_looks
from e2e.steps import open_app, reply, see_reply, see_the_end, send_message
from e2e.test_projects import system_message
from e2e.test_teams import choose_team, lane
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.server import Server


def open_agents(page: Page) -> None:
    open_app(page)
    menu = page.get_by_role("button", name="Conversations")
    if menu.is_visible():
        menu.click()
    page.get_by_role("link", name="Agents and teams").click()
    expect(page.get_by_role("heading", name="Agents and teams")).to_be_visible()


def make_agent(page: Page, name: str, instructions: str, **fields: str) -> None:
    """From the page of agents and teams, and back there."""
    page.get_by_role("link", name="New agent").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Instructions").fill(instructions)
    for label, text in fields.items():
        page.get_by_label(label).fill(text)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()


def make_team(page: Page, title: str, *members: str) -> None:
    page.get_by_role("link", name="New team").click()
    page.get_by_label("Title").fill(title)
    for member in members:
        page.get_by_label(member).check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name=title, exact=True)).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_an_agent_of_ones_own_answers(open_page: OpenPage, server: Server, model: ModelServer, scripts: bool) -> None:
    page = open_page(server.url, java_script_enabled=scripts)
    name, team = ("Pilot", "Pilotage") if scripts else ("Plain pilot", "Plain pilotage")
    open_agents(page)
    make_agent(page, name, f"You are the {name} of the harbour.", Role="knows the channel")
    make_team(page, team, name)
    open_app(page)
    choose_team(page, team)
    page.get_by_role("textbox", name="Message").fill(f"How deep is it, {name}?")
    page.get_by_role("button", name="Send").click(no_wait_after=True)
    expect(reply(page).locator(".run__facts")).to_be_visible()
    expect(reply(page)).to_contain_text(name)
    assert f"You are the {name} of the harbour." in system_message(model, f"How deep is it, {name}?")


def test_several_members_are_asked_side_by_side(page: Page, model: ModelServer) -> None:
    question = "May the Étoile land?"
    asks = [{"agent": "Customs", "task": "Look at her papers"}, {"agent": "Doctor", "task": "Look at her crew"}]
    model.script([{"text": json.dumps({"reason": "Both decide.", "asks": asks})}], match=question, times=1)
    model.script([{"text": "Papers are fine."}], match="Look at her papers", times=1)
    model.script([{"text": "All are healthy."}], match="Look at her crew", times=1)
    model.script([{"text": "She may."}], match=question, times=1)
    open_agents(page)
    make_agent(page, "Customs", "You check papers.")
    make_agent(page, "Doctor", "You check health.")
    make_team(page, "Port authority", "Customs", "Doctor")
    open_app(page)
    choose_team(page, "Port authority")
    send_message(page, question)
    see_reply(page, "She may.")
    see_the_end(page)
    for agent in ("Customs", "Doctor"):
        expect(lane(page, agent).locator(".turn__state")).to_have_text("done")
    assert "You check papers." in system_message(model, "Look at her papers")
    page.reload()
    expect(page.get_by_label("Team")).to_have_value("port-authority")


def test_what_cannot_be_saved_is_kept_with_the_reason_beside_it(page: Page, watch: Watch) -> None:
    watch.expect("400")
    open_agents(page)
    make_agent(page, "Only one", "You are the only one.")
    page.get_by_role("link", name="New agent").click()
    page.get_by_label("Name", exact=True).fill("Only one")
    page.get_by_label("Instructions").fill("You are another.")
    page.get_by_label("The project’s files").check()
    page.get_by_role("button", name="Save").click()
    name = page.get_by_label("Name", exact=True)
    expect(name).to_have_accessible_description("There is an agent of this name already.")
    expect(name).to_be_focused()
    expect(page.get_by_label("Instructions")).to_have_value("You are another.")
    expect(page.get_by_label("The project’s files")).to_be_checked()
    name.fill("Another one")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="Another one")).to_be_visible()


def test_an_agent_is_changed_and_deleted_and_its_team_goes_on(page: Page) -> None:
    open_agents(page)
    make_agent(page, "Leaver", "You leave.")
    make_agent(page, "Stayer", "You stay.")
    make_team(page, "Leavers and stayers", "Leaver", "Stayer")
    page.get_by_role("link", name="Stayer", exact=True).click()
    page.get_by_label("Name", exact=True).fill("Keeper")
    page.get_by_role("button", name="Save").click()
    card = page.locator(".card").filter(has_text="Leavers and stayers")
    expect(card).to_contain_text("Leaver, Keeper")
    page.get_by_role("link", name="Leaver", exact=True).click()
    page.get_by_role("button", name="Delete this agent").click()
    expect(card.locator(".card__note")).to_have_text("Keeper")
    expect(page.get_by_role("link", name="Leaver", exact=True)).to_have_count(0)
    card.get_by_role("link").click()
    page.get_by_role("button", name="Delete this team").click()
    expect(card).to_have_count(0)
    open_app(page)
    expect(page.get_by_label("Team").get_by_text("Leavers and stayers")).to_have_count(0)


def test_axe_finds_nothing_and_nothing_is_too_wide(each_page: Page, watch: Watch) -> None:
    watch.expect("400")

    name = token_hex(4) + "unbreakable" * 4
    open_agents(each_page)
    each_page.get_by_role("link", name="New agent").click()
    check_looks(each_page)
    each_page.get_by_label("Name", exact=True).fill(name)
    each_page.get_by_label("Instructions").fill("Do.")
    each_page.get_by_label("Tool servers").fill("not/fine")
    each_page.get_by_role("button", name="Save").click()
    expect(each_page.locator(".field__problem")).to_be_visible()
    check_looks(each_page)
    each_page.get_by_label("Tool servers").fill("fine")
    each_page.get_by_role("button", name="Save").click()
    expect(each_page.get_by_role("link", name=name)).to_be_visible()
    each_page.get_by_role("link", name="New team").click()
    check_looks(each_page)
    each_page.get_by_label("Title").fill(name)
    each_page.get_by_role("button", name="Save").click()
    expect(each_page.locator(".field__problem")).to_be_visible()
    check_looks(each_page)
    each_page.get_by_label(name).check()
    each_page.get_by_role("button", name="Save").click()
    expect(each_page.get_by_role("heading", name="Agents and teams")).to_be_visible()
    check_looks(each_page)
    open_app(each_page)
    choose_team(each_page, name)
    check_looks(each_page)


def test_a_team_is_made_by_keyboard(page: Page) -> None:
    open_agents(page)
    make_agent(page, "Typist", "You type.")
    page.get_by_role("link", name="New team").focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/teams/new"))
    page.get_by_label("Title").focus()
    page.keyboard.type("Typed team")
    stops: list[Any] = []
    while "Typist" not in stops:
        page.keyboard.press("Tab")
        stops.append(page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.locator(".card").filter(has_text="Typed team")).to_contain_text("Typist")
