"""Tools that ask a person first, as people see them: what would be done, and what they can say to it."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from playwright.sync_api import Locator, Page, expect

from e2e.conftest import OpenPage
from e2e.looks import check_looks
from e2e.proxy import Proxy
from e2e.steps import (
    badge,
    composer,
    open_app,
    path_of,
    reload,
    reply,
    see_problem,
    see_reply,
    see_the_end,
    see_the_same,
    send_message,
    stop,
    streaming,
    write,
)
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.server import Server
from tests.tool_server import tool_server

HOSTILE = {"me": "<img src=x onerror=alert(1)>", "other": "safe\u202etxt.exe " + "x" * 3000}


@pytest.fixture(scope="module")
def tools() -> Iterator[str]:
    with tool_server() as address:
        yield address


@pytest.fixture
def project(server: Server, tools: str) -> str:
    """Where conversations of a project begin that has the tools."""
    made = post(f"{server.url}/projects", name="Sums")
    post(f"{made}/tools", name="sums", address=tools)
    return f"/?project={made.rpartition('/')[2]}"


def post(to: str, /, **fields: str) -> str:
    """Gives back where it leads."""
    with urlopen(to, urlencode(fields).encode()) as answer:
        return str(answer.url)


def script_calls(model: ModelServer, *rounds: tuple[str, dict[str, Any]]) -> None:
    for name, arguments in rounds:
        call = {"name": f"sums__{name}", "arguments": json.dumps(arguments)}
        model.script([{"tool_call": call}], match="please", times=1)
    model.script([{"text": "That is that."}], match="please", times=1)


def cards(page: Page) -> Locator:
    return reply(page).get_by_role("region", name=re.compile("^May Assistant use"))


def decide(page: Page, name: str) -> None:
    cards(page).last.get_by_role("button", name=name).click(no_wait_after=True)


def see_decided(page: Page, words: str, number: int = 0) -> None:
    step = reply(page).locator(".step--tool_call").nth(number)
    step.locator("summary").first.click()
    expect(step.locator(".step__verdict")).to_have_text(words)


def test_what_a_tool_is_given_is_shown_and_nothing_is_done_before_a_word(
    page: Page, open_page: OpenPage, server: Server, model: ModelServer, project: str
) -> None:
    script_calls(model, ("add", {"a": 2, "b": 3}))
    open_app(page, project)
    send_message(page, "please add")
    expect(cards(page)).to_have_count(1)
    expect(cards(page)).to_contain_text("May Assistant use add of sums?")
    expect(cards(page).locator("pre")).to_have_text(re.compile(r'"a": 2,\s+"b": 3'))
    expect(badge(page)).to_contain_text("is waiting for you")
    expect(page).to_have_title(re.compile("^Waiting for you · "))
    expect(page.locator("#status")).to_have_text("Waiting for you: add of sums")
    other = open_page(server.url)
    open_app(other, path_of(page))
    expect(other).to_have_title(re.compile("^Waiting for you · "))
    see_the_same(page, other)
    reload(page)
    see_the_same(page, other)
    decide(other, "Approve once")
    for each in (page, other):
        see_reply(each, "That is that.")
        see_the_end(each)
        expect(cards(each)).to_have_count(0)
        expect(each).to_have_title(re.compile("^please add"))
    see_the_same(page, other)
    see_decided(page, "Approved once")
    expect(reply(page).locator(".step--tool_call .step__answer")).to_contain_text("5")


@pytest.mark.parametrize(("button", "asked"), [("For this reply", 1), ("Always here", 1), ("Approve once", 2)])
def test_how_far_a_word_reaches(page: Page, model: ModelServer, project: str, button: str, asked: int) -> None:
    script_calls(model, ("add", {"a": 2}), ("add", {"a": 3}))
    open_app(page, project)
    send_message(page, "please add")
    for number in range(asked):
        expect(cards(page).locator("pre")).to_contain_text(f'"a": {2 + number}')
        decide(page, button)
    see_reply(page, "That is that.")
    see_the_end(page)


def test_whoever_types_a_reason_and_presses_enter_declines(page: Page, model: ModelServer, project: str) -> None:
    script_calls(model, ("add", {"a": 2}))
    open_app(page, project)
    send_message(page, "please add")
    reason = cards(page).get_by_role("textbox", name="Why not")
    reason.fill("Not with these numbers")
    reason.press("Enter")
    see_reply(page, "That is that.")
    see_the_end(page)
    expect(composer(page)).to_be_focused()
    see_decided(page, "Declined: Not with these numbers")


def test_what_a_tool_is_given_is_text_and_nothing_of_it_hides(
    each_page: Page, model: ModelServer, project: str
) -> None:
    """And the page that waits is for everyone."""
    script_calls(model, ("meet", HOSTILE))
    open_app(each_page, project)
    send_message(each_page, "please meet")
    shown = cards(each_page).locator("pre")
    expect(shown).to_contain_text("<img src=x onerror=alert(1)>")
    expect(shown).to_contain_text(r"safe\u202etxt.exe")
    assert json.loads(shown.inner_text()) == HOSTILE
    check_looks(each_page)
    decide(each_page, "Decline")
    see_the_end(each_page)
    check_looks(each_page)


def test_stop_takes_the_question_away(page: Page, model: ModelServer, project: str) -> None:
    script_calls(model, ("add", {"a": 2}))
    open_app(page, project)
    send_message(page, "please add")
    expect(cards(page)).to_have_count(1)
    stop(page)
    see_the_end(page)
    expect(cards(page)).to_have_count(0)
    expect(reply(page).locator(".run__facts")).to_contain_text("Stopped")


def test_who_is_too_late_is_told_so(
    open_page: OpenPage, server: Server, model: ModelServer, project: str, watch: Watch
) -> None:
    """The page does not know yet that it was decided elsewhere."""
    watch.expect("409")
    script_calls(model, ("add", {"a": 2}))
    with Proxy(server.port).running() as proxy:
        page = open_page(proxy.url)
        open_app(page, project)
        send_message(page, "please add")
        expect(cards(page)).to_have_count(1)
        proxy.hold_streams()
        action = cards(page).locator(".approval__yes").get_attribute("action")
        post(f"{server.url}{action}", decision="decline")
        decide(page, "Approve once")
        see_problem(page, "This was decided already: declined.")
        proxy.release_streams()
        see_the_end(page)
        expect(cards(page)).to_have_count(0)
        page.close()


def test_replies_that_are_not_streamed_ask_too(page: Page, model: ModelServer, project: str) -> None:
    script_calls(model, ("add", {"a": 2}))
    open_app(page, project)
    streaming(page).uncheck()
    send_message(page, "please add")
    expect(cards(page)).to_have_count(1)
    decide(page, "Approve once")
    see_reply(page, "That is that.")
    see_the_end(page)


def test_a_replay_shows_what_was_asked_and_no_buttons(page: Page, model: ModelServer, project: str) -> None:
    script_calls(model, ("add", {"a": 2}))
    open_app(page, project)
    send_message(page, "please add")
    decide(page, "Approve once")
    see_the_end(page)
    see_decided(page, "Approved once")
    page.locator(".activity summary").click()
    asked = page.locator(".activity__log li", has_text="Waiting for you: add of sums")
    asked.get_by_role("link").click()
    expect(cards(page)).to_have_count(1)
    expect(cards(page).get_by_role("button")).to_have_count(0)


# Without scripts


def test_without_scripts_a_person_is_asked_in_the_page_that_grows(
    plain_page: Page, model: ModelServer, project: str
) -> None:
    script_calls(model, ("add", {"a": 2}), ("add", {"a": 3}))
    plain_page.goto(project)
    write(plain_page, "please add")
    plain_page.get_by_role("button", name="Send").click(no_wait_after=True)
    for number in (2, 3):
        expect(cards(plain_page).locator("pre:visible")).to_contain_text(f'"a": {number}')
        expect(cards(plain_page).last).to_contain_text("Waiting for you")
        expect(badge(plain_page).get_by_text("is thinking")).to_be_hidden()
        decide(plain_page, "Approve once")
    expect(reply(plain_page)).to_contain_text("That is that.")
    expect(reply(plain_page).locator(".run__facts")).to_be_visible()
    expect(cards(plain_page)).to_have_count(0)


def test_without_scripts_what_was_decided_elsewhere_leaves_the_page(
    plain_page: Page, server: Server, model: ModelServer, project: str
) -> None:
    script_calls(model, ("add", {"a": 2}))
    plain_page.goto(project)
    write(plain_page, "please add")
    plain_page.get_by_role("button", name="Send").click(no_wait_after=True)
    expect(cards(plain_page)).to_have_count(1)
    action = cards(plain_page).locator(".approval__yes").get_attribute("action")
    plain_page.context.request.post(f"{server.url}{action}", form={"decision": "decline"})
    expect(reply(plain_page).locator(".run__facts")).to_be_visible()
    expect(cards(plain_page)).to_have_count(0)  # those that are left are hidden


# The project's tools


def test_what_is_always_allowed_is_taken_back_on_the_tools_page(
    each_page: Page, model: ModelServer, project: str
) -> None:
    page = each_page
    script_calls(model, ("add", {"a": 2}))
    open_app(page, project)
    send_message(page, "please add")
    decide(page, "Always here")
    see_the_end(page)
    page.goto(f"/p/{project.partition('=')[2]}/tools")
    check_looks(page)
    page.get_by_role("button", name="Take back add").click()
    expect(page.get_by_role("button", name="Take back")).to_have_count(0)
    page.get_by_role("button", name="Never ask for sums").click()
    expect(page.get_by_text("Never asks.")).to_be_visible()
