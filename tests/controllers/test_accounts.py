"""Signing in and out, invitations, roles and sharing, as browsers and programs meet them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from http.cookies import SimpleCookie
from pathlib import Path
from secrets import token_hex

import httpx
import pytest
import pytest_asyncio
from httpx_sse import aconnect_sse
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from riverrun.accounts.accounts import Accounts
from riverrun.controllers.origin import SESSION_COOKIE
from riverrun.persistence.database import configure
from tests.controllers.accounts_kit import (
    PASSWORD,
    Somebody,
    accept,
    code_of,
    invite,
    make_token,
    sign_in,
    somebody,
    visitor,
)
from tests.model_server import ModelServer
from tests.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_PASSWORD = "staple of the battery"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def house(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"RIVERRUN_AUTH": "accounts", "RIVERRUN_HEARTBEAT": "0.2", "RIVERRUN_TOOL_COMMANDS": "on"}
    settings["RIVERRUN_TRUSTED_PROXIES"] = "127.0.0.1"
    folder = tmp_path_factory.mktemp("house")
    with Server(folder, RIVERRUN_MODEL_URL=model.url, **settings).start() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(house: Server) -> AsyncIterator[Somebody]:
    """Who administers."""
    async with somebody(house, "ada") as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module")
async def bob(house: Server, ada: Somebody) -> AsyncIterator[Somebody]:
    """A member, new for each test."""
    async with somebody(house, f"bob-{token_hex(4)}", ada.browser) as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(house: Server) -> AsyncIterator[httpx.AsyncClient]:
    """From an address of its own, so that its failures count for nobody else."""
    async with visitor(house) as browser:
        yield at(browser)


def at(browser: httpx.AsyncClient, address: str = "") -> httpx.AsyncClient:
    """As a proxy on this machine tells it."""
    browser.headers["X-Forwarded-For"] = address or f"2001:db8::{token_hex(2)}:{token_hex(2)}"
    return browser


def cookie(answer: httpx.Response) -> SimpleCookie:
    return SimpleCookie(answer.headers["set-cookie"])


async def is_in(browser: httpx.AsyncClient) -> bool:
    return (await browser.get("/account")).status_code == 200


async def person_id(admin: Somebody, name: str) -> str:
    page = (await admin.browser.get("/people")).text
    found = re.search(rf'id="person-([0-9a-f-]+)">\s*<p class="card__title">{re.escape(name)}[ <]', page)
    assert found, page
    return found[1]


# The set-up


async def test_the_first_page_leads_to_the_set_up_which_needs_the_code_and_happens_once(
    model: ModelServer, tmp_path: Path
) -> None:
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url, RIVERRUN_AUTH="accounts").start() as server:
        code = await asyncio.to_thread(code_of, server)
        async with visitor(server) as browser, visitor(server) as other:
            asked = await browser.get("/projects")
            assert asked.headers["location"] == "/sign-in?next=%2Fprojects"
            assert (await browser.get(asked.headers["location"])).headers["location"] == "/set-up"
            form = {"name": "ada", "password": PASSWORD}
            wrong = await browser.post("/set-up", data={**form, "code": "guessed"})
            assert (wrong.status_code, 'value="ada"' in wrong.text, PASSWORD in wrong.text) == (400, True, False)
            assert "set-cookie" not in wrong.headers
            answers = await asyncio.gather(
                *(
                    who.post("/set-up", data={**form, "code": code, "name": name})
                    for who, name in ((browser, "ada"), (other, "eve"))
                )
            )
            assert sorted(answer.status_code for answer in answers) == [303, 400]
            assert sorted([await is_in(browser), await is_in(other)]) == [False, True]
            assert (await browser.get("/set-up")).headers["location"] == "/sign-in"
            late = await other.post("/set-up", data={**form, "code": code, "name": "late"})
            assert (late.status_code, "set up already" in late.text) == (400, True)


async def test_what_there_was_is_the_first_accounts_and_comes_back_without_accounts(
    model: ModelServer, tmp_path: Path
) -> None:
    server = Server(tmp_path, RIVERRUN_MODEL_URL=model.url)
    with server.start():
        async with visitor(server) as alone:
            for path in ("/account", "/people", "/sign-in", "/set-up"):
                assert (await alone.get(path)).status_code == 404, path
            before = (await alone.post("/api/conversations", json={"title": "Of before"})).json()["id"]
            token = await make_token(alone, "of before")
    with server.start(RIVERRUN_AUTH="accounts"):
        async with somebody(server, "ada") as first, somebody(server, "bob", first.browser) as member:
            assert (await first.browser.get(f"/c/{before}")).status_code == 200
            assert (await member.browser.get(f"/c/{before}")).status_code == 404
            old = {"Authorization": f"Bearer {token}"}
            assert (await first.program.get(f"/api/conversations/{before}", headers=old)).status_code == 200
            hers = (await first.program.post("/api/conversations", json={"title": "Hers"})).json()["id"]
            his = (await member.program.post("/api/conversations", json={"title": "His"})).json()
            cookies = dict(first.browser.cookies)
    with server.start(RIVERRUN_AUTH="local"):
        async with visitor(server) as alone:
            for conversation in (before, hers, his["id"]):
                assert (await alone.get(f"/c/{conversation}")).status_code == 200
            refused = await alone.post(f"/p/{his['project_id']}/deletions")
            assert refused.status_code == 400, "it is where Bob begins when he comes back"
    with server.start(RIVERRUN_AUTH="accounts"):
        async with visitor(server) as browser:
            browser.cookies.update(cookies)
            assert await is_in(browser)
            assert (await browser.get(f"/c/{before}")).status_code == 200
            assert (await browser.get(f"/c/{his['id']}")).status_code == 404


# Signing in


async def test_a_wrong_name_and_a_wrong_password_are_answered_alike(ada: Somebody, stranger: httpx.AsyncClient) -> None:
    known = await sign_in(stranger, "ada", "not the password")
    unknown = await sign_in(stranger, "ida", PASSWORD)
    texts = [re.sub(r'name="server-time" content="[^"]+"|"[ai]da"', "", answer.text) for answer in (known, unknown)]
    assert (known.status_code, texts[0]) == (400, texts[1])
    assert unknown.status_code == 400
    unlike = {"date", "content-length", "ratelimit-remaining", "ratelimit-reset"}
    headers = [
        {name: value for name, value in answer.headers.items() if name not in unlike} for answer in (known, unknown)
    ]
    assert headers[0] == headers[1]
    assert "not the password" not in known.text
    assert "set-cookie" not in known.headers


async def test_failures_are_limited_by_address_and_a_proxy_tells_it(ada: Somebody, stranger: httpx.AsyncClient) -> None:
    for _ in range(10):
        assert (await sign_in(stranger, "ada", "not the password")).status_code == 400
    limited = await sign_in(stranger, "ada")
    assert limited.status_code == 429
    assert 0 < int(limited.headers["retry-after"]) <= 900
    assert "Try again in 15 minutes" in limited.text
    assert (await sign_in(at(stranger), "ada")).status_code == 303


async def test_the_cookie_is_for_this_site_and_its_pages_alone(ada: Somebody, stranger: httpx.AsyncClient) -> None:
    plain = cookie(await sign_in(stranger, "ada"))[SESSION_COOKIE]
    assert (plain["httponly"], plain["samesite"], plain["path"], plain["domain"]) == (True, "lax", "/", "")
    assert int(plain["max-age"]) == 30 * 86_400
    assert plain["secure"] == ""
    stranger.headers["X-Forwarded-Proto"] = "https"
    assert cookie(await sign_in(stranger, "ada"))[SESSION_COOKIE]["secure"] is True


async def test_every_sign_in_has_a_secret_of_its_own_and_ends_the_one_before(
    ada: Somebody, house: Server, stranger: httpx.AsyncClient
) -> None:
    stranger.cookies.set(SESSION_COOKIE, "chosen-by-somebody-else", domain="127.0.0.1")
    first = cookie(await sign_in(stranger, "ada"))[SESSION_COOKIE].value
    assert first != "chosen-by-somebody-else"
    stranger.cookies.clear()
    stranger.cookies.set(SESSION_COOKIE, first)
    assert await is_in(stranger)
    second = cookie(await sign_in(stranger, "ada"))[SESSION_COOKIE].value
    assert second != first
    async with visitor(house) as thief:
        for value, status in ((first, 303), ("chosen-by-somebody-else", 303), ("", 303), (second, 200)):
            thief.cookies.clear()
            thief.cookies.set(SESSION_COOKIE, value)
            assert (await thief.get("/account")).status_code == status


async def test_whoever_has_signed_in_goes_on_to_the_page_that_was_asked_for(
    ada: Somebody, stranger: httpx.AsyncClient
) -> None:
    asked = await stranger.get("/projects?x=1&y=%C3%A4")
    form = await stranger.get(asked.headers["location"])
    assert 'name="next" value="/projects?x=1&amp;y=%C3%A4"' in form.text
    there = await sign_in(stranger, "ada", next="/projects?x=1&y=%C3%A4")
    assert there.headers["location"] == "/projects?x=1&y=%C3%A4"
    again = await stranger.get("/sign-in", params={"next": "/agents"})
    assert (again.status_code, again.headers["location"]) == (303, "/agents")


OUTSIDE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "https:evil.example",
    "javascript:alert(1)",
    "evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\x00/evil.example",
    "/x\r\nSet-Cookie: a=b",
    "",
]


async def test_the_way_on_does_not_leave_the_site(ada: Somebody, bob: Somebody) -> None:
    for path in OUTSIDE:
        answer = await ada.browser.get("/sign-in", params={"next": path})
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), path
    answer = await sign_in(at(bob.browser), bob.name, next="//evil.example")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("path", ["/%09/evil.example", "/%5Cevil.example", "/.//evil.example", "/grün", "/c/1?a=//b"])
async def test_the_way_on_stays_where_it_is_ours(ada: Somebody, path: str) -> None:
    answer = await ada.browser.get("/sign-in", params={"next": path})
    assert answer.status_code == 303
    assert httpx.URL("https://here.example").join(answer.headers["location"]).host == "here.example"


@pytest.mark.parametrize(
    "path", ["/sign-in", "/sign-out", "/set-up", "/account/password", "/people/invitations", "/invitations/x"]
)
async def test_another_site_changes_nothing(ada: Somebody, house: Server, path: str) -> None:
    form = {"name": "ada", "password": PASSWORD, "role": "admin", "old": PASSWORD}
    for headers in (
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "same-site"},
    ):
        async with httpx.AsyncClient(base_url=house.url, cookies=ada.browser.cookies) as victim:
            answer = await victim.post(path, data=form, headers=headers)
            assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)
    assert await is_in(ada.browser)


# While one is signed out


async def test_pages_fragments_and_programs_are_told_each_in_their_way(
    house: Server, ada: Somebody, stranger: httpx.AsyncClient
) -> None:
    page = await stranger.get("/c/00000000-0000-7000-8000-00000000dead?live=1")
    assert page.headers["location"] == "/sign-in?next=%2Fc%2F00000000-0000-7000-8000-00000000dead%3Flive%3D1"
    scripted = {"HX-Request": "true", "HX-Current-URL": f"{house.url}/p/1/memories"}
    fragment = await stranger.post("/messages", data={"content": "x"}, headers=scripted)
    assert (fragment.status_code, fragment.headers["hx-redirect"]) == (401, "/sign-in?next=%2Fp%2F1%2Fmemories")
    program = await stranger.get("/api/conversations")
    assert (program.status_code, program.json()["code"]) == (401, "unauthorized")
    for answer in (page, fragment, program):
        assert answer.headers["cache-control"] == "no-store"


async def test_what_was_being_written_is_not_lost(stranger: httpx.AsyncClient, house: Server, ada: Somebody) -> None:
    headers = {"Referer": f"{house.url}/c/1?before=2"}
    said = {"content": "A long <message>\nin two lines", "conversation": "1"}
    answer = await stranger.post("/messages", data=said, headers=headers)
    assert answer.status_code == 401
    assert "A long &lt;message&gt;\nin two lines</textarea>" in answer.text
    assert 'href="/sign-in?next=%2Fc%2F1%3Fbefore%3D2"' in answer.text
    assert answer.headers["cache-control"] == "no-store"
    secret = await stranger.post("/account/password", data={"old": PASSWORD, "password": OTHER_PASSWORD})
    assert secret.status_code == 401
    assert PASSWORD not in secret.text
    assert OTHER_PASSWORD not in secret.text


async def test_another_site_cannot_put_words_onto_that_page(house: Server, ada: Somebody) -> None:
    async with httpx.AsyncClient(base_url=house.url) as other:
        headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        answer = await other.post("/messages", data={"content": "Call 555"}, headers=headers)
        assert answer.status_code in (401, 403)
        assert "Call 555" not in answer.text


async def test_what_is_sent_in_another_form_is_turned_away_too(stranger: httpx.AsyncClient, ada: Somebody) -> None:
    for options in (
        {"content": b"\xff\xfe%%%", "headers": FORM},
        {"json": {"content": "x"}},
        {"content": b"content=%ff"},
    ):
        assert (await stranger.post("/messages", **options)).status_code == 401


async def test_nothing_of_a_page_is_kept_by_the_browser(ada: Somebody, stranger: httpx.AsyncClient) -> None:
    """So that Back shows nothing of it to whoever comes next."""
    for path in ("/", "/projects", "/agents", "/tokens", "/account", "/people", "/people/audit"):
        assert (await ada.browser.get(path)).headers["cache-control"] == "no-store", path
    assert (await stranger.get("/sign-in")).headers["cache-control"] == "no-store"


async def test_signing_out_ends_it_on_the_server_too(bob: Somebody) -> None:
    secret = bob.browser.cookies[SESSION_COOKIE]
    answer = await bob.browser.post("/sign-out")
    assert answer.headers["location"] == "/sign-in"
    assert SESSION_COOKIE not in bob.browser.cookies
    bob.browser.cookies.set(SESSION_COOKIE, secret)
    assert not await is_in(bob.browser)
    assert (await bob.browser.post("/sign-out")).headers["location"] == "/sign-in"


# One's own account


async def test_browsers_are_shown_and_ended(bob: Somebody, house: Server) -> None:
    async with visitor(house) as phone, visitor(house) as library:
        phone.headers["User-Agent"] = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1"
        for browser in (phone, library):
            await sign_in(at(browser), bob.name)
        page = (await bob.browser.get("/account")).text
        assert "Safari on an iPhone" in page
        assert page.count("Sign out there") == 4  # two buttons, each with its label
        link = re.search(r'/account/sign-ins/([0-9a-f-]+)/endings"><button[^>]*iPhone', page)
        assert link
        assert (await bob.browser.post(f"/account/sign-ins/{link[1]}/endings")).status_code == 303
        assert [await is_in(browser) for browser in (phone, library, bob.browser)] == [False, True, True]
        await bob.browser.post("/account/sign-ins/endings")
        assert [await is_in(browser) for browser in (library, bob.browser)] == [False, True]


async def test_nobody_ends_anothers_browser(ada: Somebody, bob: Somebody, stranger: httpx.AsyncClient) -> None:
    assert (await sign_in(stranger, "ada")).status_code == 303
    await bob.browser.post("/account/sign-ins/endings")
    others = re.findall(r"/account/sign-ins/([0-9a-f-]+)/", (await ada.browser.get("/account")).text)
    assert others
    for sign_in_id in others:
        assert (await bob.browser.post(f"/account/sign-ins/{sign_in_id}/endings")).status_code == 404
    left = re.findall(r"/account/sign-ins/([0-9a-f-]+)/", (await ada.browser.get("/account")).text)
    assert left == others


async def test_the_password_is_changed_with_the_old_one(bob: Somebody, house: Server) -> None:
    at(bob.browser)
    async with visitor(house) as other:
        await sign_in(at(other), bob.name)
        for old, new, status in (
            ("mistaken for it", OTHER_PASSWORD, 400),
            (PASSWORD, "short", 400),
            (PASSWORD, bob.name, 400),
        ):
            answer = await bob.browser.post("/account/password", data={"old": old, "password": new})
            assert answer.status_code == status
            assert old not in answer.text
        assert await is_in(other)
        answer = await bob.browser.post("/account/password", data={"old": PASSWORD, "password": OTHER_PASSWORD})
        assert answer.headers["location"] == "/account?changed=true"
        assert "All other browsers are signed out" in (await bob.browser.get("/account?changed=true")).text
        assert not await is_in(other)
        assert (await sign_in(other, bob.name)).status_code == 400
        assert (await sign_in(other, bob.name, OTHER_PASSWORD)).status_code == 303


# Who administers


async def test_an_invitation_is_good_once_and_for_one_of_two(ada: Somebody, house: Server) -> None:
    link = await invite(ada.browser)
    assert link not in (await ada.browser.get("/people")).text
    names = [f"first-{token_hex(3)}", f"second-{token_hex(3)}"]
    async with visitor(house) as one, visitor(house) as two:
        page = await one.get(link)
        assert (page.status_code, page.headers["cache-control"], page.headers["referrer-policy"]) == (
            200,
            "no-store",
            "same-origin",
        )
        taken = await one.post(link, data={"name": "ADA", "password": PASSWORD})
        assert (taken.status_code, "somebody of this name" in taken.text, PASSWORD in taken.text) == (400, True, False)
        answers = await asyncio.gather(
            *(
                who.post(link, data={"name": name, "password": PASSWORD})
                for who, name in zip((one, two), names, strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [303, 404]
        spent = await two.get(link)
        assert (spent.status_code, "not good any more" in spent.text) == (404, True)


async def test_an_administrators_link_gives_a_new_password(
    ada: Somebody, bob: Somebody, stranger: httpx.AsyncClient
) -> None:
    answer = await ada.browser.post(f"/people/{await person_id(ada, bob.name)}/passwords")
    link = re.search(r"/invitations/[\w-]+", answer.text)
    assert (answer.status_code, bool(link)) == (201, True)
    assert link
    assert bob.name in (await stranger.get(link[0])).text
    await accept(stranger, link[0], "a name of no matter", OTHER_PASSWORD)
    assert not await is_in(bob.browser)
    assert bob.name in (await stranger.get("/account")).text


async def test_links_are_listed_and_taken_back_until_they_are_used(
    ada: Somebody, bob: Somebody, stranger: httpx.AsyncClient
) -> None:
    def withdrawals(page: str) -> dict[str, str]:
        """By what the links are for."""
        cards = re.findall(r'card__title">([^<]+)</p>.*?action="([^"]+/withdrawals)"', page, re.DOTALL)
        return dict(cards)

    invitation = await invite(ada.browser, "admin")
    page = (await ada.browser.post(f"/people/{await person_id(ada, bob.name)}/passwords")).text
    password = re.search(r"/invitations/[\w-]+", page)
    assert password
    listed = withdrawals(page[page.index("Links that nobody has used yet") :])
    for about, link in (
        ("Invitation for a new administrator", invitation),
        (f"New password for {bob.name}", password[0]),
    ):
        assert (await stranger.get(link)).status_code == 200
        assert link.rpartition("/")[2] not in (await ada.browser.get("/people")).text
        assert (await ada.browser.post(listed[about])).status_code == 303
        assert (await stranger.get(link)).status_code == 404
        assert (await stranger.post(link, data={"name": "late", "password": PASSWORD})).status_code == 404
        assert (await ada.browser.post(listed[about])).status_code == 404
        assert about not in (await ada.browser.get("/people")).text
    assert await is_in(bob.browser)
    audit = " ".join(re.sub(r"<[^>]+>", "", (await ada.browser.get("/people/audit")).text).split())
    assert "ada took back an invitation for a new admin" in audit
    assert f"ada took back a link for a new password of {bob.name}" in audit


async def test_a_role_is_given_and_taken(ada: Somebody, bob: Somebody) -> None:
    role = f"/people/{await person_id(ada, bob.name)}/role"
    assert (await bob.browser.get("/people")).status_code == 404
    await ada.browser.post(role, data={"role": "admin"})
    assert (await bob.browser.get("/people")).status_code == 200
    assert (await ada.browser.post(role, data={"role": "owner"})).status_code == 400
    await ada.browser.post(role, data={"role": "member"})
    assert (await bob.browser.get("/people")).status_code == 404


async def test_the_last_who_administers_stays(ada: Somebody) -> None:
    mine = f"/people/{await person_id(ada, 'ada')}"
    for path, data in ((f"{mine}/role", {"role": "member"}), (f"{mine}/closings", {})):
        answer = await ada.browser.post(path, data=data)
        assert (answer.status_code, "Somebody has to be left" in answer.text) == (400, True)
    assert (await ada.browser.get("/people")).status_code == 200


@asynccontextmanager
async def at_work(
    person: Somebody, model: ModelServer, project_id: str | None = None
) -> AsyncIterator[tuple[str, str]]:
    """The conversation and the run of a reply that is being written."""
    gate = token_hex(4)
    model.script([{"text": "So far."}, {"gate": gate}, {"text": " The secret end."}], match=f"wait {gate}", times=1)
    body = {"project_id": project_id} if project_id else {}
    conversation = (await person.program.post("/api/conversations", json=body)).json()["id"]
    started = await person.program.post(f"/api/conversations/{conversation}/runs", json={"content": f"wait {gate}"})
    try:
        yield conversation, started.json()["run_id"]
    finally:
        model.open_gate(gate)


async def close_code(socket: ClientConnection) -> int | None:
    """After all that still comes."""
    with suppress(ConnectionClosedError):
        async for _ in socket:
            pass
    return socket.close_code


async def test_who_is_closed_out_is_out_at_once(
    house: Server, ada: Somebody, bob: Somebody, model: ModelServer
) -> None:
    """Browser, program, open socket and streams that are being followed; the run itself goes on."""
    headers = {"Authorization": bob.program.headers["authorization"]}
    async with (
        at_work(bob, model) as (_, run),
        connect(f"ws://127.0.0.1:{house.port}/api/ws", additional_headers=headers) as idle,
        connect(f"ws://127.0.0.1:{house.port}/api/ws", additional_headers=headers) as following,
        aconnect_sse(bob.browser, "GET", f"/runs/{run}/stream") as page,
        aconnect_sse(bob.program, "GET", f"/api/runs/{run}/events") as events,
    ):
        await following.send(json.dumps({"type": "follow", "id": "1", "run_id": run}))
        shown, told = page.aiter_sse(), events.aiter_sse()
        assert (await anext(shown)).event == "open"
        assert (await anext(told)).event == "start"
        closed = await ada.browser.post(f"/people/{await person_id(ada, bob.name)}/closings")
        assert closed.status_code == 303
        assert not await is_in(bob.browser)
        assert (await bob.program.get("/api/projects")).status_code == 401
        async with asyncio.timeout(20):
            names = [message.event async for message in shown]
            assert "done" not in names, "the page would take the reply for finished"
            assert "complete" not in [message.event async for message in told]
            await idle.send(json.dumps({"type": "follow", "id": "1", "run_id": run}))
            for socket in (idle, following):
                assert await close_code(socket) == 4401
    async with visitor(house) as browser:
        assert (await sign_in(at(browser), bob.name)).status_code == 400
        await ada.browser.post(f"/people/{await person_id(ada, bob.name)}/openings")
        assert (await bob.program.get("/api/projects")).status_code == 200
        assert not await is_in(bob.browser)
        assert (await sign_in(at(browser), bob.name)).status_code == 303


@pytest.mark.parametrize("protocol", ["OpenAI's", "AG-UI"])
async def test_who_is_closed_out_hears_no_more_of_a_reply_in_another_protocol(
    ada: Somebody, bob: Somebody, model: ModelServer, protocol: str
) -> None:
    gate = token_hex(4)
    model.script([{"text": "So far."}, {"gate": gate}, {"text": " The secret end."}], match=f"wait {gate}", times=1)
    said = [{"id": "1", "role": "user", "content": f"wait {gate}"}]
    path, body = "/v1/chat/completions", {"model": "assistant", "stream": True, "messages": said}
    if protocol == "AG-UI":
        path, body = "/agui/assistant", {"threadId": gate, "runId": gate, "messages": said, "state": {}}
        body |= {"tools": [], "context": [], "forwardedProps": {}}
    told = ""
    async with asyncio.timeout(20), bob.program.stream("POST", path, json=body) as stream:
        async for part in stream.aiter_text():
            if "So far." in part:
                await ada.browser.post(f"/people/{await person_id(ada, bob.name)}/closings")
            told += part
    model.open_gate(gate)
    assert "So far." in told
    assert '"unauthorized"' in told
    assert "[DONE]" not in told
    assert "RUN_FINISHED" not in told


# Sharing


@pytest_asyncio.fixture(loop_scope="module")
async def place(ada: Somebody) -> str:
    """A project of Ada's."""
    made = await ada.browser.post("/projects", data={"name": f"Harbour {token_hex(3)}"})
    return str(made.headers["location"])


