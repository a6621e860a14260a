"""API tokens: made, copied, used and revoked in the page."""

import json
import re
import urllib.error
import urllib.request
from secrets import token_hex
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from e2e.conftest import OpenPage
from e2e.looks import PHONE, WIDE, check_looks
from e2e.steps import open_app
from e2e.watch import Watch
from tests.server import Server


def open_tokens(page: Page) -> None:
    open_app(page)
    menu = page.get_by_role("button", name="Conversations")
    if menu.is_visible():
        menu.click()
    page.get_by_role("link", name="API tokens").click()
    expect(page.get_by_role("heading", name="API tokens")).to_be_visible()


def make_token(page: Page, name: str, scope: str = "Read") -> str:
    """From the page of tokens; gives back what it shows."""
    page.get_by_label("Name").fill(name)
    page.get_by_role("radio", name=scope).check()
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_role("heading", name=f"“{name}” is made")).to_be_visible()
    return shown_token(page).inner_text()


def shown_token(page: Page) -> Locator:
    return page.locator(".made__token code")


def entry(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name="Tokens").get_by_role("listitem").filter(has_text=name)


def open_revocation(page: Page, name: str) -> Locator:
    entry(page, name).locator("summary").click()
    return page.get_by_role("button", name=f"Revoke this token: {name}", exact=True)


def ask(server: Server, token: str, body: dict[str, Any] | None = None) -> int:
    """What a program is answered that lists conversations, or makes one."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{server.url}/api/conversations", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_a_token_is_made_used_and_revoked(
    open_page: OpenPage, server: Server, scripts: bool, viewport: dict[str, int]
) -> None:
    page = open_page(server.url, java_script_enabled=scripts, viewport=viewport)
    name = f"Backup {scripts} {viewport['width']}"
    open_tokens(page)
    token = make_token(page, name, "Chat")
    expect(entry(page, name)).to_contain_text(f"{token[:9]}… · chat · made")
    expect(entry(page, name)).to_contain_text("never used")
    assert (ask(server, token), ask(server, token, {})) == (200, 201)
    page.goto("/tokens")
    expect(shown_token(page)).to_have_count(0)
    expect(entry(page, name)).to_contain_text("last used")
    revoke = open_revocation(page, name)
    expect(entry(page, name)).to_contain_text("This cannot be undone.")
    assert ask(server, token) == 200, "asking for it is not yet revoking it"
    revoke.click()
    expect(entry(page, name)).to_have_count(0)
    assert ask(server, token) == 401


def test_a_token_is_copied(open_page: OpenPage, server: Server) -> None:
    page = open_page(server.url, permissions=["clipboard-read", "clipboard-write"])
    open_tokens(page)
    token = make_token(page, "Copied")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == token


def test_without_scripts_one_click_selects_the_token(plain_page: Page) -> None:
    open_tokens(plain_page)
    make_token(plain_page, "Selected")
    expect(shown_token(plain_page)).to_have_css("user-select", "all")
    expect(plain_page.get_by_role("button", name="Copy")).to_have_count(0)


def test_a_reload_makes_no_second_token(page: Page, watch: Watch) -> None:
    watch.expect("400")
    open_tokens(page)
    token = make_token(page, "Only once")
    page.reload()  # sends the form again
    name = page.get_by_label("Name")
    expect(name).to_have_accessible_description(re.compile("There is a token of this name already."))
    expect(name).to_be_focused()
    expect(entry(page, "Only once")).to_have_count(1)
    expect(entry(page, "Only once")).to_contain_text(token[:9])
    expect(shown_token(page)).to_have_count(0)


def test_a_token_is_made_and_revoked_by_keyboard(page: Page) -> None:
    open_tokens(page)
    page.get_by_label("Name").focus()
    page.keyboard.type("Typed")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="Read")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Chat")).to_be_checked()
    page.keyboard.press("Enter")
    expect(entry(page, "Typed")).to_contain_text("chat")
    entry(page, "Typed").locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Revoke this token: Typed", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(entry(page, "Typed")).to_have_count(0)


def test_axe_finds_nothing_and_nothing_is_too_wide(each_page: Page, watch: Watch) -> None:
    watch.expect("400")

    name = token_hex(4) + "unbreakable" * 4
    open_tokens(each_page)
    check_looks(each_page)
    make_token(each_page, name)
    open_revocation(each_page, name)
    check_looks(each_page)
    each_page.get_by_label("Name").fill(name)
    each_page.get_by_role("button", name="Make the token").click()
    expect(each_page.locator(".field__problem")).to_be_visible()
    check_looks(each_page)
