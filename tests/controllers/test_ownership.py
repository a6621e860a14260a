"""Nobody gets at what is somebody else's: by any route, as a browser or as a program, to read or to change it.

Every route of the app has a case here, or the first test fails.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import pytest_asyncio
from litestar import Litestar
from litestar.routes import HTTPRoute
from websockets.asyncio.client import connect

from riverrun.app import create_app
from riverrun.settings import Settings
from tests.controllers.accounts_kit import Somebody, make_token, somebody, visitor
from tests.model_server import ModelServer
from tests.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

MARK = "Bob's own"  # stands in all that is Bob's
HIS = "bobs own"

# What names nothing that could be somebody else's: there one sees one's own.
OWN = {
    *("GET /", "GET /projects", "POST /projects", "POST /projects/sample", "POST /messages"),
    *("GET /agents", "GET /agents/new", "POST /agents", "GET /teams/new", "POST /teams"),
    *("GET /tokens", "POST /tokens"),
    *("GET /account", "POST /account/password", "POST /account/sign-ins/endings", "POST /sign-out"),
    *("GET /api/conversations", "POST /api/conversations", "POST /api/conversations/import"),
    *("GET /api/projects", "POST /api/projects", "GET /api/teams"),
    *("GET /v1/models", "GET /v1/models/{name}", "POST /v1/chat/completions", "POST /agui/{team}"),
}
FOR_ADMINISTRATORS = {
    *("GET /people", "GET /people/audit", "POST /people/invitations"),
    "POST /people/invitations/{invitation_id}/withdrawals",
    *(f"POST /people/{{account_id}}/{what}" for what in ("passwords", "role", "closings", "openings")),
}
FOR_ALL = {
    *("GET /sign-in", "POST /sign-in", "GET /set-up", "POST /set-up"),
    *("POST /sign-in/provider", "GET /sign-in/provider/callback"),
    *("GET /invitations/{secret}", "POST /invitations/{secret}"),
    *("GET /health", "GET /static/{file_path}", "HEAD /static/{file_path}"),
}
SCHEMA = "/schema"


@dataclass
class Bobs:
    """The ids of what Bob has, by the names that routes have for them."""

    ids: dict[str, str] = field(default_factory=dict)
    name: str = ""

    def path(self, template: str, **others: str) -> str:
        known = {**self.ids, **others}
        return re.sub(r"{(\w+)(:\w+)?}", lambda parameter: known[parameter[1]], template)


@pytest.fixture(scope="module")
def guarded(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guarded")
    with Server(folder, RIVERRUN_MODEL_URL=model.url, RIVERRUN_AUTH="accounts").start() as running:
        yield running


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    return create_app(Settings(data=tmp_path_factory.mktemp("data"), model="demo", auth="accounts"))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(guarded: Server) -> AsyncIterator[Somebody]:
    async with somebody(guarded, "ada") as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bob(guarded: Server, ada: Somebody) -> AsyncIterator[Somebody]:
    async with somebody(guarded, "bob", ada.browser) as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def eve(guarded: Server, ada: Somebody) -> AsyncIterator[Somebody]:
    async with somebody(guarded, "eve", ada.browser) as person:
        yield person


def routes_of(app: Litestar) -> list[str]:
    return [
        f"{method} {re.sub(r':[a-z]+}', '}', route.path_format)}"
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith(SCHEMA)
        for method in sorted(route.methods - {"OPTIONS"})
    ]


def owned(app: Litestar) -> list[str]:
    """Routes that name something which is somebody's."""
    return [route for route in routes_of(app) if route not in OWN | FOR_ADMINISTRATORS | FOR_ALL]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bobs(bob: Somebody) -> Bobs:
    """One of everything, each with a mark in it."""
    made = Bobs()
    ids = made.ids
    browser, program = bob.browser, bob.program

    project = await browser.post("/projects", data={"name": f"{MARK} project"})
    ids["project_id"] = project.headers["location"].removeprefix("/p/")
    place = f"/p/{ids['project_id']}"
    conversation = await program.post(
        "/api/conversations", json={"title": f"{MARK} title", "project_id": ids["project_id"]}
    )
    ids["conversation_id"] = conversation.json()["id"]
    reply = await program.post(
        f"/api/conversations/{ids['conversation_id']}/messages", json={"content": f"{MARK} words"}
    )
    assert reply.status_code == 200, reply.text
    ids["run_id"] = reply.json()["run_id"]
    read = (await program.get(f"/api/conversations/{ids['conversation_id']}")).json()
    ids["message_id"] = read["messages"][0]["id"]

    await browser.post(f"{place}/file", data={"path": f"{HIS}.txt", "content": MARK})
    files = (await browser.get(f"{place}/files")).text
    ids["revision_id"] = first(r"/revisions/([0-9a-f-]{36})", files)
    await browser.post(f"{place}/documents", files={"file": (f"{HIS}.md", f"# {MARK}\n\n{MARK} document".encode())})
    documents = (await browser.get(f"{place}/documents")).text
    ids["document_id"] = first(r"/documents/([0-9a-f-]{36})", documents)
    ids["passage_id"] = "1"  # of the only document there is
    memory = await program.post(f"/api/projects/{ids['project_id']}/memories", json={"content": f"{MARK} memory"})
    ids["memory_id"] = memory.json()["id"]
    await browser.post(f"{place}/tools", data={"name": "bobs-own", "address": "https://bob.example.org/mcp"})
    ids["server_id"] = first(r"/tools/([0-9a-f-]{36})", (await browser.get(f"{place}/tools")).text)

    await browser.post("/agents", data={"name": f"{MARK} agent", "instructions": MARK})
    ids["agent_id"] = first(r"/agents/([0-9a-f-]{36})", (await browser.get("/agents")).text)
    team = await browser.post("/teams", data={"title": f"{MARK} team", "members": ids["agent_id"]})
    assert team.status_code == 303, team.text
    ids["team_id"] = first(r"/teams/([0-9a-f-]{36})", (await browser.get("/agents")).text)
    made.name = next(team["name"] for team in (await program.get("/api/teams")).json() if MARK in team["title"])
    await make_token(browser, f"{MARK} token", "read")
    tokens = (await browser.get("/tokens")).text
    ids["token_id"] = first(r"/tokens/([0-9a-f-]{36})", tokens[tokens.index(MARK.replace("'", "&#39;")) :])
    ids["call_id"] = "call-of-bob"
    ids["permission_id"] = "00000000-0000-7000-8000-00000000dead"
    ids["sign_in_id"] = "00000000-0000-7000-8000-00000000dead"  # a browser of one's own cannot be ended from itself
    ids["membership_id"] = ids["sign_in_id"]
    return made