async def share(ada: Somebody, place: str, bob: Somebody, **more: str) -> None:
    answer = await ada.browser.post(f"{place}/people", data={"name": bob.name, **more})
    assert answer.status_code == 303, answer.text


async def test_a_stream_ends_for_whoever_the_project_is_no_longer_shared_with(
    ada: Somebody, bob: Somebody, place: str, model: ModelServer
) -> None:
    await share(ada, place, bob)
    async with (
        at_work(ada, model, place.removeprefix("/p/")) as (conversation, run),
        aconnect_sse(bob.browser, "GET", f"/runs/{run}/stream") as page,
        bob.browser.stream("GET", f"/c/{conversation}?live=1") as plain,
    ):
        shown, grown = page.aiter_sse(), plain.aiter_text()
        assert (await anext(shown)).event == "open"
        await anext(grown)
        membership = re.search(rf"{place}/people/([0-9a-f-]+)/endings", (await ada.browser.get(f"{place}/people")).text)
        assert membership
        await ada.browser.post(f"{place}/people/{membership[1]}/endings")
        async with asyncio.timeout(20):
            rest = [message async for message in shown]
            text = "".join([part async for part in grown])
        assert "done" not in {message.event for message in rest}
        assert "The secret end" not in text
        assert "There is no such run." in text


