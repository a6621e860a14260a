"""Tokens of programs: made and revoked in the page, and asked for at every door for programs."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar

from riverrun.app import create_app
from riverrun.settings import Settings
from tests.controllers.api_kit import Json, Program
from tests.controllers.page_kit import Browser, with_class
from tests.model_server import ModelServer
from tests.rendering.dom import Element, parse
from tests.server import Server

SCOPES = ["read", "chat", "admin"]

# Every route for programs, and what a token needs there.
NEEDED = {
    "POST /api/conversations": "chat",
    "GET /api/conversations": "read",
    "GET /api/conversations/{conversation_id}": "read",
    "PATCH /api/conversations/{conversation_id}": "chat",
    "DELETE /api/conversations/{conversation_id}": "chat",
    "POST /api/conversations/{conversation_id}/messages": "chat",
    "POST /api/conversations/{conversation_id}/messages/stream": "chat",
    "POST /api/conversations/{conversation_id}/runs": "chat",
    "GET /api/runs/{run_id}": "read",
    "GET /api/runs/{run_id}/events": "read",
    "POST /api/runs/{run_id}/cancel": "chat",
    "POST /api/runs/{run_id}/approvals/{call_id}": "chat",
    "POST /api/runs/{run_id}/messages": "chat",
    "DELETE /api/runs/{run_id}/messages/{message_id}": "chat",
    "POST /api/runs/{run_id}/retries": "chat",
    "PUT /api/conversations/{conversation_id}/branch": "chat",
    "GET /api/projects": "read",
    "POST /api/projects": "admin",
    "PATCH /api/projects/{project_id}": "admin",
    "GET /api/projects/{project_id}/memories": "read",
    "POST /api/projects/{project_id}/memories": "admin",
    "DELETE /api/projects/{project_id}/memories/{memory_id}": "admin",
    "GET /api/teams": "read",
    "GET /api/conversations/{conversation_id}/export": "read",
    "GET /api/conversations/{conversation_id}/transcript": "read",
    "POST /api/conversations/import": "chat",
    "GET /v1/models": "read",
    "GET /v1/models/{name}": "read",
    "POST /v1/chat/completions": "chat",
    "POST /agui/{team}": "chat",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    return create_app(Settings(data=tmp_path_factory.mktemp("data"), model="demo"))


@pytest.fixture(scope="module")
def closed(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A riverrun that wants tokens."""
    folder = tmp_path_factory.mktemp("closed")
    with Server(folder, RIVERRUN_MODEL_URL=model.url, RIVERRUN_API_TOKENS="required").start() as running:
        yield running


@pytest.fixture(scope="module")
def tokens(closed: Server) -> dict[str, str]:
    """One of each scope, by scope."""
    with httpx.Client(base_url=closed.url) as client:
        pages = {scope: client.post("/tokens", data={"name": f"to {scope}", "scope": scope}) for scope in SCOPES}
    return {scope: token_in(parse(page.text)) for scope, page in pages.items()}


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Browser(client)


async def make(browser: Browser, scope: str = "read", name: str = "") -> tuple[str, str]:
    """The token, and the name under which it is listed."""
    name = name or f"Program {uuid4()}"
    made = await browser.submit("/tokens", name=name, scope=scope)
    assert made.status_code == 201, made.text
    return token_in(parse(made.text)), name


def token_in(page: Element) -> str:
    (figure,) = with_class(page, "made__token")
    return next(element.text for element in figure if element.tag == "code")


async def listed(browser: Browser, name: str) -> Element | None:
    cards = with_class(await browser.open("/tokens"), "card")
    return next((card for card in cards if with_class(card, "card__title")[0].text == name), None)


async def revoke(browser: Browser, name: str) -> None:
    card = await listed(browser, name)
    assert card is not None
    form = next(element for element in card if element.tag == "form")
    assert (await browser.submit(str(form.attributes["action"]))).status_code == 303


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def ask(program: Program, token: str, method: str = "GET", path: str = "/api/conversations") -> httpx.Response:
    return await program.client.request(method, path, headers=bearing(token), json={} if method == "POST" else None)


# At the doors