def first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found, f"no {pattern} in {text[:2000]}"
    return found[1]


async def test_every_route_has_a_case(app: Litestar) -> None:
    """A new one names what is somebody's and is asked for below, or stands in a list above."""
    routes = set(routes_of(app))
    assert len(routes) > 90
    assert routes >= OWN | FOR_ADMINISTRATORS | FOR_ALL
    for route in owned(app):
        assert "_id}" in route, f"{route}: whose is it?"
    sockets = [route.path for route in app.routes if not isinstance(route, HTTPRoute)]
    assert sockets == ["/api/ws"]


QUERY = {"path": f"{HIS}.txt", "after": "0"}
BODY = {"path": f"{HIS}.txt", "content": "Mine now", "title": "Mine now", "name": "mine", "decision": "once"}


async def ask(somebody: Somebody, route: str, path: str) -> httpx.Response:
    """With a query and a body that fit every route well enough to get as far as whose it is."""
    method = route.split(" ")[0]
    query = dict(QUERY)
    if path.endswith("/updates"):
        query["after"] = "00000000-0000-7000-8000-00000000dead"
    if path.startswith(("/api/", "/v1/", "/agui/")):
        return await somebody.ask(method, path, params=query, json=BODY if method in ("POST", "PATCH", "PUT") else None)
    if method == "POST" and path.endswith(("/files", "/documents", "/imports")):
        return await somebody.ask(method, path, files={"file": ("mine.md", b"Mine now")})
    return await somebody.ask(method, path, params=query, data=BODY if method == "POST" else None)


async def test_nobody_elses_anything_can_be_read_or_changed(
    app: Litestar, bob: Somebody, eve: Somebody, bobs: Bobs
) -> None:
    wrong = []
    for route in owned(app):
        answer = await ask(eve, route, bobs.path(route.split(" ")[1]))
        # What is not even understood is no answer about anything, as long as it says the same of what is not there.
        if answer.status_code != 404 and not await says_the_same_of_nothing(eve, route, answer):
            wrong.append(f"{route}: {answer.status_code}")
        if MARK in answer.text:
            wrong.append(f"{route} tells of it")
    assert wrong == []
    assert await everything(bob, bobs) == EVERYTHING