async def test_a_reader_is_told_that_it_is_for_reading(ada: Somebody, bob: Somebody, place: str) -> None:
    await share(ada, place, bob)
    body = {"title": "Ada's", "project_id": place.removeprefix("/p/")}
    conversation = (await ada.program.post("/api/conversations", json=body)).json()["id"]
    path = f"/api/conversations/{conversation}"
    for answer in (
        await bob.program.patch(path, json={"title": "Mine"}),
        await bob.program.delete(path),
        await bob.program.post(f"{path}/runs", json={"content": "x"}),
        await bob.browser.post(f"/c/{conversation}/title", data={"title": "Mine"}),
        await bob.browser.post(f"/c/{conversation}/deletions"),
        await bob.browser.post("/messages", data={"content": "x", "conversation": conversation}),
        await bob.browser.post(f"{place}/memories", data={"content": "x"}),
    ):
        assert (answer.status_code, "shared with you for reading only" in answer.text) == (403, True), (
            answer.request.url
        )
    await ada.browser.post(f"/c/{conversation}/deletions")
    assert (await bob.browser.post(f"/c/{conversation}/restorations")).status_code == 403
    await ada.browser.post(f"/c/{conversation}/restorations")
    assert (await bob.program.get(path)).json()["title"] == "Ada's"