def test_every_route_for_programs_has_a_case(app: Litestar) -> None:
    """A WebSocket asks the gate itself, and its own tests tell how."""
    routes = {
        f"{method} {route.path_format}"
        for route in app.routes
        if route.path.startswith(("/api", "/v1", "/agui"))
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }
    assert routes == set(NEEDED)


@pytest.mark.parametrize("route", NEEDED)
async def test_a_route_wants_a_token_that_reaches_so_far(closed: Server, tokens: dict[str, str], route: str) -> None:
    method, path = route.split()
    path, needed = re.sub(r"{\w+}", str(uuid4()), path), NEEDED[route]
    async with httpx.AsyncClient(base_url=closed.url) as client:
        for scope in ["", *SCOPES]:
            headers = bearing(tokens[scope]) if scope else {}
            answer = await client.request(method, path, headers=headers, json={} if method != "GET" else None)
            if not scope:
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
                assert error_in(answer)["code"] == "unauthorized"
            elif SCOPES.index(scope) < SCOPES.index(needed):
                error = error_in(answer)
                assert (answer.status_code, error["code"]) == (403, "forbidden")
                assert f"the scope “{needed}”" in str(error.get("detail") or error["message"])
                assert f'scope="{needed}"' in answer.headers["www-authenticate"]
            else:
                assert answer.status_code not in (401, 403, 500)


def error_in(answer: httpx.Response) -> Json:
    """In our form, or below /v1 in OpenAI's."""
    error: Json = answer.json()
    if answer.url.path.startswith("/v1"):
        inner: Json = error["error"]
        return inner
    assert answer.headers["content-type"] == "application/problem+json"
    return error