async def says_the_same_of_nothing(eve: Somebody, route: str, answer: httpx.Response) -> bool:
    nothing = re.sub(r"{\w+}", "00000000-0000-7000-8000-00000000dead", route.split(" ")[1])
    if "passage_id" in route:
        return False
    other = await ask(eve, route, nothing)
    same = timeless(other.text) == timeless(answer.text)
    return same and (other.status_code, answer.status_code) == (400, 400)


def timeless(page: str) -> str:
    """Without the moment at which it was made."""
    return re.sub(r'name="server-time" content="[^"]+"', "", page)


EVERYTHING = {"title", "words", "memory", "document", "file", "agent", "team", "token", "server"}


async def everything(bob: Somebody, bobs: Bobs) -> set[str]:
    """What of his is still as he left it."""
    place = f"/p/{bobs.ids['project_id']}"
    read = (await bob.program.get(f"/api/conversations/{bobs.ids['conversation_id']}")).text
    agents, tokens = (await bob.browser.get("/agents")).text, (await bob.browser.get("/tokens")).text
    shown = {
        "title": f"{MARK} title" in read,
        "words": f"{MARK} words" in read,
        "memory": f"{MARK} memory" in (await bob.program.get(f"/api/projects/{bobs.ids['project_id']}/memories")).text,
        "document": bobs.ids["document_id"] in (await bob.browser.get(f"{place}/documents")).text,
        "file": (await bob.browser.get(f"{place}/file/download", params={"path": f"{HIS}.txt"})).text == MARK,
        "agent": bobs.ids["agent_id"] in agents,
        "team": bobs.ids["team_id"] in agents,
        "token": bobs.ids["token_id"] in tokens,
        "server": bobs.ids["server_id"] in (await bob.browser.get(f"{place}/tools")).text,
    }
    return {name for name, is_there in shown.items() if is_there}


async def test_ones_own_project_is_no_way_to_what_is_in_anothers(
    app: Litestar, bob: Somebody, eve: Somebody, bobs: Bobs
) -> None:
    mine = (await eve.browser.post("/projects", data={"name": "Eve's"})).headers["location"].removeprefix("/p/")
    asked = 0
    for route in owned(app):
        template = route.split(" ")[1]
        if "{project_id}/" not in template or template.count("{") < 2:
            continue
        answer = await ask(eve, route, bobs.path(template, project_id=mine))
        assert answer.status_code == 404, route
        asked += 1
    assert asked > 5
    assert await everything(bob, bobs) == EVERYTHING


async def test_lists_show_ones_own(eve: Somebody, bob: Somebody, bobs: Bobs) -> None:
    listing = ("/", "/projects", "/agents", "/teams/new", "/tokens", "/account", "/api/conversations", "/api/projects")
    for path in (*listing, "/api/teams", "/v1/models"):
        answer = await eve.ask("GET", path)
        assert answer.status_code == 200, path
        for secret in (MARK, MARK.replace("'", "&#39;"), bobs.name, *bobs.ids.values()):
            assert len(secret) == 1 or secret not in answer.text, f"{path} tells {secret}"
    assert MARK.replace("'", "&#39;") in (await bob.browser.get("/projects")).text


async def test_what_a_body_or_a_query_names_has_to_be_ones_own(eve: Somebody, bob: Somebody, bobs: Bobs) -> None:
    ids = bobs.ids
    mine = (await eve.program.post("/api/conversations", json={})).json()["id"]
    refused: list[tuple[int, httpx.Response]] = [
        (404, await eve.browser.get("/", params={"project": ids["project_id"]})),
        (404, await eve.browser.post("/messages", data={"content": "x", "conversation": ids["conversation_id"]})),
        (404, await eve.browser.post("/messages", data={"content": "x", "project": ids["project_id"]})),
        (400, await eve.browser.post("/messages", data={"content": "x", "team": bobs.name})),
        (400, await eve.browser.post("/teams", data={"title": "Mine", "members": ids["agent_id"]})),
        (404, await eve.program.post("/api/conversations", json={"project_id": ids["project_id"]})),
        (400, await eve.program.post("/api/conversations", json={"team": bobs.name})),
        (404, await eve.program.post("/api/conversations/import", params={"project_id": ids["project_id"]}, json={})),
        (404, await eve.program.get(f"/v1/models/{bobs.name}")),
        (404, await eve.program.post("/v1/chat/completions", json={"model": bobs.name, "messages": HELLO})),
        (404, await eve.program.post(f"/agui/{bobs.name}", json=agui("thread"))),
    ]
    for name in ("parent_id", "instead_of"):
        body = {"content": "x", name: ids["message_id"]}
        refused.append((404, await eve.program.post(f"/api/conversations/{mine}/runs", json=body)))
    body = {"message_id": ids["message_id"]}
    refused.append((404, await eve.program.put(f"/api/conversations/{mine}/branch", json=body)))
    for status, answer in refused:
        assert answer.status_code == status, f"{answer.request.url}: {answer.status_code} {answer.text}"
        assert MARK not in answer.text
    for path in (f"/?deleted={ids['conversation_id']}", f"/?deleted_project={ids['project_id']}"):
        assert MARK not in (await eve.browser.get(path)).text
    assert await everything(bob, bobs) == EVERYTHING