async def test_pages_know_whether_they_are_only_read(ada: Somebody, bob: Somebody, place: str) -> None:
    pages = [place + part for part in ("", "/files", "/documents", "/memories", "/tools", "/people")]
    pages.append(f"/?project={place.removeprefix('/p/')}")
    await share(ada, place, bob)
    for path in pages:
        assert "to-read" not in (await ada.browser.get(path)).text, path
        assert "to-read" in (await bob.browser.get(path)).text, path
    await share(ada, place, bob, may_write="on")
    for path in pages:
        assert "to-read" not in (await bob.browser.get(path)).text, path


async def test_a_project_tells_whose_it_is(ada: Somebody, bob: Somebody, place: str) -> None:
    await share(ada, place, bob)
    assert "Of ada, shared with you" in (await bob.browser.get("/projects")).text
    assert "<strong>ada</strong> shares this project with you" in (await bob.browser.get(f"{place}/people")).text
    assert "shared with you" not in (await ada.browser.get("/projects")).text


async def test_who_works_in_a_project_cannot_delete_it(ada: Somebody, bob: Somebody, place: str) -> None:
    await share(ada, place, bob, may_write="on")
    assert "Delete this project" not in (await bob.browser.get(place)).text
    answer = await bob.browser.post(f"{place}/deletions")
    assert (answer.status_code, "Only whose project it is" in answer.text) == (403, True)
    assert "Delete this project" in (await ada.browser.get(place)).text
    assert (await ada.browser.post(f"{place}/deletions")).status_code == 303


