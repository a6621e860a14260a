"""Scripts of other pages: those on the list may use what is for programs, nobody else may use anything."""

import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import ValidationError

from riverrun.app import create_app
from riverrun.controllers.origin import SESSION_COOKIE
from riverrun.persistence.tables import DEFAULT_PROJECT
from riverrun.settings import Settings
from tests.controllers.api_kit import Program
from tests.controllers.socket_kit import refusal, talk
from tests.model_server import ModelServer
from tests.server import Server

GUEST = "https://app.example.org"
STRANGER = "https://elsewhere.example"
FOR_GUESTS = ["/api/conversations", "/api/nothing", "/schema/openapi.json"]
PAGES = ["/", "/tokens", "/projects", "/nowhere", "/health", "/apiary"]


@pytest.fixture(scope="module")
def sharing(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("sharing")
    settings = {"RIVERRUN_MODEL_URL": model.url, "RIVERRUN_CORS_ORIGINS": f"{GUEST}/, tauri://localhost"}
    with Server(folder, **settings).start() as running:
        yield running


@pytest.fixture
async def guest(sharing: Server) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Origin": GUEST, "Sec-Fetch-Site": "cross-site"}
    async with httpx.AsyncClient(base_url=sharing.url, headers=headers, timeout=20) as client:
        yield client


async def preflight(client: httpx.AsyncClient, path: str, origin: str = GUEST) -> httpx.Response:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os"}
    return await client.options(path, headers={"Origin": origin, **asked})


def shared(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control")}


async def test_a_page_on_the_list_uses_what_is_for_programs(guest: httpx.AsyncClient) -> None:
    made = await guest.post("/api/conversations", json={})
    assert made.status_code == 201
    assert made.headers["access-control-allow-origin"] == GUEST
    assert "access-control-allow-credentials" not in made.headers


@pytest.mark.parametrize("path", FOR_GUESTS)
async def test_whatever_is_answered_can_be_read(guest: httpx.AsyncClient, path: str) -> None:
    """Errors too: a script that cannot read why it failed can only say that it did."""
    answer = await guest.get(path)
    assert answer.headers["access-control-allow-origin"] == GUEST
    assert "Origin" in answer.headers.get_list("vary")


async def test_a_refused_token_can_be_read(guest: httpx.AsyncClient) -> None:
    answer = await guest.get("/api/teams", headers={"Authorization": "Bearer rr_nobody"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == GUEST
    assert answer.headers["access-control-expose-headers"] == "WWW-Authenticate"


async def test_a_stream_can_be_read(guest: httpx.AsyncClient) -> None:
    program = Program(guest)
    started = await program.start(await program.new_conversation(), "shared stream")
    async with guest.stream("GET", f"/api/runs/{started['run_id']}/events") as stream:
        assert stream.headers["access-control-allow-origin"] == GUEST
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "event: complete" in (await stream.aread()).decode()


async def test_a_browser_is_told_beforehand_what_it_may_ask(guest: httpx.AsyncClient) -> None:
    answer = await preflight(guest, "/api/conversations")
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == GUEST
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-max-age"] == "600"


@pytest.mark.parametrize("path", PAGES)
async def test_the_pages_are_nobody_elses(guest: httpx.AsyncClient, path: str) -> None:
    assert shared(await guest.get(path)) == {}
    assert shared(await preflight(guest, path)) == {}


@pytest.mark.parametrize(
    ("path", "form"), [("/tokens", {"name": "Theirs", "scope": "admin"}), ("/messages", {"content": "Theirs"})]
)
async def test_a_page_on_the_list_changes_nothing_through_the_pages(
    guest: httpx.AsyncClient, path: str, form: dict[str, str]
) -> None:
    assert (await guest.post(path, data=form)).status_code == 403


@pytest.mark.parametrize(
    "origin", [STRANGER, "null", f"{GUEST}.elsewhere.example", "https://APP.example.org", "http://app.example.org"]
)
@pytest.mark.parametrize("path", FOR_GUESTS)
async def test_who_is_not_on_the_list_is_told_nothing(guest: httpx.AsyncClient, origin: str, path: str) -> None:
    answer = await guest.get(path, headers={"Origin": origin})
    assert shared(answer) == {}
    assert "Origin" in answer.headers.get_list("vary"), "or a cache would give it what was meant for another"
    assert shared(await preflight(guest, path, origin)) == {}
    assert (await guest.post("/api/conversations", json={}, headers={"Origin": origin})).status_code == 403


async def test_other_schemes_than_https_are_origins_too(guest: httpx.AsyncClient) -> None:
    answer = await guest.get("/api/teams", headers={"Origin": "tauri://localhost"})
    assert answer.headers["access-control-allow-origin"] == "tauri://localhost"


@pytest.mark.parametrize("path", FOR_GUESTS)
async def test_nothing_is_shared_unless_it_is_wished(program: Program, path: str) -> None:
    answer = await program.client.get(path, headers={"Origin": GUEST})
    assert shared(answer) == {}
    assert "Origin" not in answer.headers.get_list("vary")
    assert shared(await preflight(program.client, path)) == {}


async def test_every_page_may_come_where_tokens_are_required(model: ModelServer, tmp_path: Path) -> None:
    settings = {"RIVERRUN_CORS_ORIGINS": "*", "RIVERRUN_API_TOKENS": "required", "RIVERRUN_MODEL_URL": model.url}
    with Server(tmp_path, **settings).start() as running:
        async with httpx.AsyncClient(base_url=running.url) as client:
            for origin in (GUEST, "null"):
                assert (await preflight(client, "/api/conversations", origin)).status_code == 204
                answer = await client.post("/api/conversations", json={}, headers={"Origin": origin})
                assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, origin)
                page = await client.post("/tokens", data={}, headers={"Origin": origin})
                assert page.status_code == 403


@pytest.mark.parametrize(
    "value", ["*", f"{GUEST},*", "app.example.org", f"{GUEST}/path", "https://*.example.org", "null", "https://a b"]
)
def test_what_is_no_origin_or_too_open_is_refused_at_the_start(value: str) -> None:
    with pytest.raises(ValidationError, match="origin"):
        Settings(cors_origins=value)


def test_origins_are_taken_as_browsers_write_them() -> None:
    settings = Settings(cors_origins="https://a.example:8443/, http://[::1]:3000,chrome-extension://abc")
    assert settings.cors_origins == ["https://a.example:8443", "http://[::1]:3000", "chrome-extension://abc"]


@pytest.mark.parametrize("path", ["/api/conversations", "/tokens", "/agui/assistant"])
async def test_who_brings_a_session_says_where_a_change_comes_from(program: Program, server: Server, path: str) -> None:
    """A browser too old for both headers would else do for any site what the person may do."""
    cookie = {"Cookie": f"{SESSION_COOKIE}=x"}
    assert (await program.client.post(path, json={}, headers=cookie)).status_code == 403
    for said in ({"Origin": server.url}, {"Sec-Fetch-Site": "same-origin"}):
        assert (await program.client.post(path, json={}, headers=cookie | said)).status_code != 403
    for said in ({"Origin": STRANGER}, {"Sec-Fetch-Site": "cross-site"}, {"Referer": server.url}):
        assert (await program.client.post(path, json={}, headers=cookie | said)).status_code == 403


async def test_who_brings_a_session_to_a_socket_says_where_from_too(server: Server) -> None:
    cookie = {"Cookie": f"{SESSION_COOKIE}=x"}
    assert (await refusal(server.url, additional_headers=cookie))[0] == 4403
    assert (await refusal(server.url, additional_headers=cookie, origin=STRANGER))[0] == 4403
    async with talk(server.url, additional_headers=cookie, origin=server.url):
        pass


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_no_method_that_changes_is_left_out(program: Program, method: str) -> None:
    conversation = await program.new_conversation()
    paths = {"PUT": f"/api/conversations/{conversation}/branch", "POST": "/api/conversations"}
    path = paths.get(method, f"/api/conversations/{conversation}")
    answer = await program.client.request(method, path, json={}, headers={"Origin": STRANGER})
    assert answer.status_code == 403


async def test_the_same_host_over_another_scheme_is_another_origin(program: Program, server: Server) -> None:
    """A page that somebody in the network has forged, for example."""
    for site in ("cross-site", "same-site"):
        headers = {"Origin": server.url, "Sec-Fetch-Site": site}
        assert (await program.client.post("/api/conversations", json={}, headers=headers)).status_code == 403


async def test_to_read_changes_nothing(model: ModelServer, tmp_path: Path) -> None:
    """Every GET that there is, of things that exist: else a link could do what a form may not."""
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url).start() as running:
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:
            program = Program(client)
            conversation = await program.new_conversation()
            started = await program.start(conversation, "nothing changes by reading")
            await program.events(started["run_id"])
            known = {
                "run_id": started["run_id"],
                "conversation_id": conversation,
                "project_id": str(DEFAULT_PROJECT),
                "name": "assistant",
            }
            before = content_of(tmp_path)
            for path in paths_to_read(tmp_path):
                await client.get(re.sub(r"{(\w+):\w+}", lambda found: known.get(found[1], str(uuid4())), path))
            assert content_of(tmp_path) == before


def paths_to_read(folder: Path) -> list[str]:
    routes = create_app(Settings(data=folder, model="demo")).routes
    return [route.path for route in routes if "GET" in getattr(route, "methods", ())]


def content_of(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "data" / "riverrun.db")) as database:
        return list(database.iterdump())