HELLO = [{"role": "user", "content": "Hello"}]


def agui(thread: str) -> dict[str, Any]:
    message = {"id": "1", "role": "user", "content": "Hello"}
    known: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": thread, "runId": "run", "messages": [message], **known}


async def test_a_thread_and_a_history_go_on_in_ones_own_conversations(eve: Somebody, bob: Somebody, bobs: Bobs) -> None:
    """Threads of the same name are different ones for different people."""
    conversation = bobs.ids["conversation_id"]
    before = (await bob.program.get(f"/api/conversations/{conversation}")).json()["messages"]
    for thread in (conversation, "a thread of both"):
        for person in (bob, eve) if thread != conversation else (eve,):
            answer = await person.program.post("/agui/assistant", json=agui(thread))
            assert answer.status_code == 200, answer.text
    history = [{"role": message["role"], "content": message["content"]} for message in before]
    body = {"model": "assistant", "messages": [*history, *HELLO]}
    answer = await eve.program.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-conversation-id"] != conversation
    assert (await bob.program.get(f"/api/conversations/{conversation}")).json()["messages"] == before
    listed = [{row["id"] for row in (await who.program.get("/api/conversations")).json()} for who in (bob, eve)]
    assert len(listed[0]) == 2
    assert len(listed[1]) >= 3
    assert not listed[0] & listed[1]


async def test_a_socket_reaches_ones_own_runs(guarded: Server, eve: Somebody, bobs: Bobs) -> None:
    ids = bobs.ids
    requests = [
        {"type": "follow", "run_id": ids["run_id"]},
        {"type": "cancel", "run_id": ids["run_id"]},
        {"type": "send", "content": "x", "conversation_id": ids["conversation_id"]},
        {"type": "send", "content": "x", "project_id": ids["project_id"]},
    ]
    headers = {"Authorization": eve.program.headers["authorization"]}
    async with connect(f"ws://127.0.0.1:{guarded.port}/api/ws", additional_headers=headers) as socket:
        assert json.loads(await socket.recv())["type"] == "connected"
        for number, request in enumerate(requests):
            await socket.send(json.dumps({**request, "id": str(number)}))
            answer = json.loads(await socket.recv())
            assert (answer["type"], answer["status"]) == ("refused", 404), answer


async def test_strangers_get_nowhere(app: Litestar, guarded: Server, bob: Somebody, bobs: Bobs) -> None:
    async with visitor(guarded) as browser:
        stranger = Somebody("", browser, browser)
        for route in (*owned(app), *OWN, *FOR_ADMINISTRATORS):
            others = dict.fromkeys(("account_id", "invitation_id"), bobs.ids["run_id"])
            path = bobs.path(route.split(" ")[1], **others, name="assistant", team="assistant")
            answer = await ask(stranger, route, path)
            sent_away = answer.status_code == 303 and answer.headers["location"].startswith("/sign-in")
            assert answer.status_code == 401 or sent_away, f"{route}: {answer.status_code}"
            assert MARK not in answer.text
        for template in ("/api/projects/{project_id}/memories", "/p/{project_id}/files"):
            assert (await browser.options(bobs.path(template))).status_code < 500
        assert (await browser.get("/schema/openapi.json")).status_code == 200
        scripted = await browser.get(
            "/projects", headers={"HX-Request": "true", "HX-Current-URL": f"{guarded.url}/c/1"}
        )
        assert (scripted.status_code, scripted.headers["hx-redirect"]) == (401, "/sign-in?next=%2Fc%2F1")
    assert await everything(bob, bobs) == EVERYTHING


async def test_members_do_not_administer(ada: Somebody, eve: Somebody, bobs: Bobs) -> None:
    for route in sorted(FOR_ADMINISTRATORS):
        path = bobs.path(route.split(" ")[1], account_id=bobs.ids["run_id"], invitation_id=bobs.ids["run_id"])
        answer = await ask(eve, route, path)
        assert answer.status_code == 404, route
    assert (await ada.browser.get("/people")).status_code == 200
    assert (await eve.browser.get("/")).text.count("/people") == 0