@pytest.mark.parametrize("name", ["nobody-here", "ada", "", "two words"])
async def test_who_cannot_be_shared_with_is_told_at_the_field(ada: Somebody, place: str, name: str) -> None:
    answer = await ada.browser.post(f"{place}/people", data={"name": name})
    assert answer.status_code in (400, 404)
    assert 'id="wrong-name"' in answer.text


async def test_only_administrators_may_name_a_command(ada: Somebody, bob: Somebody, place: str) -> None:
    """It runs on the server, with all that the server may do; also in a project of somebody who administers."""
    mine = (await bob.browser.post("/projects", data={"name": "Bob's"})).headers["location"]
    await share(ada, place, bob, may_write="on")
    for project in (mine, place):
        refused = await bob.browser.post(f"{project}/tools", data={"name": "shell", "address": "sh -c id"})
        assert (refused.status_code, "for administrators only" in refused.text) == (400, True)
        assert "a command line that is started" not in (await bob.browser.get(f"{project}/tools")).text
    assert "a command line that is started" in (await ada.browser.get(f"{place}/tools")).text
    taken = await ada.browser.post(f"{place}/tools", data={"name": "shell", "address": "true"})
    assert taken.status_code == 303


# The log


async def test_the_audit_log_tells_of_tokens_and_sharing(
    ada: Somebody, bob: Somebody, place: str, house: Server
) -> None:
    await share(ada, place, bob, may_write="on")
    token = await make_token(bob.browser, "Backup", "read")
    listed = (await bob.browser.get("/tokens")).text
    token_id = re.search(r'id="token-([0-9a-f-]+)">\s*<p class="card__title">Backup', listed)
    assert token_id
    async with httpx.AsyncClient(base_url=house.url, headers={"Authorization": f"Bearer {token}"}) as program:
        for _ in range(2):
            assert (await program.get("/api/projects")).status_code == 200
    for _ in range(100):  # it is noted while the request goes on
        if "used an API token" in (text := (await ada.browser.get("/people/audit")).text):
            break
        await asyncio.sleep(0.05)
    await bob.browser.post(f"/tokens/{token_id[1]}/revocations")
    text = " ".join(re.sub(r"<[^>]+>", "", (await ada.browser.get("/people/audit")).text).split())
    for sentence in (
        f": {bob.name} (write)",
        f"{bob.name} made an API token: Backup (read)",
        f"{bob.name} used an API token: Backup (read)",
        f"{bob.name} revoked the API token Backup",
        f"{bob.name} used an invitation and is now member",
    ):
        assert sentence in text
    assert text.count(f"{bob.name} used an API token: Backup") == 1


