"""A corpus of hostile texts, shown wherever riverrun shows anything: live, reloaded, replayed, without scripts."""

import json
import re
from base64 import b64decode
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from secrets import token_hex
from typing import Any
from uuid import UUID

import msgspec
import pytest
from playwright.sync_api import Page, expect

from e2e.conftest import OpenPage
from e2e.steps import composer, eventually, open_app, path_of, reply, see_the_end, send_message
from e2e.trap import Trap
from e2e.watch import Watch
from riverrun.workspace.paths import is_path
from tests.hostile import FOREIGN_ELEMENTS, HTML, HTMX, LONG, SHORT, fitting, run_of, without_halves
from tests.model_server import ModelServer
from tests.rendering.runs import BEGAN, MESSAGE, OTHER, RUN, stamped
from tests.server import Server

EVIL = '"><img src=x onerror=trap(0)><b a="'  # as a name, wherever one is enough
PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
POLICY = "default-src 'none'; script-src 'self'; img-src 'self'; style-src 'self'"


@pytest.fixture
def trap(page: Page, server: Server) -> Iterator[Trap]:
    trap = Trap(page.context, server.url)
    yield trap
    trap.check()


def together(texts: list[str]) -> str:
    return "\n\n".join(map(without_halves, texts))


# The trap itself


def test_the_trap_closes_where_nothing_is_escaped(page: Page, server: Server, watch: Watch) -> None:
    watch.expect("")
    trap = Trap(page.context, server.url)
    for html, fault in {
        "<script>trap(1)</script>": "a script ran: 1",
        "<img src=/none.png onerror=trap(2)>": "a script ran: 2",
        "<script>alert(3)</script>": "a dialog: 3",
        "<img src=https://evil.example/a.png>": "a request left: https://evil.example/a.png",
        "<link rel=stylesheet href=https://evil.example/a.css>": "a request left",
        "<iframe src=https://evil.example/></iframe>": "a request left",
        "<meta http-equiv=refresh content='0;url=https://evil.example/'>": "a request left",
        "<img src=/trap.png>": "a request that nobody made",
        "<script>open('/health')</script>": "a window opened",
        "<script>throw new Error('x')</script>": "a script failed",
        "<a href=javascript:trap(4)>x</a>": "in the page .*href",
        "<a href=https://example.org/>x</a>": "in the page .*href",
        "<p onclick=trap(5)>x</p>": "in the page .*onclick",
        "<template><img></template>": "in the page .*<img",
        "<b hx-swap-oob=true>x</b>": "in the page .*hx-swap-oob",
        "<p id=a></p><p id=a></p>": "in the page .*id a",
    }.items():
        trap.faults.clear()
        address = trap.scratch("/scratch", f"<!doctype html><link rel=icon href=/static/favicon.svg><p>{html}")
        page.goto(address, wait_until="commit")
        if fault.startswith("in the page"):
            trap.look(page)
        eventually(page, lambda fault=fault: any(re.search(fault, found) for found in trap.faults))  # type: ignore[misc]


def test_what_only_the_policy_stops_counts_too(page: Page, server: Server, watch: Watch) -> None:
    watch.expect("")
    trap = Trap(page.context, server.url)
    for html, directive in {
        "<script>trap(1)</script>": "script-src-elem",
        "<b onclick=trap(2)>x</b>": "script-src-attr",
        "<img src=https://evil.example/a.png>": "img-src",
        "<b style=color:red>x</b>": "style-src-attr",
    }.items():
        trap.faults.clear()
        address = trap.scratch("/scratch", f"<!doctype html><p>{html}", **{"Content-Security-Policy": POLICY})
        page.goto(address)
        eventually(page, lambda: bool(trap.faults))
        assert any(f"stopped by the policy alone: {directive}" in found for found in trap.faults), trap.faults


# Trusted Types, and what our one policy makes of HTML that nobody has escaped


def test_text_becomes_html_in_one_place_only(page: Page, watch: Watch) -> None:
    watch.expect("Trusted")
    open_app(page)
    for sink in (
        "document.body.innerHTML = '<b>x</b>'",
        "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
        "document.createElement('script').src = '/static/live.js'",
        "new DOMParser().parseFromString('<b>x</b>', 'text/html')",
        "trustedTypes.createPolicy('another', {createHTML: text => text})",
        "trustedTypes.createPolicy('riverrun', {createHTML: text => text})",
    ):
        refusal = page.evaluate(
            "sink => { try { sink() } catch (error) { return error.name } }".replace("sink()", sink)
        )
        assert refusal == "TypeError", sink


def test_what_escaping_has_missed_stays_text_all_the_same(page: Page, server: Server, watch: Watch) -> None:
    """As if the server had escaped nothing at all."""
    watch.expect("")
    trap = Trap(page.context, server.url)
    open_app(page)
    for raw in [*HTML, *FOREIGN_ELEMENTS]:
        page.evaluate(
            "text => htmx.swap({text, sourceElement: document.body, target: document.querySelector('#messages'),"
            " swap: 'innerHTML'})",
            f"<p>{without_halves(raw)}</p>",
        )
        found = page.locator("#messages").locator("script, style, link, meta, base, iframe, object, embed, svg, math")
        assert found.count() == 0, raw
    assert [fault for fault in trap.faults if "ran" in fault] == []


