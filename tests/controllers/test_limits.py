"""How much one person may ask for: in a minute, at once, and with one request."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar, Request, post
from litestar._parsers import parse_url_encoded_form_data
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.routes import HTTPRoute
from litestar.testing import create_test_client

from riverrun.app import create_app
from riverrun.controllers import body
from riverrun.controllers.limits import BodyPatience, Streams
from riverrun.controllers.problems import HANDLERS
from riverrun.errors import TooManyStreams
from riverrun.persistence.tables import DEFAULT_PROJECT
from riverrun.settings import Settings
from tests.controllers.api_kit import Program
from tests.controllers.socket_kit import refusal, talk
from tests.model_server import ModelServer
from tests.server import Server, serving

LIMIT = 6  # requests a minute
PROXY = "127.0.0.2"  # which may say for whom it asks
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def counting(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"RIVERRUN_REQUESTS_PER_MINUTE": str(LIMIT), "RIVERRUN_TRUSTED_PROXIES": PROXY}
    with Server(tmp_path_factory.mktemp("counting"), RIVERRUN_MODEL_URL=model.url, **settings).start() as running:
        yield running


@pytest.fixture(scope="module")
def narrow(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"RIVERRUN_STREAMS_PER_PERSON": "2", "RIVERRUN_TRUSTED_PROXIES": PROXY}
    with Server(tmp_path_factory.mktemp("narrow"), RIVERRUN_MODEL_URL=model.url, **settings).start() as running:
        yield running


def coming(server: Server, person: str, by: str = PROXY) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(local_address=by)
    headers = {"X-Forwarded-For": person}
    return httpx.AsyncClient(base_url=server.url, headers=headers, transport=transport, timeout=20)


# Requests a minute


async def test_who_asks_too_much_is_told_when_to_come_again(counting: Server) -> None:
    async with coming(counting, "10.0.0.1") as client:
        for left in reversed(range(LIMIT)):
            answer = await client.get("/api/teams")
            assert (answer.status_code, answer.headers["ratelimit-remaining"]) == (200, str(left))
        refused = await client.get("/api/teams")
    wait = refused.headers["retry-after"]
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "too_many_requests"
    assert refused.json()["detail"].endswith(f"Try again in {wait} s.")
    assert 0 < int(wait) <= 60
    async with coming(counting, "10.0.0.2") as other:
        assert (await other.get("/api/teams")).status_code == 200


async def test_people_are_told_in_the_page(counting: Server) -> None:
    async with coming(counting, "10.0.0.3") as client:
        for _ in range(LIMIT):
            await client.get("/tokens")
        page = await client.get("/tokens")
        notice = await client.post("/messages", data={"content": "hello"}, headers={"HX-Request": "true"})
        foreign = await client.get("/v1/models")
    for answer in (page, notice, foreign):
        assert answer.status_code == 429
        assert "more requests than one minute has room for" in answer.text
    assert page.headers["content-type"].startswith("text/html")
    assert "<" not in notice.text
    assert foreign.json()["error"]["code"] == "too_many_requests"


async def test_what_costs_little_is_not_counted(counting: Server) -> None:
    async with coming(counting, "10.0.0.4") as client:
        for _ in range(LIMIT):
            assert (await client.get("/static/base.css")).status_code == 200
            assert (await client.get("/health")).status_code == 200
        assert (await client.get("/api/teams")).headers["ratelimit-remaining"] == str(LIMIT - 1)


async def test_who_is_no_trusted_proxy_comes_for_itself(counting: Server) -> None:
    """Or everybody could be somebody else with each request."""
    people = [f"10.1.0.{number}" for number in range(LIMIT + 1)]
    assert await asked_by(counting, people, by="127.0.0.3") == [200] * LIMIT + [429]


async def test_what_a_client_has_told_the_proxy_is_not_believed(counting: Server) -> None:
    """A proxy adds from whom it comes to what it was told."""
    people = [f"10.2.0.{number}, 10.0.0.5" for number in range(LIMIT + 1)]
    assert await asked_by(counting, people) == [200] * LIMIT + [429]


async def test_all_addresses_of_a_network_of_ipv6_are_one_person(counting: Server) -> None:
    people = [f"2001:db8::{number}:1" for number in range(LIMIT + 1)]
    assert await asked_by(counting, people) == [200] * LIMIT + [429]
    assert await asked_by(counting, ["2001:db8:0:1::1"]) == [200]


async def asked_by(server: Server, people: list[str], by: str = PROXY) -> list[int]:
    """With which statuses they are answered, one after another."""
    statuses = []
    for person in people:
        async with coming(server, person, by) as client:
            statuses.append((await client.get("/api/teams")).status_code)
    return statuses


def from_there(person: str) -> dict[str, Any]:
    return {"local_addr": (PROXY, 0), "additional_headers": {"X-Forwarded-For": person}}


async def test_requests_over_a_socket_are_in_the_same_count(counting: Server) -> None:
    async with talk(counting.url, **from_there("10.0.0.6")) as client:
        for _ in range(LIMIT - 1):  # and one to connect
            assert (await client.ask("unfollow", run_id=str(uuid4())))["type"] == "unfollowed"
        for _ in range(LIMIT):
            assert (await client.ask("ping"))["type"] == "pong", "which keeps a connection and is no request"
        refused = await client.ask("send", content="hello")
        assert (refused["status"], refused["code"], refused["id"]) == (429, "too_many_requests", "1")
    async with coming(counting, "10.0.0.6") as program:
        assert (await program.get("/api/teams")).status_code == 429
    code, reason = await refusal(counting.url, **from_there("10.0.0.6"))
    assert code == 4429
    assert "Try again" in str(reason)


# Streams at once


@asynccontextmanager
async def held_run(server: Server, model: ModelServer, words: str) -> AsyncIterator[str]:
    """The id of a run that is at work until this is left."""
    gate = words.replace(" ", "-")
    model.script([{"text": "So"}, {"gate": gate}, {"text": " far"}], match=words, times=1)
    async with coming(server, "10.9.9.9") as client:
        program = Program(client)
        started = await program.start(await program.new_conversation(), words)
        try:
            yield started["run_id"]
        finally:
            model.open_gate(gate)
            await program.events(started["run_id"])


async def test_one_person_has_so_many_streams_at_once(narrow: Server, model: ModelServer) -> None:
    async with held_run(narrow, model, "many streams") as run, coming(narrow, "10.0.0.1") as client:
        events, page = f"/api/runs/{run}/events", f"/runs/{run}/stream"
        async with AsyncExitStack() as first:
            await first.enter_async_context(client.stream("GET", events))
            async with client.stream("GET", page):
                refused = await client.get(events)
                assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
                refused = await client.get(page, headers={"HX-Request": "true"})
                assert (refused.status_code, refused.headers["cache-control"]) == (429, "no-store")
                assert "You have 2 streams open" in refused.text
                assert (await client.get("/api/teams")).status_code == 200
                async with coming(narrow, "10.0.0.2") as other, other.stream("GET", events) as stream:
                    assert stream.status_code == 200
        await until_open(client, events)


async def until_open(client: httpx.AsyncClient, path: str) -> None:
    """The server hears a moment later that a client has left."""
    for _ in range(200):
        async with client.stream("GET", path) as stream:
            if stream.status_code == 200:
                return
        await asyncio.sleep(0.02)
    raise AssertionError("no stream was given back")


async def test_a_message_is_not_taken_whose_reply_could_not_be_streamed(narrow: Server, model: ModelServer) -> None:
    async with held_run(narrow, model, "not taken") as run, coming(narrow, "10.0.0.3") as client:
        events = f"/api/runs/{run}/events"
        conversation = await Program(client).new_conversation()
        async with client.stream("GET", events), client.stream("GET", events):
            refused = await client.post(f"/api/conversations/{conversation}/messages/stream", json={"content": "hello"})
            assert refused.status_code == 429
            assert await Program(client).messages(conversation) == []


async def test_a_socket_and_what_it_follows_are_streams(narrow: Server, model: ModelServer) -> None:
    there = from_there("10.0.0.4")
    async with held_run(narrow, model, "sockets are streams") as run, talk(narrow.url, **there) as client:
        assert (await client.ask("follow", run_id=run))["type"] == "following"
        await client.first_text(run)
        code, _ = await refusal(narrow.url, **there)
        assert code == 4429
        refused = await client.ask("send", content="and another")
        assert (refused["status"], refused["code"]) == (429, "too_many_streams")


def test_nobody_is_remembered_who_has_nothing_open() -> None:
    streams = Streams(1)
    with streams.held("her"):
        with pytest.raises(TooManyStreams), streams.held("her"):
            pass
        with streams.held("him"):
            pass
    assert not streams._open


def test_the_one_local_person_has_no_limits_by_default() -> None:
    alone, several = Settings(), Settings(auth="accounts")
    assert (alone.requests_limit, alone.streams_limit) == (0, 0)
    assert (several.requests_limit, several.streams_limit) == (1200, 200)
    assert Settings(auth="accounts", requests_per_minute=0).requests_limit == 0


# What one request brings


async def test_what_is_nested_too_deeply_is_refused_wherever_json_is_taken(program: Program) -> None:
    document = (await program.client.get("/schema/openapi.json")).json()
    taken = [
        (method, path) for path, item in document["paths"].items() for method in item if "requestBody" in item[method]
    ]
    assert len(taken) > 10
    conversation = await program.new_conversation()
    known = {"conversation_id": conversation, "project_id": str(DEFAULT_PROJECT)}
    for method, path in [*taken, ("post", "/v1/chat/completions"), ("post", "/agui/assistant")]:
        address = re.sub(r"{(\w+)}", lambda found: known.get(found[1], str(uuid4())), path)
        for content in (DEEP, f'{{"content": {DEEP}}}', f'{{"messages": {DEEP}}}', '{"a":' * 100_000):
            headers = {"Content-Type": "application/json"}
            answer = await program.client.request(method, address, content=content, headers=headers)
            assert answer.status_code == 400, (method, path)
            assert "nested too deeply" in answer.text or path.endswith("/import")


async def test_what_is_nested_too_deeply_is_refused_over_a_socket(server: Server) -> None:
    async with talk(server.url) as client:
        await client.socket.send(DEEP)
        assert (await client.hear())["status"] == 400
        await client.socket.send(f'{{"type": "send", "id": "1", "content": {DEEP}}}')
        assert (await client.hear())["status"] == 400
        assert (await client.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/api/conversations", "application/json"),
        ("/messages", "application/x-www-form-urlencoded"),
        ("/tokens", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_body_of_no_stated_length_is_counted_as_it_comes(program: Program, path: str, kind: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    answer = await program.client.post(path, content=endless(), headers={"Content-Type": kind})
    assert answer.status_code == 413
    assert "More was sent than is taken at once." in answer.text


def test_no_route_takes_a_body_of_any_size(tmp_path: Any) -> None:
    app = create_app(Settings(data=tmp_path, model="demo"))
    handlers = [handler for route in app.routes if isinstance(route, HTTPRoute) for handler in route.route_handlers]
    assert len(handlers) > 50
    sizes = {str(handler): handler.resolve_request_max_body_size() or 0 for handler in handlers}
    assert {name: size for name, size in sizes.items() if not 0 < size < 35_000_000} == {}


async def test_a_form_has_so_many_fields(program: Program) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    fields = "&".join(f"field{number}=x" for number in range(body.FIELD_LIMIT))
    answer = await program.client.post("/messages", content=f"content=&{fields}", headers=form)
    assert answer.status_code == 413
    assert "A form has up to 1,000 fields." in answer.text


async def test_a_form_with_files_has_so_many_parts(program: Program) -> None:
    files = [("file", (f"{number}.txt", b"x")) for number in range(body.FIELD_LIMIT + 1)]
    answer = await program.client.post(f"/p/{DEFAULT_PROJECT}/files", files=files)
    assert answer.status_code == 413
    assert "More was sent than is taken at once." in answer.text


def test_what_people_wrote_into_forms_is_not_kept_in_memory() -> None:
    @post("/form", sync_to_thread=False)
    def fill(data: Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]) -> None: ...

    with create_test_client([fill], request_class=body.Request) as client:
        for number in range(10):
            assert client.post("/form", data={"password": str(number)}).status_code == 201
    assert parse_url_encoded_form_data.cache_info().currsize <= 1


# Bodies that do not come


@post("/api/body")
async def take(request: Request[Any, Any, Any]) -> str:
    return str(len(await request.body()))


@asynccontextmanager
async def waiting(patience: float, slowest: float) -> AsyncIterator[int]:
    """The port of a server that takes bodies."""
    app = Litestar([take], middleware=[BodyPatience(patience, slowest)], exception_handlers=HANDLERS)
    async with serving(app) as port:
        yield port


HEAD = b"POST /api/body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with waiting(patience=0.2, slowest=1) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"x" * 500)
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"What was sent did not arrive in time." in answer


async def test_a_body_that_comes_by_the_byte_is_not_waited_for_either() -> None:
    async with waiting(patience=0.4, slowest=100_000) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        answer = asyncio.create_task(reader.read())
        for _ in range(900):
            if answer.done():
                break
            writer.write(b"x")
            await asyncio.wait({answer}, timeout=0.02)
        writer.close()
        assert (await answer).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_takes_its_time_and_comes_is_taken() -> None:
    async with waiting(patience=0.4, slowest=100) as port, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD)
        for _ in range(10):
            writer.write(b"x" * 100)
            await asyncio.sleep(0.1)
        answer = await reader.readuntil(b"1000")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 201 ")
