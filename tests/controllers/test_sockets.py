"""What a program can do over the WebSocket, with a public client."""

import asyncio
import json
import re
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest
import uvicorn
import websockets
from hypothesis import given, settings
from hypothesis import strategies as st

from riverrun.app import create_app
from riverrun.controllers import sockets
from riverrun.controllers.socket_messages import Refused, encode, parse
from riverrun.runs.journal import BACKLOG_LIMIT
from riverrun.serving import WebSocketProtocol
from riverrun.settings import Settings
from tests.controllers.api_kit import Json, Program, text_of, types_of
from tests.controllers.socket_kit import Talk, connect, refusal, talk
from tests.model_server import ModelServer
from tests.postgres import Postgres
from tests.server import Server, free_port


@pytest.fixture(scope="module")
def server(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the usual heartbeat, so that a busy machine is not taken for a client that has gone."""
    settings = {"RIVERRUN_MODEL_URL": model.url, "RIVERRUN_MESSAGE_LIMIT": "5000"}
    settings["RIVERRUN_ALLOWED_ORIGINS"] = "https://chat.example.org"
    with Server(tmp_path_factory.mktemp("sockets"), **settings).start() as running:
        yield running


@pytest.fixture(scope="module")
def restless(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"RIVERRUN_MODEL_URL": model.url, "RIVERRUN_HEARTBEAT": "0.2"}
    with Server(tmp_path_factory.mktemp("restless"), **settings).start() as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Talk]:
    async with talk(server.url) as client:
        yield client


@pytest.fixture
def own_server(model: ModelServer, tmp_path: Path) -> Iterator[Server]:
    """One that a test may stop, with the usual heartbeat."""
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url) as server:
        yield server


# Runs


async def test_a_connection_has_an_id_and_tells_its_heartbeat(server: Server) -> None:
    async with talk(server.url) as one, talk(server.url) as other:
        assert one.connected["heartbeat"] == 15
        assert one.connected["connection_id"] != other.connected["connection_id"]


async def test_a_message_is_sent_and_its_run_told_exactly_as_over_sse(
    client: Talk, program: Program, model: ModelServer
) -> None:
    model.script(
        [{"reasoning": "Hm."}, {"text": "Größe 🌊\n\n- one", "pieces": 3, "pause": 0.02}], match="as sse", times=1
    )
    started = await client.ask("send", id="my name for it", content="as sse")
    assert (started["type"], started["id"]) == ("started", "my name for it")
    told: list[str] = []
    while not told or not told[-1].startswith('{"type":"complete"'):
        told.append(await client.hear_text())
    stream = (await program.client.get(f"/api/runs/{started['run_id']}/events")).text
    assert told == [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: ")]
    end = json.loads(told[-1])
    assert end["message"]["id"] == started["message_id"]
    asked, answered = await program.messages(started["conversation_id"])
    assert (asked["id"], answered["content"]) == (started["user_message_id"], "Größe 🌊\n\n- one")


async def test_a_message_goes_into_a_conversation_a_project_and_a_team(client: Talk, program: Program) -> None:
    project = (await program.client.post("/api/projects", json={"name": "Socket"})).json()["id"]
    started = await client.start("first", project_id=project, team="coordinator", follow=False)
    conversation = (await program.client.get(f"/api/conversations/{started['conversation_id']}")).json()
    assert (conversation["project_id"], conversation["team"]) == (project, "coordinator")
    await program.events(started["run_id"])
    again = await client.start("second", conversation_id=started["conversation_id"], team="assistant")
    assert again["conversation_id"] == started["conversation_id"]
    events = (await client.events(again["run_id"]))[again["run_id"]]
    assert (events[0]["type"], events[0]["team"]) == ("start", "assistant")


async def test_several_runs_are_told_over_one_connection(client: Talk, model: ModelServer) -> None:
    model.script([{"text": "one "}, {"gate": "first-goes-on"}, {"text": "1"}], match="first of two", times=1)
    model.script([{"text": "two "}, {"gate": "second-goes-on"}, {"text": "2"}], match="second of two", times=1)
    first = (await client.start("first of two"))["run_id"]
    begun = await client.first_text(first)
    second = (await client.start("second of two"))["run_id"]
    begun_later = await client.first_text(second)
    model.open_gate("first-goes-on")
    ended_first = (await client.events(first))[first]
    model.open_gate("second-goes-on")
    ended_later = (await client.events(second))[second]
    for events, text in ((begun + ended_first, "one 1"), (begun_later + ended_later, "two 2")):
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert text_of(events) == text == events[-1]["message"]["content"]


async def test_a_run_is_followed_from_a_cursor(client: Talk, program: Program) -> None:
    started = await client.start("hello", follow=False)
    events = await program.events(started["run_id"])
    following = await client.ask("follow", id="f", run_id=started["run_id"], after=3)
    assert following == {"type": "following", "id": "f", "run_id": started["run_id"]}
    assert (await client.events(started["run_id"]))[started["run_id"]] == events[3:]
    assert (await client.ask("ping", id="after all"))["type"] == "pong"  # nothing comes after `complete`


async def test_a_lost_connection_is_resumed_by_its_cursor(server: Server, program: Program, model: ModelServer) -> None:
    model.script([{"text": "before "}, {"gate": "reconnected"}, {"text": "after"}], match="lose me", times=1)
    async with talk(server.url) as client:
        run = (await client.start("lose me"))["run_id"]
        seen = await client.first_text(run)
        client.socket.transport.abort()
    async with talk(server.url) as client:
        await client.ask("follow", run_id=run, after=seen[-1]["seq"])
        model.open_gate("reconnected")
        seen += (await client.events(run))[run]
    assert text_of(seen) == "before after"
    assert seen == await program.events(run)


async def test_a_cursor_at_the_end_of_a_run_is_told_that_nothing_comes(client: Talk) -> None:
    run = (await client.start("hello"))["run_id"]
    last = (await client.events(run))[run][-1]
    assert (await client.ask("follow", id="late", run_id=run, after=last["seq"]))["type"] == "following"
    assert await client.hear() == {"type": "unfollowed", "id": "late", "run_id": run}


async def test_unfollowing_ends_the_telling_and_not_the_run(client: Talk, program: Program, model: ModelServer) -> None:
    model.script([{"text": "seen "}, {"gate": "unfollowed"}, {"text": "unseen"}], match="look away", times=1)
    run = (await client.start("look away"))["run_id"]
    seen = await client.first_text(run)
    assert await client.ask("unfollow", id="u", run_id=run) == {"type": "unfollowed", "id": "u", "run_id": run}
    model.open_gate("unfollowed")
    events = await program.events(run)
    assert events[-1]["message"]["content"] == "seen unseen"
    assert (await client.ask("ping", id="next"))["id"] == "next"
    assert (await client.ask("unfollow", run_id=run))["type"] == "unfollowed"  # asking twice does no harm
    await client.ask("follow", run_id=run, after=seen[-1]["seq"])
    assert seen + (await client.events(run))[run] == events


async def test_following_and_unfollowing_in_one_breath(client: Talk, model: ModelServer) -> None:
    model.script([{"text": "quick"}, {"gate": "breath"}], match="one breath", times=1)
    run = (await client.start("one breath", follow=False))["run_id"]
    for _ in range(20):
        await client.say("follow", id="f", run_id=run)
        await client.say("unfollow", id="u", run_id=run)
        answers: list[Json] = []
        while not answers or answers[-1]["type"] != "unfollowed":
            answers.append(await client.hear())
        assert answers[0]["type"] == "following"
    model.open_gate("breath")
    await client.ask("follow", run_id=run)
    assert (await client.events(run))[run][-1]["status"] == "complete"


async def test_a_run_is_stopped(client: Talk, model: ModelServer) -> None:
    model.script([{"text": "so far"}, {"stall": True}], match="stop me", times=1)
    run = (await client.start("stop me"))["run_id"]
    await client.first_text(run)
    await client.say("cancel", id="c", run_id=run)
    told = [await client.hear()]
    while told[-1]["type"] != "complete":
        told.append(await client.hear())
    assert {"type": "cancelling", "id": "c", "run_id": run} in told
    assert (told[-1]["status"], told[-1]["message"]["content"]) == ("cancelled", "so far")
    assert (await client.ask("cancel", run_id=run))["type"] == "cancelling"  # one that has ended stays as it is


# What is refused


async def test_what_is_refused_is_told_as_over_http(client: Talk, program: Program, model: ModelServer) -> None:
    model.script([{"text": "busy"}, {"gate": "ws-free"}], match="keep busy", times=1)
    busy = await client.start("keep busy", follow=False)
    done = await client.start("hello", follow=False)
    await program.events(done["run_id"])
    nowhere, here, there = str(uuid4()), done["conversation_id"], busy["conversation_id"]

    async def same(message: Json, method: str, path: str, body: Json | None = None) -> None:
        refused = await client.ask(**message, id="mine")
        problem = (await program.client.request(method, path, json=body)).json()
        told = {name: problem.get(name) for name in ("status", "code", "detail", "field")}
        assert refused == {"type": "refused", "id": "mine", **told}

    async def same_send(into: str, **body: object) -> None:
        await same({"type": "send", "conversation_id": into, **body}, "POST", f"/api/conversations/{into}/runs", body)

    await same_send(here, content=" \n ")
    await same_send(here, content="x" * 5001)
    await same_send(here, content=3)
    await same_send(here)
    await same_send(here, content="x", team="nobody")
    await same_send(nowhere, content="x")
    await same_send(there, content="x")
    elsewhere = {"type": "send", "content": "x", "project_id": nowhere}
    await same(elsewhere, "POST", "/api/conversations", {"project_id": nowhere})
    await same({"type": "follow", "run_id": nowhere}, "GET", f"/api/runs/{nowhere}/events")
    beyond = {"type": "follow", "run_id": done["run_id"], "after": 999}
    await same(beyond, "GET", f"/api/runs/{done['run_id']}/events?after=999")
    await same({"type": "cancel", "run_id": nowhere}, "POST", f"/api/runs/{nowhere}/cancel")
    model.open_gate("ws-free")


async def test_a_run_is_not_followed_twice(client: Talk, model: ModelServer) -> None:
    model.script([{"text": "once"}, {"gate": "only-once"}], match="follow twice", times=1)
    run = (await client.start("follow twice"))["run_id"]
    await client.first_text(run)
    refused = await client.ask("follow", id="again", run_id=run)
    assert (refused["type"], refused["id"], refused["field"]) == ("refused", "again", "run_id")
    model.open_gate("only-once")
    assert types_of((await client.events(run))[run])[-1] == "complete"


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("", None),
        ("hello?", None),
        ("[]", None),
        ("{}", None),
        ('{"type":"sing","id":"s"}', "s"),
        ('{"type":"follow","id":"f","run_id":"1"}', "f"),
        ('{"type":"follow","id":"f","run_id":"8b1a9953-c461-4296-a827-abf8c47804d7","after":-1}', "f"),
        (
            '{"type":"follow","id":"f","run_id":"8b1a9953-c461-4296-a827-abf8c47804d7","after":99999999999999999999}',
            "f",
        ),
        ('{"type":"send","content":"no id"}', None),
        ('{"type":"send","id":7,"content":"a number for a name"}', None),
        ("[" * 100_000, None),
        ('{"type":"ping","id":' + '{"a":' * 50_000, None),
    ],
)
async def test_what_cannot_be_read_is_refused_and_the_connection_goes_on(
    client: Talk, text: str, id: str | None
) -> None:
    await client.socket.send(text)
    refused = await client.hear()
    assert (refused["type"], refused["status"], refused["code"], refused["id"]) == ("refused", 400, "invalid", id)
    assert await client.ask("ping", id="still here") == {"type": "pong", "id": "still here"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(["type", "id", "run_id", "after", "content", "conversation_id", "team", "token", "follow"])
TYPES = st.sampled_from(["auth", "send", "follow", "unfollow", "cancel", "ping", "pong", "connected", "refused"])
UUIDS = st.uuids().map(str)
NEARLY = st.tuples(TYPES, st.dictionaries(FIELDS, UUIDS | JSON, max_size=5)).map(lambda it: {"type": it[0], **it[1]})


@settings(deadline=None)
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")) | JSON.map(json.dumps) | NEARLY.map(json.dumps))
def test_whatever_comes_is_a_request_or_refused(text: str) -> None:
    request = parse(text)
    if isinstance(request, Refused):
        assert (request.status, request.code) == (400, "invalid")
        assert request.detail
    assert json.loads(encode(request))["type"]


# How a connection ends


async def test_a_binary_frame_is_not_understood(client: Talk) -> None:
    await client.socket.send(b'{"type":"ping"}')
    assert (await client.closed())[0] == 4400


async def test_a_message_that_is_too_large_ends_the_connection_with_a_clear_code(client: Talk) -> None:
    await client.socket.send("x" * 3_000_000)
    assert await client.closed() == (4413, "A message may have 1,000,000 bytes.")


async def test_one_connection_follows_so_many_runs(client: Talk, model: ModelServer, program: Program) -> None:
    model.script([{"gate": "a-hundred"}, {"text": "done"}], match="one of a hundred")
    runs = [await client.start("one of a hundred", follow=False) for _ in range(101)]
    for run in runs:
        await client.say("follow", id="f", run_id=run["run_id"])
    code, reason = await client.closed()
    assert (code, reason) == (4429, "One connection follows up to 100 runs; open another.")
    model.open_gate("a-hundred")
    for run in runs:
        assert (await program.events(run["run_id"]))[-1]["status"] == "complete"


async def test_who_answers_pings_stays_and_who_does_not_is_let_go(restless: Server) -> None:
    async with talk(restless.url) as answering, talk(restless.url) as silent:
        assert answering.connected["heartbeat"] == 0.2
        closed = asyncio.create_task(silent.closed())
        for pings in range(100):
            if closed.done() and pings > 8:
                break
            assert await answering.socket.recv() == '{"type":"ping"}'
            await answering.say("pong")
        assert closed.done()
        assert await closed == (4408, "3 pings were not answered.")
        assert (await answering.ask("ping", id=None)) == {"type": "pong", "id": None}


async def test_a_client_that_only_listens_is_asked_too(restless: Server, model: ModelServer) -> None:
    """It could have gone without a word, and what it is told would not find out."""
    model.script([{"text": "x" * 400, "per": 1, "pause": 0.01}], match="keep talking", times=1)
    async with talk(restless.url) as client:
        await client.start("keep talking")
        told = types_of(await client.to_the_end())
        assert client.socket.close_code == 4408
    assert told.count("ping") == 3
    assert "agent_chunk" in told
    assert "complete" not in told  # it was asked while it was told things


@pytest.mark.parametrize("origin", [None, "https://chat.example.org", "itself"])
async def test_programs_and_pages_that_are_allowed_get_in(server: Server, origin: str | None) -> None:
    async with talk(server.url, origin=server.url if origin == "itself" else origin) as client:
        assert (await client.ask("ping"))["type"] == "pong"


@pytest.mark.parametrize("origin", ["https://evil.example.org", "null", "http://127.0.0.1:1"])
async def test_pages_of_other_sites_are_told_why_not(server: Server, origin: str) -> None:
    code, reason = await refusal(server.url, origin=origin)
    assert (code, reason) == (4403, "This page is from another site; RIVERRUN_CORS_ORIGINS can let it in.")


async def test_a_token_comes_first_or_not_at_all(server: Server) -> None:
    async with talk(server.url) as client:
        await client.say("auth", token="of-another-kind")
        assert (await client.ask("ping"))["type"] == "pong"
        assert (await client.ask("auth", token="of-another-kind"))["status"] == 400
    async with talk(server.url, additional_headers={"Authorization": "Bearer of-another-kind"}) as client:
        assert (await client.ask("auth", token="rr_another"))["status"] == 400


async def test_a_run_outlives_the_connection_that_started_it(
    server: Server, program: Program, model: ModelServer
) -> None:
    model.script([{"text": "alone "}, {"gate": "ws-left"}, {"text": "at home"}], match="leave me", times=1)
    async with talk(server.url) as client:
        run = (await client.start("leave me"))["run_id"]
        await client.first_text(run)
    model.open_gate("ws-left")
    assert (await program.events(run))[-1]["message"]["content"] == "alone at home"


async def test_a_shutdown_closes_connections_so_that_they_come_back(own_server: Server, model: ModelServer) -> None:
    model.script([{"text": "almost "}, {"gate": "ws-goodbye"}, {"text": "done"}], match="restart under me", times=1)
    own_server.start()
    async with talk(own_server.url) as client:
        run = (await client.start("restart under me"))["run_id"]
        seen = await client.first_text(run)
        own_server.terminate()
        assert (await client.closed())[0] == 1012
    model.open_gate("ws-goodbye")
    await asyncio.to_thread(own_server.wait)
    own_server.start()
    async with talk(own_server.url) as client:
        await client.ask("follow", run_id=run, after=seen[-1]["seq"])
        seen += (await client.events(run))[run]
    assert seen[-1]["message"]["content"] == text_of(seen) == "almost done"
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))
    assert "Traceback" not in own_server.log.read_text()


async def test_a_database_that_stays_away_ends_the_connection_and_not_the_cursor(
    own_server: Server, model: ModelServer, postgres: Postgres
) -> None:
    model.script([{"text": "kept "}, {"gate": "ws-gone"}, {"text": "lost"}], match="ws outage", times=1)
    model.script([{"text": "whole"}], match="ws outage", times=1)
    own_server.start(RIVERRUN_DATABASE_URL=postgres.create_database(), RIVERRUN_DATABASE_PATIENCE="0.5")
    async with talk(own_server.url) as client, talk(own_server.url) as other:
        run = (await client.start("ws outage"))["run_id"]
        seen = await client.first_text(run)
        with postgres.away():
            model.open_gate("ws-gone")
            assert (await client.closed())[0] == 4503
            for message in ({"type": "send", "content": "now?"}, {"type": "follow", "run_id": run}):
                refused = await other.ask(**message)
                assert (refused["type"], refused["status"]) == ("refused", 503)
                assert refused["code"] == "database_unavailable"
        for _ in range(100):  # until the server has found its database again
            following = await other.ask("follow", run_id=run, after=seen[-1]["seq"])
            if following["type"] == "following":
                break
            await asyncio.sleep(0.1)
        seen += (await other.events(run))[run]
    assert types_of(seen)[-1] == "complete"
    assert text_of(seen) == "kept whole"  # what the run wrote before, and the whole of what it wrote after it
    assert [event["seq"] for event in seen] == list(range(1, len(seen) + 1))


# Clients that do not read


async def test_a_reader_that_stops_for_a_while_gets_every_event_once(own_server: Server, model: ModelServer) -> None:
    # More than all buffers on the way hold, in more parts than a follower may have in memory.
    model.script([{"text": "0123456789" * 200_000, "per": 5000, "pause": 0.012}], match="a flood", times=1)
    own_server.start()
    async with (
        httpx.AsyncClient(base_url=own_server.url, timeout=60) as http,
        talk(own_server.url, sock=narrow(own_server.port), max_queue=2) as client,
    ):
        run = (await client.start("a flood"))["run_id"]
        events = await Program(http).events(run)  # until it has ended, while the other client reads nothing
        assert (await client.events(run))[run] == events
        assert len(events) > BACKLOG_LIMIT
        assert len(text_of(events)) == 2_000_000


def narrow(port: int) -> socket.socket:
    """A connection that takes in little by itself."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.connect(("127.0.0.1", port))
    connection.setblocking(False)
    return connection


class Impatient(WebSocketProtocol):
    patience = 0.3


class Abrupt(Impatient):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.close_timeout = 0.2


@asynccontextmanager
async def serving(
    folder: Path, model: ModelServer, protocol: type[WebSocketProtocol] = WebSocketProtocol, **options: Any
) -> AsyncIterator[str]:
    """riverrun in this process, where its tasks can be seen."""
    app = create_app(Settings(data=folder, model_url=model.url, **options))
    port = free_port()
    config = uvicorn.Config(
        app, port=port, ws=protocol, ws_ping_interval=None, ws_per_message_deflate=False, log_level="warning"
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to that")


def follows() -> int:
    return tasks_named("follow ")


def tasks_named(start: str) -> int:
    return sum(task.get_name().startswith(start) for task in asyncio.all_tasks())


def no_follows() -> bool:
    return follows() == 0


async def test_who_takes_nothing_is_let_go_and_comes_back_by_cursor(model: ModelServer, tmp_path: Path) -> None:
    model.script([{"text": "0123456789" * 200_000, "per": 5000}], match="takes nothing", times=1)
    async with serving(tmp_path, model, Impatient) as url:
        async with talk(url, sock=narrow(int(url.rsplit(":", 1)[1])), max_queue=1) as client:
            run = (await client.start("takes nothing"))["run_id"]
            await eventually(no_follows)  # the server lets go of it
            seen = await client.to_the_end()
            assert client.socket.close_code == 4408
            assert client.socket.close_reason == "Nothing was taken for 0.3 s."
        async with talk(url) as client:
            await client.ask("follow", run_id=run, after=seen[-1]["seq"])
            rest = (await client.events(run))[run]
    assert rest
    assert [event["seq"] for event in seen + rest] == list(range(1, len(seen) + len(rest) + 1))
    assert text_of(seen + rest) == "0123456789" * 200_000


async def test_who_never_reads_again_is_cut_off(model: ModelServer, tmp_path: Path) -> None:
    model.script([{"text": "0123456789" * 200_000, "per": 5000}], match="never reads", times=1)
    async with serving(tmp_path, model, Abrupt) as url:
        connection = narrow(int(url.rsplit(":", 1)[1]))
        async with talk(url, sock=connection, max_queue=1, close_timeout=0.1) as client:
            await client.start("never reads")
            await eventually(no_follows)
            with pytest.raises(websockets.ConnectionClosedError):
                await talk_on(client)
            assert client.socket.close_code == 1006


async def talk_on(client: Talk) -> None:
    """Who does not read finds out by writing that the connection was cut."""
    for _ in range(2000):
        await client.say("pong")
        await asyncio.sleep(0.01)


async def test_a_client_that_leaves_takes_its_follows_with_it(model: ModelServer, tmp_path: Path) -> None:
    model.script([{"text": "on and on"}, {"gate": "nobody-there"}], match="left alone")
    async with serving(tmp_path, model) as url:
        async with talk(url) as client:
            for _ in range(3):
                await client.first_text((await client.start("left alone"))["run_id"])
            assert follows() == 3
            client.socket.transport.abort()
            await client.socket.wait_closed()
        await eventually(no_follows)
        model.open_gate("nobody-there")


async def test_a_run_whose_client_leaves_while_it_is_saved_is_worked_on(model: ModelServer, tmp_path: Path) -> None:
    async with serving(tmp_path, model, heartbeat=0.1) as url, httpx.AsyncClient(base_url=url) as http:
        async with talk(url) as client, locked(tmp_path / "riverrun.db"):
            await client.say("send", id="1", content="hello")
            client.socket.transport.close()
            await eventually(lambda: tasks_named("beat ") == 0)  # what was left of the connection has ended
        program = Program(http)
        conversations: list[Json] = []
        while not conversations:
            conversations = (await http.get("/api/conversations")).json()
        run = (await program.messages(conversations[0]["id"]))[1]["run_id"]
        async with asyncio.timeout(20):
            assert (await program.events(run))[-1]["status"] == "complete"


@asynccontextmanager
async def locked(database: Path) -> AsyncIterator[None]:
    """While this is entered nothing can be saved. What is being saved before that needs the loop to get done."""
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as connection:
        await asyncio.to_thread(connection.execute, "BEGIN IMMEDIATE")
        yield


# Tokens


class Guarded(NamedTuple):
    """A riverrun that wants tokens, with one of each scope."""

    url: str
    tokens: dict[str, str]

    def header(self, scope: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[scope]}"}


@pytest.fixture
async def guarded(model: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guarded]:
    monkeypatch.setattr(sockets, "AUTH_PATIENCE", 0.5)
    async with serving(tmp_path, model, api_tokens="required") as url, httpx.AsyncClient(base_url=url) as http:
        made = {scope: await http.post("/tokens", data={"name": scope, "scope": scope}) for scope in ("read", "chat")}
        yield Guarded(url, {scope: re.findall(r"rr_[\w-]{40,}", page.text)[0] for scope, page in made.items()})


async def test_a_token_comes_in_the_header_or_in_the_first_message(guarded: Guarded) -> None:
    async with talk(guarded.url, additional_headers=guarded.header("read")) as client:
        assert (await client.ask("ping"))["type"] == "pong"
    async with connect(guarded.url) as socket:
        client = Talk(socket, {})
        await client.say("auth", token=guarded.tokens["read"])
        assert (await client.hear())["type"] == "connected"
        assert (await client.ask("auth", token=guarded.tokens["read"]))["status"] == 400


@pytest.mark.parametrize("first", ['{"type":"auth","token":"rr_wrong"}', '{"type":"ping"}', "hello?", None])
async def test_without_a_token_nobody_gets_in(guarded: Guarded, first: str | None) -> None:
    async with connect(guarded.url) as socket:
        if first is not None:
            await socket.send(first)
        assert (await Talk(socket, {}).closed())[0] == 4401
    assert (await refusal(guarded.url, additional_headers={"Authorization": "Bearer rr_wrong"}))[0] == 4401


async def test_a_token_opens_what_its_scope_says(guarded: Guarded) -> None:
    async with talk(guarded.url, additional_headers=guarded.header("chat")) as client:
        run = (await client.start("hello"))["run_id"]
        assert (await client.events(run))[run][-1]["type"] == "complete"
    async with talk(guarded.url, additional_headers=guarded.header("read")) as client:
        for request in ({"type": "send", "content": "hello"}, {"type": "cancel", "run_id": run}):
            assert (await client.ask(**request))["status"] == 403
        await client.ask("follow", run_id=run)
        assert (await client.events(run))[run][-1]["type"] == "complete"


async def test_a_token_that_is_revoked_ends_what_it_opened(guarded: Guarded) -> None:
    async with talk(guarded.url, additional_headers=guarded.header("chat")) as client:
        await client.start("hello")
        async with httpx.AsyncClient(base_url=guarded.url) as http:
            for address in re.findall(r"/tokens/[\w-]+/revocations", (await http.get("/tokens")).text):
                assert (await http.post(address)).status_code == 303
        await client.say("send", id="late", content="hello again")
        assert (await client.closed())[0] == 4401