# Everywhere


def archive() -> dict[str, Any]:
    """A conversation as a file, which may hold whatever its writer wants: the hostile texts in every kind of place."""
    names = cycle(without_halves(name) for name in fitting(100))
    groups = [SHORT[start : start + 24] for start in range(0, len(SHORT), 24)]
    events = stamped(run_of((next(names), together(group)) for group in groups))
    at = BEGAN.isoformat()
    said: list[dict[str, Any]] = [
        {"id": str(OTHER), "parent_id": None, "role": "user", "content": together(SHORT), "created_at": at},
        {"id": str(MESSAGE), "parent_id": str(OTHER), "role": "assistant", "content": EVIL, "created_at": at},
    ]
    brought = [{"role": role, "content": together(LONG), "created_at": at} for role in ("user", "assistant")]
    for number, (message, before) in enumerate(zip(brought, (MESSAGE, UUID(int=10)), strict=True), 10):
        said.append({"id": str(UUID(int=number)), "parent_id": str(before), "agent_name": EVIL, **message})
    run = {"id": str(RUN), "user_message_id": str(OTHER), "message_id": str(MESSAGE), "team": EVIL, "model": EVIL}
    run |= {"status": "failed", "created_at": at, "events": json.loads(msgspec.json.encode(events))}
    leaf = said[-1]["id"]
    conversation = {"id": str(OTHER), "title": EVIL, "team": EVIL, "created_at": at, "leaf_id": leaf}
    return {"riverrun": 1, "conversation": conversation, "messages": said, "runs": [run]}


def test_nothing_of_a_conversation_comes_to_life(page: Page, open_page: OpenPage, server: Server, trap: Trap) -> None:
    made = page.request.post("/api/conversations/import", data=archive())
    assert made.status == 201, made.text()
    path = f"/c/{made.json()['id']}"
    page.goto(path)
    expect(page).to_have_title(f"{EVIL} · riverrun")
    expect(page.locator(".message")).to_have_count(4)
    expect(page.locator(".message--user .message__text").first).to_contain_text("<script>trap(1)</script>")
    expect(page.locator(".prose").last).to_contain_text("<script>trap(212)</script>")
    for element in page.locator("details").all()[:10]:
        element.evaluate("details => { details.open = true }")
    trap.look(page)

    replay = page.get_by_role("link", name="Replay").first.get_attribute("href")
    for at in (5, 60, 9999):
        page.goto(f"{replay}?at={at}")
        expect(page.locator("#moment")).to_be_visible()
        trap.look(page)
    page.goto(f"{replay}?at=1")
    page.get_by_label("Speed").select_option("0")
    page.get_by_role("button", name="Play").click()
    expect(page.locator(".run__facts")).to_be_visible(timeout=30_000)  # every event has come over the stream
    trap.look(page)

    for kind in ("md", "json"):
        answer = page.request.get(f"{path}/export.{kind}")
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        assert "sandbox" in answer.headers["content-security-policy"]


def test_nothing_that_a_model_says_comes_to_life_while_it_is_said(
    page: Page, server: Server, model: ModelServer, trap: Trap, open_page: OpenPage
) -> None:
    project = project_of(page, f"{EVIL} {token_hex(2)}")
    text = together(SHORT)
    file = next(islice((name for name in fitting(60) if is_path(name)), 3, None))
    page.request.post(f"{project}/file", form={"path": file, "content": text.replace("\0", "")})
    call = {"name": "read_file", "arguments": json.dumps({"path": file})}
    strange = {"name": EVIL, "arguments": json.dumps({EVIL: text, "content": text}), "id": "strange", "index": 1}
    model.script([{"reasoning": text, "per": 200}, {"tool_call": call}, {"tool_call": strange}], times=1)
    model.script([{"text": text, "per": 61}], times=1)
    page.goto(f"/?project={project.removeprefix('/p/')}")
    expect(composer(page)).to_be_visible()
    send_message(page, text[:4900])
    see_the_end(page)
    expect(reply(page).locator(".prose").last).to_contain_text("<script>trap(1)</script>")
    expect(reply(page).locator(".step--tool_call")).to_have_count(2)
    trap.look(page)
    path = path_of(page)
    page.reload()
    expect(reply(page).locator(".prose").last).to_contain_text("<script>trap(1)</script>")
    trap.look(page)

    plain = open_page(server.url, java_script_enabled=False)
    guard = Trap(plain.context, server.url)
    model.script([{"text": text, "per": 997}], times=1)
    plain.goto(path)
    plain.get_by_role("textbox", name="Message", exact=True).fill("again")
    plain.get_by_role("button", name="Send").click(no_wait_after=True)
    expect(reply(plain).locator(".run__facts")).to_be_visible()
    guard.check()


def project_of(page: Page, name: str) -> str:
    answer = page.request.post("/projects", form={"name": name}, max_redirects=0)
    assert answer.status == 303, answer.text()
    return answer.headers["location"]