@pytest.mark.parametrize(
    "path", ["/api/conversations/", "//api/conversations", "/api//conversations", "/./api/conversations"]
)
async def test_no_spelling_of_a_path_leads_past_the_gate(closed: Server, path: str) -> None:
    """Needs one that leads to the route to mean anything: the first does."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{closed.url}{path}")
    assert answer.status_code == 401 if path.endswith("/") else answer.status_code in (401, 404)


@pytest.mark.parametrize("key", ["Bearer sk-somebody-elses-key", "Bearer", "Bearer rr", "Basic cnJfOnJyXw==", "rr_x"])
async def test_another_key_is_no_token(closed: Server, program: Program, key: str) -> None:
    headers = {"Authorization": key}
    assert (await program.client.get("/api/conversations", headers=headers)).status_code == 200
    assert (await program.client.get(f"{closed.url}/api/conversations", headers=headers)).status_code == 401


@pytest.mark.parametrize("path", ["/", "/tokens", "/agents", "/health", "/schema/openapi.json"])
async def test_who_uses_the_page_needs_no_token(closed: Server, path: str) -> None:
    async with httpx.AsyncClient(base_url=closed.url) as client:
        assert (await client.get(path)).status_code == 200


async def test_the_pages_work_where_programs_need_tokens(closed: Server) -> None:
    async with httpx.AsyncClient(base_url=closed.url, timeout=20) as client:
        sent = await Browser(client).send_and_wait("Hello, page")
        assert "Hello, page" in (await client.get(sent.path)).text


async def test_without_a_token_a_program_is_let_in_by_default(program: Program) -> None:
    assert await program.new_conversation()


async def test_a_token_that_nobody_made_is_refused_even_where_none_is_needed(program: Program) -> None:
    answer = await ask(program, "rr_" + "x" * 43)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_scope_holds_even_where_no_token_is_needed(browser: Browser, program: Program) -> None:
    token, _ = await make(browser, "read")
    assert (await ask(program, token)).status_code == 200
    assert (await ask(program, token, "POST")).status_code == 403


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER  "])
async def test_the_scheme_may_be_written_in_any_way(browser: Browser, program: Program, scheme: str) -> None:
    token, name = await make(browser)
    await revoke(browser, name)
    answer = await program.client.get("/api/conversations", headers={"Authorization": f"{scheme} {token}"})
    assert answer.status_code == 401


async def test_a_program_with_a_token_follows_a_run(closed: Server, tokens: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=closed.url, headers=bearing(tokens["chat"]), timeout=20) as client:
        program = Program(client)
        started = await program.start(await program.new_conversation(), "Follow me")
        events = await program.events(started["run_id"], headers=bearing(tokens["read"]))
    assert events[-1]["type"] == "complete"


# In the page


async def test_a_token_is_shown_once_and_known_by_its_beginning(browser: Browser) -> None:
    token, name = await make(browser, "chat")
    assert re.fullmatch(r"rr_[\w-]{43}", token)
    page = (await browser.client.get("/tokens")).text
    assert token not in page
    card = await listed(browser, name)
    assert card is not None
    assert token[:9] + "…" in card.text
    assert "chat" in card.text
    assert "never used" in card.text


async def test_no_two_tokens_are_alike(browser: Browser) -> None:
    assert len({(await make(browser))[0] for _ in range(3)}) == 3


async def test_the_page_of_a_new_token_is_kept_nowhere(browser: Browser, server: Server) -> None:
    made = await browser.submit("/tokens", name=f"Kept {uuid4()}", scope="read")
    assert made.headers["cache-control"] == "no-store"
    token = token_in(parse(made.text)).encode()
    data = Path(server.folder) / "data"
    kept = b"".join(file.read_bytes() for file in data.rglob("*") if file.is_file())
    assert token[3:9] in kept, "needs what is saved to mean anything"
    assert token not in kept
    assert token not in server.log.read_bytes()


async def test_use_is_told(browser: Browser, program: Program) -> None:
    token, name = await make(browser)
    assert (await ask(program, token)).status_code == 200
    # Saved while the answer is on its way; what is saved after it tells that it is.
    await program.new_conversation()
    card = await listed(browser, name)
    assert card is not None
    assert "last used" in card.text
    times = [datetime.fromisoformat(str(e.attributes["datetime"])) for e in card if e.tag == "time"]
    assert timedelta() <= times[1] - times[0] < timedelta(minutes=1)


async def test_a_revoked_token_is_out_at_once(browser: Browser, program: Program) -> None:
    token, name = await make(browser)
    assert (await ask(program, token)).status_code == 200
    await revoke(browser, name)
    assert (await ask(program, token)).status_code == 401
    assert await listed(browser, name) is None


async def test_revoking_again_is_told_and_changes_nothing(browser: Browser) -> None:
    answer = await browser.submit(f"/tokens/{uuid4()}/revocations")
    assert answer.status_code == 404
    assert "revoked already" in answer.text


async def test_a_name_is_one_tokens(browser: Browser, program: Program) -> None:
    """So that sending the form again, as a reload does, makes no second token."""
    token, name = await make(browser)
    again = await browser.submit("/tokens", name=name, scope="admin")
    assert again.status_code == 400
    assert "There is a token of this name already." in again.text
    assert with_class(parse(again.text), "made") == []
    assert (await ask(program, token)).status_code == 200
    await revoke(browser, name)
    assert (await make(browser, name=name))[0] != token


@pytest.mark.parametrize(
    ("name", "scope", "problem"),
    [
        ("", "read", "A token needs a name."),
        (" \u0000", "read", "A token needs a name."),
        ("n" * 61, "read", "This has 61 characters; 60 fit."),
        ("Fine", "", "Choose what the token may do."),
        ("Fine", "root", "Choose what the token may do."),
    ],
)
async def test_what_cannot_be_made_is_said_beside_it(browser: Browser, name: str, scope: str, problem: str) -> None:
    answer = await browser.submit("/tokens", name=name, scope=scope)
    page = parse(answer.text)
    assert answer.status_code == 400
    assert [element.text for element in with_class(page, "field__problem")] == [problem]
    assert with_class(page, "made") == []


async def test_a_name_is_shown_as_it_was_written(browser: Browser) -> None:
    name = f"<script>alert(1)</script> & “{uuid4()}”"[:60]
    await make(browser, name=name)
    assert await listed(browser, name) is not None


async def test_another_site_makes_no_token(browser: Browser) -> None:
    headers = {"Origin": "https://elsewhere.example"}
    made = await browser.client.post("/tokens", data={"name": "Theirs", "scope": "admin"}, headers=headers)
    assert made.status_code == 403
    assert await listed(browser, "Theirs") is None
