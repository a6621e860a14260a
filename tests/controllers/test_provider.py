"""Signing in at a real OpenID Connect provider, with everything between it and riverrun that can go wrong."""

import re
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from litestar.testing import AsyncTestClient

from riverrun.app import create_app
from riverrun.settings import Settings
from tests.controllers.accounts_kit import FROM_OUR_PAGE, PASSWORD, invite, set_up, sign_in, visitor
from tests.model_server import ModelServer
from tests.oidc_provider import CALLBACK, SECRET, OidcProvider, leave, sign_in_there, unknown
from tests.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    with OidcProvider.running() as running:
        yield running


@pytest.fixture(autouse=True)
def as_it_should_be(provider: OidcProvider) -> Iterator[None]:
    yield
    provider.goes_wrong()


@pytest.fixture(scope="module")
def riverrun(model: ModelServer, provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Where those who were invited come in."""
    server = Server(tmp_path_factory.mktemp("riverrun"), RIVERRUN_MODEL_URL=model.url)
    with server.start(**provider.settings(server)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(riverrun: Server) -> AsyncIterator[httpx.AsyncClient]:
    """The administrator, who has a password."""
    async with visitor(riverrun) as browser:
        await set_up(riverrun, browser, "ada")
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def browser(riverrun: Server, ada: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    async with visitor(riverrun) as browser:
        yield browser


async def come_back(browser: httpx.AsyncClient, name: str, **fields: str) -> httpx.Response:
    """The whole way: riverrun's button, the provider's pages, and back."""
    return await browser.get(await sign_in_there(await leave(browser, **fields), name))


async def invited(ada: httpx.AsyncClient, browser: httpx.AsyncClient, name: str, role: str = "member") -> None:
    link = await invite(ada, role)
    answer = await come_back(browser, name, invitation=link.removeprefix("/invitations/"))
    assert answer.status_code == 303, answer.text


def said(answer: httpx.Response) -> str:
    """What the page tells."""
    found = re.search(r'class="field__problem" role="alert">([^<]+)<', answer.text)
    assert found, answer.text
    return found[1]


async def is_in(browser: httpx.AsyncClient) -> bool:
    return (await browser.get("/account")).status_code == 200


def called(account: str) -> str:
    """The name on the page of somebody's own account, as it is escaped there."""
    name = re.search(r"You are <strong>([^<]+)</strong>", account)
    assert name, account
    return name[1]


async def test_who_was_invited_gets_an_account_and_finds_it_again(
    ada: httpx.AsyncClient, browser: httpx.AsyncClient, riverrun: Server
) -> None:
    link = await invite(ada)
    assert "Example ID" in (await browser.get(link)).text
    answer = await come_back(browser, "bob", invitation=link.removeprefix("/invitations/"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    first, gone = answer.headers.get_list("set-cookie")
    assert "HttpOnly" in first
    assert "SameSite=lax" in first
    assert gone.startswith('riverrun-provider=""; ')
    account = (await browser.get("/account")).text
    assert called(account) == "bob"
    assert "http://localhost:" in account
    assert 'type="password"' not in account
    project = await browser.post("/projects", data={"name": "Bob's"})
    assert (await browser.post("/sign-out")).status_code == 303
    assert not await is_in(browser)

    place = project.headers["location"]
    asked_for = await browser.get(place)
    assert asked_for.headers["location"].startswith("/sign-in?next=")
    page = (await browser.get(asked_for.headers["location"])).text
    assert f'name="next" value="{place}"' in page
    answer = await come_back(browser, "bob", next=place)
    assert (answer.status_code, answer.headers["location"]) == (303, place)
    assert answer.headers.get_list("set-cookie")[0] != first
    assert "Bob&#39;s" in (await browser.get(place)).text
    people, audit = (await ada.get("/people")).text, (await ada.get("/people/audit")).text
    assert people.count(">bob<") == 1
    assert "signs in at http://localhost:" in people
    assert audit.count("<strong>bob</strong> signed in ") == 2
    assert (await browser.get(link)).status_code == 404


async def test_the_invitation_says_what_one_may_do(ada: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    await invited(ada, browser, "deputy", "admin")
    assert (await browser.get("/people")).status_code == 200


async def test_nobody_comes_in_uninvited_and_never_by_a_name(
    browser: httpx.AsyncClient, ada: httpx.AsyncClient
) -> None:
    answer = await come_back(browser, "ada")
    assert answer.status_code == 403
    assert "Ask an administrator for an invitation." in said(answer)
    assert not await is_in(browser)
    await invited(ada, browser, "ada")
    assert called((await browser.get("/account")).text) == "ada-2"
    assert (await browser.get("/people")).status_code == 404


@pytest.mark.parametrize("in_token", [True, False])
async def test_a_name_is_text_and_fits(
    in_token: bool, ada: httpx.AsyncClient, browser: httpx.AsyncClient, provider: OidcProvider
) -> None:
    provider.goes_wrong(name="  <b>Eve</b>\u202e\x1b[2J " + "x" * 100, claimsInToken=in_token)
    await invited(ada, browser, f"eve-{in_token}")
    name = called((await browser.get("/account")).text)
    assert re.fullmatch(r"&lt;b&gt;eve&lt;/b&gt;\[2j-x{30,36}(-2)?", name)


async def test_another_site_cannot_begin_a_sign_in(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/sign-in/provider", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert "riverrun-provider" not in answer.headers.get("set-cookie", "")
    assert (await browser.get("/sign-in/provider")).status_code == 405


async def test_what_one_browser_began_no_other_ends(
    ada: httpx.AsyncClient, browser: httpx.AsyncClient, riverrun: Server
) -> None:
    """Otherwise somebody could be made to work in another's account without seeing it."""
    await invited(ada, browser, "carol")
    await browser.post("/sign-out")
    back = await sign_in_there(await leave(browser), "carol")
    entries = (await ada.get("/people/audit")).text.count("<tr>")
    async with visitor(riverrun) as victim:
        for _ in range(2):
            answer = await victim.get(back)
            assert answer.status_code == 400
            assert "was not begun in this browser" in said(answer)
        await leave(victim)
        assert (await victim.get(back)).status_code == 400
        assert not await is_in(victim)
    assert (await ada.get("/people/audit")).text.count("<tr>") == entries, "or strangers could fill it"
    assert (await browser.get(CALLBACK, params={"state": "x" * 64, "error": "access_denied"})).status_code == 400
    assert (await browser.get(back)).status_code == 303


async def test_a_way_back_is_good_for_one_time(ada: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    link = await invite(ada)
    address = await leave(browser, invitation=link.removeprefix("/invitations/"))
    cookie = browser.cookies["riverrun-provider"]
    back = await sign_in_there(address, "dave")
    assert (await browser.get(back)).status_code == 303
    await browser.post("/sign-out")
    for cookies in ({}, {"Cookie": f"riverrun-provider={cookie}"}):
        answer = await browser.get(back, headers=cookies)
        assert answer.status_code == 400
        assert "it is finished already" in said(answer), "whatever the provider says of the code"
    assert not await is_in(browser)


async def test_a_state_is_not_guessed(browser: httpx.AsyncClient) -> None:
    back = await sign_in_there(await leave(browser), "ada")
    for state in ("", "x" * 64, "é"):
        answer = await browser.get(CALLBACK, params={"state": state, "code": parse_qs(urlsplit(back).query)["code"][0]})
        assert answer.status_code == 400


async def test_a_code_that_was_begun_with_another_secret_is_worth_nothing(
    browser: httpx.AsyncClient, ada: httpx.AsyncClient, riverrun: Server
) -> None:
    """Who has got hold of somebody's code cannot use it in a sign-in of their own."""
    async with visitor(riverrun) as victim:
        await invited(ada, victim, "erin")
        stolen = parse_qs(urlsplit(await sign_in_there(await leave(victim), "erin")).query)["code"][0]
    back = await sign_in_there(await leave(browser), "mallory")
    answer = await browser.get(re.sub("code=[^&]+", f"code={stolen}", back))
    assert answer.status_code == 400
    assert "has expired, or it was used before" in said(answer)
    assert not await is_in(browser)


async def test_who_takes_too_long_begins_again(browser: httpx.AsyncClient, riverrun: Server) -> None:
    back = await sign_in_there(await leave(browser), "ada")
    change(riverrun, "UPDATE authentication_request SET expires_at = '2020-01-01 00:00:00.000000'")
    answer = await browser.get(back)
    assert answer.status_code == 400
    assert "took longer than ten minutes" in said(answer)


async def test_not_too_many_are_on_the_way_from_one_address(browser: httpx.AsyncClient, riverrun: Server) -> None:
    columns = "sa_orm_sentinel, created_at, updated_at, nonce, verifier, next, invitation, sets_up, address, expires_at"
    await leave(browser)
    change(
        riverrun,
        f"INSERT INTO authentication_request (id, state, {columns}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
        f"i + 1 FROM n WHERE i < 200) SELECT randomblob(16), hex(randomblob(32)), {columns} FROM n, "
        "(SELECT * FROM authentication_request LIMIT 1)",
    )
    answer = await browser.post("/sign-in/provider")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    change(riverrun, "DELETE FROM authentication_request")
    await leave(browser)


def change(server: Server, statement: str) -> None:
    with closing(sqlite3.connect(server.folder / "data" / "riverrun.db", timeout=10)) as database, database:
        database.execute(statement)


async def test_declining_there_is_told_here(browser: httpx.AsyncClient, ada: httpx.AsyncClient) -> None:
    back = await sign_in_there(await leave(browser, next="/projects"), "", declines=True)
    answer = await browser.get(f"{back}&error_description=%3Cb%3Eraw")
    assert answer.status_code == 403
    assert said(answer) == "You were not signed in: Example ID says that it was declined there."
    assert 'name="next" value="/projects"' in answer.text
    assert "raw" not in answer.text
    assert "was not let in at the provider" in (await ada.get("/people/audit")).text


@pytest.mark.parametrize(("error", "status"), [("temporarily_unavailable", 503), ("<b>raw", 502)])
async def test_what_the_provider_says_went_wrong_is_told_in_our_words(
    error: str, status: int, browser: httpx.AsyncClient
) -> None:
    state = parse_qs(urlsplit(await leave(browser)).query)["state"][0]
    answer = await browser.get(CALLBACK, params={"state": state, "error": error})
    assert answer.status_code == status
    assert "raw" not in answer.text


NOW = int(time.time())
FORGED: dict[str, dict[str, Any]] = {
    "of another sign-in": {"claims": {"nonce": "another"}},
    "of no sign-in": {"claims": {"nonce": None}},
    "for another client": {"claims": {"aud": "another", "azp": None}},
    "for another client, handed on by us": {"claims": {"aud": "another"}},
    "for others too, and handed on by them": {"claims": {"aud": ["us", "another"], "azp": "another"}},
    "for nobody": {"claims": {"aud": None}},
    "of another provider": {"claims": {"iss": "http://localhost:1"}},
    "of no provider": {"claims": {"iss": None}},
    "of nobody": {"claims": {"sub": None}},
    "of nobody that can be named": {"claims": {"sub": ""}},
    "of somebody with a name that is too long": {"claims": {"sub": "x" * 256}},
    "of a number": {"claims": {"sub": 7}},
    "from before": {"claims": {"exp": NOW - 600}},
    "that never ends": {"claims": {"exp": None}},
    "from later": {"claims": {"iat": NOW + 3600}},
    "without a signature": {"signature": "none"},
    "signed with what both know": {"signature": "shared", "secret": SECRET},
    "signed by another": {"signature": "another's"},
    "changed after it was signed": {"signature": "changed"},
    "for another access token": {"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
}


@pytest.mark.parametrize("which", FORGED)
async def test_a_forged_identity_is_not_believed(
    which: str, browser: httpx.AsyncClient, riverrun: Server, provider: OidcProvider, bobby: httpx.AsyncClient
) -> None:
    forged = {"signature": "right", **FORGED[which]}
    audience = forged.get("claims", {}).get("aud")
    if isinstance(audience, list):
        forged["claims"] = {**forged["claims"], "aud": [f"riverrun-{riverrun.port}", "another"]}
    if which == "for another client, handed on by us":
        forged["claims"] = {**forged["claims"], "azp": f"riverrun-{riverrun.port}"}
    back = await sign_in_there(await leave(browser), "bobby", there=bobby)
    provider.goes_wrong(**forged)
    answer = await browser.get(back)
    assert answer.status_code == 502
    assert "its answer is not as it has to be" in said(answer)
    assert not await is_in(browser)
    told = riverrun.log.read_text().splitlines()[-1]
    assert re.fullmatch(r"WARNING \S+: The sign-in provider's answer cannot be believed: \w+( \([\w,]+\))?\.", told)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bobby(riverrun: Server, ada: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Whom all would like to be: his browser, which the provider knows from the second time on."""
    async with visitor(riverrun) as browser, unknown() as there:
        await invited(ada, browser, "bobby")
        yield there


async def test_what_was_forged_is_believed_when_it_is_right(
    browser: httpx.AsyncClient, provider: OidcProvider, riverrun: Server, bobby: httpx.AsyncClient
) -> None:
    """Otherwise the tests above could be hollow."""
    us = f"riverrun-{riverrun.port}"
    for claims in ({}, {"aud": [us]}, {"aud": [us, "another"], "azp": us}):
        provider.goes_wrong(signature="right", claims=claims)
        assert (await come_back(browser, "bobby")).status_code == 303


async def test_an_answer_says_whom_it_is_from(browser: httpx.AsyncClient, bobby: httpx.AsyncClient) -> None:
    for other in ("&iss=http%3A%2F%2Flocalhost%3A1", ""):
        back = await sign_in_there(await leave(browser), "bobby", there=bobby)
        answer = await browser.get(re.sub("&iss=[^&]+", other, back))
        assert answer.status_code == 502
    assert not await is_in(browser)


async def test_the_provider_may_change_its_keys(
    browser: httpx.AsyncClient, provider: OidcProvider, bobby: httpx.AsyncClient
) -> None:
    assert (await come_back(browser, "bobby")).status_code == 303
    provider.goes_wrong(newKey=True)
    assert (await come_back(browser, "bobby")).status_code == 303


@pytest.mark.parametrize(("seconds", "status"), [(100, 303), (-100, 303), (600, 502)])
async def test_clocks_may_differ_a_little(
    seconds: int, status: int, browser: httpx.AsyncClient, provider: OidcProvider, bobby: httpx.AsyncClient
) -> None:
    address = await leave(browser)
    provider.goes_wrong(clock=seconds)
    assert (await browser.get(await sign_in_there(address, "bobby"))).status_code == status


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ({"/.well-known": {"status": 500}}, 503),
        ({"/.well-known": {"status": 404}}, 502),
        ({"/.well-known": {"body": "<b>raw"}}, 502),
        ({"/.well-known": {"body": "[]"}}, 502),
        ({"/.well-known": {"body": '{"issuer": "https://other.example.org"}'}}, 502),
        ({"/token": {"status": 500, "body": "raw"}}, 503),
        ({"/token": {"body": "raw"}}, 502),
        ({"/token": {"body": "{}"}}, 502),
        ({"/token": {"status": 400, "body": '{"error": "raw"}'}}, 502),
        ({"/jwks": {"body": '{"keys": []}'}}, 502),
        ({"/jwks": {"body": '{"keys": [7]}'}}, 502),
        ({"/jwks": {"status": 302}}, 502),
    ],
)
async def test_answers_that_make_no_sense_let_nobody_in(
    answers: dict[str, Any],
    status: int,
    browser: httpx.AsyncClient,
    provider: OidcProvider,
    riverrun: Server,
    bobby: httpx.AsyncClient,
) -> None:
    back = await sign_in_there(await leave(browser), "bobby", there=bobby)
    provider.goes_wrong(answers=answers)
    answer = await browser.get(back)
    assert answer.status_code == status
    assert "Example ID" in said(answer)
    assert not await is_in(browser)
    if "/.well-known" in answers:
        assert (await browser.post("/sign-in/provider")).status_code == status
    assert "raw" not in answer.text
    assert "raw" not in riverrun.log.read_text()


async def test_a_person_without_userinfo_still_has_a_name(
    ada: httpx.AsyncClient, browser: httpx.AsyncClient, provider: OidcProvider
) -> None:
    provider.goes_wrong(answers={"/me": {"status": 500}})
    await invited(ada, browser, "nameless")
    assert called((await browser.get("/account")).text) == "person"


async def test_a_wrong_client_secret_is_told_to_who_reads_the_log(
    browser: httpx.AsyncClient, provider: OidcProvider, riverrun: Server
) -> None:
    address = await leave(browser)
    client = {
        "client_id": f"riverrun-{riverrun.port}",
        "client_secret": "changed",
        "redirect_uris": [f"{riverrun.url}{CALLBACK}"],
        "id_token_signed_response_alg": "ES256",
    }
    provider.goes_wrong(clients=[client])
    assert (await browser.get(await sign_in_there(address, "ada"))).status_code == 502
    log = riverrun.log.read_text()
    assert "asked for a token and answered with invalid_client" in log
    assert SECRET not in log


async def test_a_closed_account_lets_nobody_in(ada: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    await invited(ada, browser, "frank")
    person = await id_of(ada, "frank")
    await ada.post(f"/people/{person}/closings")
    answer = await come_back(browser, "frank")
    assert answer.status_code == 403
    assert "This account is closed." in said(answer)
    await ada.post(f"/people/{person}/openings")
    assert (await come_back(browser, "frank")).status_code == 303


async def id_of(ada: httpx.AsyncClient, name: str) -> str:
    found = re.search(rf'id="person-([0-9a-f-]+)">\s*<p class="card__title">{name}\b', (await ada.get("/people")).text)
    assert found
    return found[1]


async def test_a_password_link_may_lead_to_the_provider_instead(
    ada: httpx.AsyncClient, browser: httpx.AsyncClient, riverrun: Server
) -> None:
    link = await invite(ada)
    await browser.post(link, data={"name": "grace", "password": PASSWORD})
    reset = await password_link(ada, "grace")
    assert "no longer with a password" in (await browser.get(reset)).text
    async with visitor(riverrun) as other:
        answer = await come_back(other, "grace-at-the-provider", invitation=reset.removeprefix("/invitations/"))
        assert answer.status_code == 303
        assert called((await other.get("/account")).text) == "grace"
        assert not await is_in(browser), "who was signed in is not any more"
        assert (await sign_in(browser, "grace")).status_code == 400
        assert (await come_back(browser, "grace-at-the-provider")).status_code == 303
        assert called((await browser.get("/account")).text) == "grace"


async def password_link(ada: httpx.AsyncClient, name: str) -> str:
    answer = await ada.post(f"/people/{await id_of(ada, name)}/passwords")
    found = re.search(r"/invitations/[\w-]+", answer.text)
    assert found
    return found[0]


async def test_one_person_there_is_one_person_here(
    ada: httpx.AsyncClient, browser: httpx.AsyncClient, riverrun: Server
) -> None:
    await invited(ada, browser, "heidi")
    secret = (await password_link(ada, "heidi")).removeprefix("/invitations/")
    async with visitor(riverrun) as other:
        await invited(ada, other, "ivan")
        answer = await come_back(other, "ivan", invitation=secret)
        assert answer.status_code == 400
        assert "another account" in said(answer)
    unused = await invite(ada, "admin")
    await come_back(browser, "heidi", invitation=unused.removeprefix("/invitations/"))
    assert (await browser.get("/people")).status_code == 404
    assert (await browser.get(unused)).status_code == 200, "it was not needed"


async def test_an_invitation_is_good_once(ada: httpx.AsyncClient, browser: httpx.AsyncClient, riverrun: Server) -> None:
    secret = (await invite(ada)).removeprefix("/invitations/")
    async with visitor(riverrun) as faster:
        slow = await sign_in_there(await leave(browser, invitation=secret), "judy")
        assert (await come_back(faster, "kim", invitation=secret)).status_code == 303
    answer = await browser.get(slow)
    assert answer.status_code == 404
    assert "This link is not good any more." in said(answer)
    assert (await browser.post("/sign-in/provider", data={"invitation": secret})).status_code == 404


@pytest.mark.parametrize("next", ["//evil.example.org", "https://evil.example.org", "/\\evil.example.org"])
async def test_one_comes_back_to_a_page_of_ours(
    next: str, browser: httpx.AsyncClient, bobby: httpx.AsyncClient
) -> None:
    assert (await come_back(browser, "bobby", next=next)).headers["location"] == "/"


async def test_without_a_provider_there_is_no_way_to_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings(data=tmp_path_factory.mktemp("data"), model="demo", auth="accounts")
    async with AsyncTestClient(create_app(settings), base_url="http://127.0.0.1") as browser:
        assert (await browser.post("/sign-in/provider", headers=FROM_OUR_PAGE)).status_code == 404
        assert (await browser.get(CALLBACK)).status_code == 404
        assert "/sign-in/provider" not in (await browser.get("/set-up")).text


async def test_a_riverrun_of_which_everybody_is_a_part(
    model: ModelServer, provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A public client; its first account is made at the provider, which was away when riverrun started."""
    server = Server(tmp_path_factory.mktemp("open"), RIVERRUN_MODEL_URL=model.url, RIVERRUN_OIDC_NEW="anyone")
    settings = provider.settings(server, public=True)
    provider.stop()
    with server.start(**settings):
        async with visitor(server) as first, visitor(server) as second:
            code = re.search(r"the code is (\w+)", server.log.read_text())
            assert code
            answer = await first.post("/sign-in/provider", data={"code": code[1]})
            assert answer.status_code == 503
            assert said(answer) == "Example ID cannot be reached right now. Try again in a moment."
            provider.start()
            assert (await first.post("/sign-in/provider")).headers["location"] == "/set-up"
            assert (await first.post("/sign-in/provider", data={"code": "wrong"})).status_code == 400
            assert (await come_back(first, "ada", code=code[1])).status_code == 303
            assert (await first.get("/people")).status_code == 200
            assert (await first.get("/set-up")).headers["location"] == "/sign-in"
            assert (await come_back(second, "bob")).status_code == 303
            assert (await second.get("/people")).status_code == 404
            assert (await come_back(second, "bob", code=code[1])).status_code == 303
            assert (await second.get("/people")).status_code == 404, "the code is used up"
        log = server.log.read_text()
        assert "Traceback" not in log