async def test_not_even_administrators_see_what_is_anothers(ada: Somebody, app: Litestar, bobs: Bobs) -> None:
    for route in owned(app):
        if route.startswith("GET"):
            answer = await ask(ada, route, bobs.path(route.split(" ")[1]))
            assert answer.status_code == 404, route


async def test_a_project_is_shared_to_be_read_and_then_to_work_in(
    app: Litestar, bob: Somebody, eve: Somebody, bobs: Bobs
) -> None:
    place = f"/p/{bobs.ids['project_id']}"
    in_project = [
        route
        for route in owned(app)
        if not re.search(r"{(agent|team|token|sign_in|membership|secret)_id}", route) and "/people" not in route
    ]
    assert (await bob.browser.post(f"{place}/people", data={"name": "Eve"})).status_code == 303
    for route in in_project:
        answer = await ask(eve, route, bobs.path(route.split(" ")[1]))
        if route.startswith("GET"):
            assert answer.status_code in (200, 204, 400), f"{route}: {answer.status_code} {answer.text[:300]}"
        else:
            assert answer.status_code in (400, 403, 404), f"{route}: {answer.status_code}"
    assert await everything(bob, bobs) == EVERYTHING
    refusal = await eve.browser.post(f"{place}/file", data={"path": "mine.txt", "content": "x"})
    assert (refusal.status_code, "for reading only" in refusal.text) == (403, True)
    page = (await eve.browser.get(f"/c/{bobs.ids['conversation_id']}")).text
    assert "shared with you for reading" in page
    assert 'id="composer"' not in page
    for path in (f"{place}/people", f"{place}/deletions"):
        assert (await eve.browser.post(path, data={"name": "ada"})).status_code == 403, path

    shared = await bob.browser.post(f"{place}/people", data={"name": "eve", "may_write": "on"})
    assert shared.status_code == 303
    said = f"/api/conversations/{bobs.ids['conversation_id']}/messages"
    assert (await eve.program.post(said, json={"content": "Hello from Eve"})).status_code == 200
    assert "Hello from Eve" in (await bob.program.get(said.removesuffix("/messages"))).text
    assert (await eve.browser.post(f"{place}/people", data={"name": "ada"})).status_code == 403

    membership = first(rf"{place}/people/([0-9a-f-]{{36}})/endings", (await bob.browser.get(f"{place}/people")).text)
    assert (await eve.browser.post(f"{place}/people/{membership}/endings")).status_code == 403
    assert (await bob.browser.post(f"{place}/people/{membership}/endings")).status_code == 303
    assert (await eve.program.get(said.removesuffix("/messages"))).status_code == 404


ENDS = ("deletions", "revocations", "DELETE")
# Of these Bob has none at this moment.
NONE_LEFT = {
    "POST /messages/{message_id}/withdrawals",
    "DELETE /api/runs/{run_id}/messages/{message_id}",
    "POST /account/sign-ins/{sign_in_id}/endings",
    "POST /p/{project_id}/people/{membership_id}/endings",
    "POST /runs/{run_id}/approvals/{call_id}",
    "POST /api/runs/{run_id}/approvals/{call_id}",
    "POST /p/{project_id}/tools/{server_id}/permissions/{permission_id}/withdrawals",
    "POST /c/{conversation_id}/restorations",
    "POST /p/{project_id}/restorations",
    "POST /p/{project_id}/people",  # nobody is called as the body says
}


async def test_whose_it_is_finds_it_there(app: Litestar, bob: Somebody, bobs: Bobs) -> None:
    """Comes last, since it changes and deletes all of it: without this the tests above could be hollow."""
    routes = [route for route in owned(app) if route not in NONE_LEFT]
    whole = {"POST /p/{project_id}/deletions": 2, "DELETE /api/conversations/{conversation_id}": 1}
    whole["POST /c/{conversation_id}/deletions"] = 1
    routes.sort(key=lambda route: (whole.get(route, 0), any(end in route for end in ENDS)))
    gone: set[str] = set()
    for route in routes:
        thing = re.sub(r".*({\w+}).*", r"\1", route)
        answer = await ask(bob, route, bobs.path(route.split(" ")[1]))
        if answer.status_code == 404:
            assert thing in gone or route.startswith("POST /p/{project_id}/file/"), f"{route}: {answer.text}"
        if any(end in route for end in ENDS):
            gone.add(thing)
