"""What a page may cost and what it may contain: a small script, nothing inline, and a strict policy."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from playwright.sync_api import Error, Page

from e2e.steps import open_app, start_conversation
from e2e.watch import Watch

BUDGET = 26_000  # bytes of JavaScript as they are transferred, htmx included


def test_all_scripts_together_stay_within_the_budget(page: Page) -> None:
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    heads: dict[str, Any] = {}
    sizes: dict[str, float] = {}
    network.on("Network.responseReceived", lambda event: heads.update({event["requestId"]: event}))
    network.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    start_conversation(page)
    transferred = {
        head["response"]["url"]: sizes[request] - head["response"]["encodedDataLength"]
        for request, head in heads.items()
        if head["type"] == "Script"
    }
    assert any("htmx" in url for url in transferred), "needs the scripts to be loaded to mean anything"
    assert len(transferred) > 5
    assert sum(transferred.values()) <= BUDGET, transferred


class Inline(HTMLParser):
    """Finds what a strict policy forbids: scripts and styles that stand in the page itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        if tag == "style" or "style" in names or any(name.startswith("on") for name in names):
            self.found.append(self.get_starttag_text() or tag)
        if tag == "script" and "src" not in names:
            self.found.append(tag)


@pytest.mark.parametrize("path", ["/", "conversation", "/nowhere", "/c/00000000-0000-7000-8000-000000000000"])
def test_pages_have_nothing_inline_and_a_strict_policy(page: Page, watch: Watch, path: str) -> None:
    watch.expect("404")
    address = start_conversation(page) if path == "conversation" else path
    answer = page.goto(address)
    assert answer
    inline = Inline()
    inline.feed(answer.text())
    assert inline.found == []
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_an_inline_script_would_not_run(page: Page, watch: Watch) -> None:
    """The policies are not only said but kept: scripts in the page, and text that becomes a script."""
    watch.expect("Content Security Policy", "violates", "TrustedScript")
    open_app(page)
    with page.expect_console_message():
        page.evaluate(
            """const link = document.createElement('a');
            link.href = 'javascript:document.title = "taken over"';
            document.body.append(link);
            link.click();"""
        )
    with pytest.raises(Error, match="requires 'TrustedScript'"):
        page.evaluate("document.createElement('script').textContent = 'document.title = \"taken over\"'")
    assert page.title() == "New conversation · riverrun"
    assert watch.complaints


def test_static_files_are_kept_for_good_and_change_their_address(page: Page) -> None:
    open_app(page)
    addresses = page.locator("script[src], link[rel=stylesheet]").evaluate_all("all => all.map(e => e.src || e.href)")
    for address in addresses:
        assert re.search(r"\?v=[0-9a-f]{12}$", address)
        assert "immutable" in page.request.get(address).headers["cache-control"]