async def test_the_audit_log_has_pages(ada: Somebody) -> None:
    for number in range(101):
        await ada.browser.post("/people/invitations", data={"role": "member"})
        if number > 3 and "Earlier entries" in (await ada.browser.get("/people/audit")).text:
            break
    first = (await ada.browser.get("/people/audit")).text
    earlier = re.search(r'href="(/people/audit\?before=[0-9a-f-]+)"', first)
    assert earlier
    second = (await ada.browser.get(earlier[1])).text
    assert "set riverrun up" in second
    assert "set riverrun up" not in first


async def test_no_secret_is_in_any_log(
    ada: Somebody, bob: Somebody, house: Server, stranger: httpx.AsyncClient
) -> None:
    link = await invite(ada.browser)
    await sign_in(stranger, PASSWORD, PASSWORD)  # typed into the wrong field
    await sign_in(stranger, bob.name, "nearly the password")
    secrets = [
        PASSWORD,
        "nearly the password",
        link.rpartition("/")[2],
        bob.browser.cookies[SESSION_COOKIE],
        bob.program.headers["authorization"].removeprefix("Bearer "),
    ]
    audit = (await ada.browser.get("/people/audit")).text
    assert "Somebody unknown" in audit
    for secret in secrets:
        assert secret not in audit
        assert secret not in house.log.read_text()


async def test_the_command_line_manages_people_beside_the_server(house: Server, ada: Somebody) -> None:
    """As its commands do it: in the database, with what another process sees at once."""
    name = f"cli-{token_hex(4)}"
    database = configure(f"sqlite+aiosqlite:///{house.folder / 'data' / 'riverrun.db'}")
    accounts = Accounts(database.create_session_maker(), 30)
    await accounts.make(name, PASSWORD, "member", who="the command line")
    async with visitor(house) as browser:
        assert (await sign_in(at(browser), name)).status_code == 303
        assert await is_in(browser)
        account = await accounts.find(name)
        await accounts.give_password(account.id, OTHER_PASSWORD, "password_changed", "the command line")
        assert not await is_in(browser)
    await database.get_engine().dispose()