def test_no_name_comes_to_life_on_any_page(page: Page, trap: Trap, watch: Watch) -> None:
    project = project_of(page, f"{EVIL} {token_hex(2)}")
    own = token_hex(2)
    names = [f"{without_halves(name)} {own}" for name in fitting(50)]
    page.request.post(project, form={"name": f"{EVIL} {own}", "instructions": together(SHORT), "team": "assistant"})
    for name in names[::20]:
        page.request.post("/agents", form={"name": name, "role": name, "instructions": together(SHORT), "model": name})
    page.goto("/agents")
    agents = [str(link.get_attribute("href")) for link in page.locator("a[href^='/agents/']").all()]
    agent = next(address for address in agents if re.search(r"/agents/[0-9a-f-]{36}$", address))
    members = {"members": agent.rpartition("/")[2]}
    for name in names[1::40]:
        page.request.post("/teams", form={"title": name, "description": name, **members})
    for text in (together(SHORT[start : start + 20]) for start in range(0, len(SHORT), 20)):
        page.request.post(f"{project}/memories", form={"content": text[:2000]})
    paths = [path for path in names if is_path(path)]
    assert len(paths) > 20
    for number, file in enumerate(paths[::6]):
        content = together(SHORT[number * 10 : number * 10 + 60]).replace("\0", "")
        assert (
            page.request.post(f"{project}/file", form={"path": file, "content": content}, max_redirects=0).status == 303
        )
    for kind, content in (
        ("md", together(SHORT)),
        ("html", together(HTML)),
        ("csv", together(HTMX)),
        ("svg", "<svg/>"),
    ):
        given = {"name": f"{EVIL}.{kind}", "mimeType": "text/plain", "buffer": content.encode()}
        page.request.post(f"{project}/documents", multipart={"file": given})  # type: ignore[dict-item]
    page.goto(f"{project}/documents")
    expect(page.get_by_text("passage").first).to_be_visible()
    document = page.locator(".card__title a").first.get_attribute("href")
    page.goto(f"{project}/files")
    files = [str(link.get_attribute("href")) for link in page.locator("td:first-child a").all()]
    assert len(files) >= 3
    visited = [project, "/projects", f"{project}/documents", str(document), *files[:4], f"{project}/files"]
    visited += [f"{project}/memories", f"{project}/tools", "/agents", agent, "/tokens", f"/?project={project[3:]}"]
    visited += [f"/?draft={'%3C/textarea%3E%3Cscript%3Etrap(1)'}&team=%22%3E%3Cscript%3Etrap(2)", f"{project}/imports"]
    trap.expected, missing = "404", [f"{project}/file?path=%3Cscript%3Etrap(1)", "/c/%3Cscript%3E", "/%22%3E%3Cimg%3E"]
    watch.expect("404")
    for address in [*visited, *missing]:
        page.goto(address)
        trap.look(page)


# Images


def test_an_image_is_loaded_when_its_reader_asks_for_it(
    page: Page, model: ModelServer, trap: Trap, watch: Watch
) -> None:
    model.script([{"text": "![A river](https://images.example/river.png?said=secret)", "per": 5}], times=1)
    open_app(page)
    send_message(page, "Show me")
    see_the_end(page)
    trap.check()
    link = reply(page).get_by_role("link", name="A river Image from images.example")
    page.context.unroute_all()
    page.context.route("https://images.example/**", lambda route: route.fulfill(body=PIXEL, content_type="image/png"))
    watch.expect("request to somebody else: https://images.example/river.png")
    with page.expect_popup() as opened, page.context.expect_event("request") as asked:
        link.click()
    opened.value.wait_for_load_state()
    assert asked.value.url == "https://images.example/river.png?said=secret"
    assert "referer" not in asked.value.all_headers()
    assert opened.value.evaluate("window.opener") is None
    trap.faults.clear()


def test_images_of_chosen_hosts_are_shown(
    open_page: OpenPage, model: ModelServer, tmp_path: Path, watch: Watch
) -> None:
    settings = {"RIVERRUN_IMAGE_HOSTS": "images.example", "RIVERRUN_MODEL": "evil\x1b]0;owned\x07\u202e"}
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url, **settings).start() as server:
        page = open_page(server.url)
        page.context.route(
            "https://images.example/**", lambda route: route.fulfill(body=PIXEL, content_type="image/png")
        )
        watch.expect("request to somebody else: https://images.example/river.png")
        text = "![A river](https://images.example/river.png) ![Another](https://evil.example/a.png)"
        model.script([{"text": text, "per": 5}], times=1)
        open_app(page)
        with page.context.expect_event("request", lambda request: "images.example" in request.url) as asked:
            send_message(page, "Show me")
        see_the_end(page)
        image = reply(page).get_by_role("img", name="A river")
        expect(image).to_be_visible()
        eventually(page, lambda: bool(image.evaluate("image => image.complete && image.naturalWidth === 1")))
        assert "referer" not in asked.value.all_headers()
        expect(reply(page).get_by_role("link", name="Another Image from evil.example")).to_be_visible()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", server.log.read_text()), (
            "nor does a name steer a terminal"
        )
