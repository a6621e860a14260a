"""Runs over one WebSocket, with a real server, and with one that misbehaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from riverrun.agents.events import AgentChunk, Event, Interaction
from riverrun.client import Client, ClientError, Refused, Retry, Socket, Uncertain, Unreachable
from riverrun.client import socket as socket_module
from tests.client.line import Line
from tests.client.reading import check, read_through_a_restart
from tests.client.stub import RUN, chunk, complete
from tests.model_server import ModelServer
from tests.server import Server


@pytest.fixture
async def socket(client: Client) -> AsyncIterator[Socket]:
    async with client.socket() as socket:
        yield socket


async def test_a_run_is_started_and_followed(client: Client, socket: Socket) -> None:
    run = await socket.send("over a socket")
    events = [event async for event in run.events()]
    assert "over a socket" in (await run.reply()).text
    assert events == [event async for event in client.follow(run.id)]
    assert (events[0].run_id, events[-1].run_id) == (run.id, run.id)
    assert socket.connection_id


async def test_what_agents_do_arrives_with_what_they_say(client: Client, socket: Socket) -> None:
    run = await socket.send("who knows?", team="coordinator")
    events = [event async for event in run.events()]
    assert any(isinstance(event, Interaction) for event in events), "needs an event whose fields may be null"
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert events == [event async for event in client.follow(run.id)]


async def test_many_runs_over_one_connection(server: Server, model: ModelServer) -> None:
    model.script([{"text": "first"}, {"gate": "interleaved"}, {"text": " and last"}], match="the slow one", times=1)
    async with Line(server.port).running() as line, Client(line.url).socket() as socket:
        slow = await socket.send("the slow one")
        runs = [await socket.send(f"question {number}") for number in range(20)]
        waiting = asyncio.create_task(slow.reply())
        replies = await asyncio.gather(*(run.reply() for run in runs))
        assert [f"question {number}" in reply.text for number, reply in enumerate(replies)] == [True] * 20
        assert not waiting.done()
        model.open_gate("interleaved")
        assert (await waiting).text == "first and last"
        assert line.opened == 1


async def test_conversation_team_and_project_are_those_that_were_named(client: Client, socket: Socket) -> None:
    first = await socket.send("hello", team="coordinator")
    assert (await first.reply()).team == "coordinator"
    second = await socket.send("and now", conversation=first.conversation_id)
    assert second.conversation_id == first.conversation_id
    assert (await second.reply()).team == "coordinator"
    with pytest.raises(Refused) as refused:
        await socket.send("hello", project=uuid4())
    assert refused.value.status == 404


async def test_a_run_is_stopped(socket: Socket, model: ModelServer) -> None:
    model.script([{"text": "Once upon"}, {"stall": True}], match="over a socket, never", times=1)
    run = await socket.send("over a socket, never ending")
    async with aclosing(run.events()) as events:
        async for event in events:
            if isinstance(event, AgentChunk):
                await run.cancel()
    reply = await run.reply()
    assert (reply.status, reply.text) == ("cancelled", "Once upon")


async def test_a_run_is_followed_from_any_cursor_left_and_taken_up_again(socket: Socket) -> None:
    run = await socket.send("come and go")
    events = [event async for event in run.events()]
    for cursor in range(len(events) + 1):
        assert [event async for event in socket.follow(run.id, cursor)] == events[cursor:]
    for _ in range(3):
        async with aclosing(run.events()) as some:
            assert await anext(some) == events[0]
    with pytest.raises(Refused) as refused:
        _ = [event async for event in run.events(10_000)]
    assert refused.value.status == 400


async def test_a_run_is_followed_once_at_a_time(socket: Socket) -> None:
    run = await socket.send("twice")
    async with aclosing(run.events()) as events:
        await anext(events)
        with pytest.raises(ClientError, match="already"):
            await anext(run.events())


async def test_a_server_refuses_a_request_and_goes_on_with_the_others(socket: Socket) -> None:
    with pytest.raises(Refused) as refused:
        await socket.cancel(uuid4())
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    with pytest.raises(Refused) as refused:
        await socket.send(" ")
    assert refused.value.status == 400
    assert await socket.ping() > 0


async def test_who_reads_slowly_misses_nothing_and_holds_nobody_up(
    socket: Socket, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_module, "ROOM", 4)
    model.script([{"text": "word " * 60, "per": 5, "pause": 0.01}], match="more than is read", times=1)
    run = await socket.send("more than is read")
    async with aclosing(run.events()) as events:
        read = [await anext(events)]
        assert "hurry" in (await (await socket.send("hurry")).reply()).text
        async for event in events:
            read.append(event)
            await socket.ping()
    check(read, "word " * 60)


async def test_a_connection_that_is_cut_is_made_again_for_all_runs(server: Server, model: ModelServer) -> None:
    for name in ("a", "b"):
        steps = [{"text": f"{name} before "}, {"gate": f"cut-{name}"}, {"text": "after"}]
        model.script(steps, match=f"cut socket {name}", times=1)
    async with Line(server.port).running() as line, Client(line.url, backoff=0.01).socket() as socket:
        runs = [await socket.send(f"cut socket {name}") for name in ("a", "b")]
        arrived = [asyncio.Event(), asyncio.Event()]

        async def read(number: int) -> list[Event]:
            events = []
            async for event in runs[number].events():
                events.append(event)
                if isinstance(event, AgentChunk):
                    arrived[number].set()
            return events

        reading = [asyncio.create_task(read(number)) for number in (0, 1)]
        await asyncio.gather(*(event.wait() for event in arrived))
        line.cut()
        model.open_gate("cut-a")
        model.open_gate("cut-b")
        check(await reading[0], "a before after")
        check(await reading[1], "b before after")
        assert line.opened == 2


async def test_who_asks_just_when_the_connection_breaks_asks_over_the_next_one(socket: Socket) -> None:
    """Before the socket has noticed; asking again and again, it would never come to that."""
    assert socket._link
    socket._link.transport.abort()
    await asyncio.sleep(0)
    assert await socket.ping() > 0


@pytest.mark.parametrize("seed", range(4))
async def test_a_line_that_breaks_again_and_again_loses_and_repeats_nothing(
    server: Server, model: ModelServer, seed: int
) -> None:
    texts = [f"{name}: Wörter – über die Elbe 🌊\r\n" * 40 for name in ("a", "b", "c")]
    async with Line(server.port).running() as line, Client(server.url) as starter:
        runs = []
        for number, text in enumerate(texts):
            model.script([{"text": text, "per": 10, "pause": 0.001}], match=f"crumbs {seed} {number}", times=1)
            runs.append(await starter.send(f"crumbs {seed} {number}"))
        line.crumble(seed, 1, 9000)
        async with Client(line.url, backoff=0.001, attempts=100).socket() as socket:
            read = await asyncio.gather(*(everything(socket, run.id) for run in runs))
        assert line.opened > 2, "or nothing was broken"
        for events, text in zip(read, texts, strict=True):
            check(events, text)


async def test_a_server_that_is_killed_and_started_again_is_followed_to_the_end(
    model: ModelServer, tmp_path: Path
) -> None:
    model.script([{"text": "Before it. "}, {"gate": "fallen"}, {"text": "After it."}], match="survive over a socket")
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url).start() as server:
        async with Client(server.url, backoff=0.3, attempts=20).socket() as socket:
            run = await socket.send("survive over a socket")
            await read_through_a_restart(run, server, model, "fallen")


async def everything(socket: Socket, run_id: UUID) -> list[Event]:
    return [event async for event in socket.follow(run_id)]


# A server that misbehaves

Talk = Callable[[ServerConnection], Awaitable[None]]


class Scripted:
    """Each connection is talked to by the next of the `talks`, and those after by the last."""

    def __init__(self, *talks: Talk | HTTPStatus) -> None:
        self._talks = list(talks)
        self.headers: list[dict[str, str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Scripted"]:
        async with serve(self._serve, "127.0.0.1", 0, process_request=self._answer, ping_interval=None) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield self

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append({name.lower(): value for name, value in request.headers.raw_items()})
        if isinstance(self._talks[0], HTTPStatus):
            return connection.respond(self._next(), "<html>")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        await self._next()(connection)

    def _next(self) -> Any:
        return self._talks.pop(0) if len(self._talks) > 1 else self._talks[0]


async def welcome(connection: ServerConnection, heartbeat: float = 15) -> None:
    await connection.send(json.dumps({"type": "connected", "connection_id": "c", "heartbeat": heartbeat}))


async def take(connection: ServerConnection, type: str) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(await connection.recv())
    assert message["type"] == type
    return message


async def follow(connection: ServerConnection, *events: bytes) -> int:
    """Answers a request to follow with these events; from which cursor it was."""
    asked = await take(connection, "follow")
    await connection.send(json.dumps({"type": "following", "id": asked["id"], "run_id": asked["run_id"]}))
    for event in events:
        await connection.send(event.split(b"data: ")[1].strip(), text=True)
    return int(asked["after"])


async def end(connection: ServerConnection) -> None:
    await welcome(connection)
    await follow(connection, chunk(1), complete(2))
    await connection.wait_closed()


def closing(code: int, reason: str = "A sentence.") -> Talk:
    async def talk(connection: ServerConnection) -> None:
        await connection.close(code, reason)

    return talk


async def followed(scripted: Scripted, **options: Any) -> list[int]:
    async with scripted.running(), Client(scripted.url, backoff=0.001, **options).socket() as socket:
        return [event.seq for event in await everything(socket, UUID(RUN))]


@pytest.mark.parametrize(("code", "status"), [(4400, 400), (4401, 401), (4403, 403), (4413, 413), (4429, 429)])
async def test_what_is_refused_is_not_asked_again(code: int, status: int) -> None:
    scripted = Scripted(closing(code))
    with pytest.raises(Refused, match=r"^A sentence\.$") as refused:
        await followed(scripted)
    assert refused.value.status == status
    assert len(scripted.headers) == 1


@pytest.mark.parametrize("code", [1001, 1011, 1012, 4408, 4503])
async def test_a_server_that_closes_for_now_is_connected_again(code: int) -> None:
    assert await followed(Scripted(closing(code), end)) == [1, 2]


async def test_five_attempts_then_it_gives_up() -> None:
    retries: list[Retry] = []
    with pytest.raises(Unreachable, match="Restarting"):
        await followed(Scripted(closing(1012, "Restarting.")), on_retry=retries.append)
    assert [retry.attempt for retry in retries] == [1, 2, 3, 4, 5]
    with pytest.raises(Refused) as refused:
        await followed(Scripted(closing(4503)))
    assert refused.value.status == 503


async def test_a_connection_that_is_lost_for_good_ends_what_waits_for_it() -> None:
    async def once(connection: ServerConnection) -> None:
        await welcome(connection)
        await follow(connection, chunk(1))

    scripted = Scripted(once, HTTPStatus.BAD_GATEWAY)
    async with scripted.running(), Client(scripted.url, backoff=0.001).socket() as socket:
        events = socket.follow(UUID(RUN))
        assert (await anext(events)).seq == 1
        with pytest.raises(Refused) as refused:
            await anext(events)
        assert refused.value.status == 502
        with pytest.raises(Refused):
            await socket.ping()


async def test_a_handshake_that_is_refused_is_told_and_one_that_fails_is_made_again() -> None:
    with pytest.raises(Refused, match="The server answers 404 Not Found"):
        await followed(Scripted(HTTPStatus.NOT_FOUND))
    assert await followed(Scripted(HTTPStatus.SERVICE_UNAVAILABLE, end)) == [1, 2]


async def test_a_silent_server_is_left_after_three_heartbeats() -> None:
    async def silent(connection: ServerConnection) -> None:
        await welcome(connection, heartbeat=0.02)
        await connection.wait_closed()

    assert await followed(Scripted(silent, end)) == [1, 2]


async def test_a_ping_is_answered() -> None:
    heard = []

    async def pinging(connection: ServerConnection) -> None:
        await welcome(connection)
        await follow(connection)
        await connection.send('{"type":"ping"}')
        await connection.send(chunk(1).split(b"data: ")[1].strip(), text=True)
        await connection.send(complete(2).split(b"data: ")[1].strip(), text=True)
        heard.extend([json.loads(message)["type"] async for message in connection])

    assert await followed(Scripted(pinging)) == [1, 2]
    assert heard == ["pong"], "and then a proper end"


async def test_what_is_missing_or_broken_is_read_again_from_the_cursor() -> None:
    cursors = []

    async def talk(connection: ServerConnection) -> None:
        await welcome(connection)
        cursors.append(await follow(connection, chunk(1), chunk(3)))
        left = await take(connection, "unfollow")
        await connection.send(json.dumps({"type": "unfollowed", "id": left["id"], "run_id": RUN}))
        cursors.append(await follow(connection, chunk(2), b"data: {broken", chunk(4)))
        left = await take(connection, "unfollow")
        await connection.send(json.dumps({"type": "unfollowed", "id": left["id"], "run_id": RUN}))
        cursors.append(await follow(connection, chunk(3), chunk(4), complete(5)))
        await connection.wait_closed()

    assert await followed(Scripted(talk)) == [1, 2, 3, 4, 5]
    assert cursors == [0, 1, 2]


async def test_a_message_that_went_with_the_connection_is_not_sent_again() -> None:
    sent = []

    async def talk(connection: ServerConnection) -> None:
        await welcome(connection)
        sent.append(await take(connection, "send"))

    scripted = Scripted(talk)
    async with scripted.running(), Client(scripted.url, backoff=0.001).socket() as socket:
        with pytest.raises(Uncertain):
            await socket.send("hello")
    assert len(sent) == 1


async def test_a_token_goes_with_the_handshake() -> None:
    scripted = Scripted(end)
    async with scripted.running(), Client(scripted.url, "rr_secret").socket() as socket:
        await everything(socket, UUID(RUN))
    assert scripted.headers[0]["authorization"] == "Bearer rr_secret"


async def test_where_nobody_answers_it_says_so() -> None:
    async with Scripted(end).running() as gone:
        url = gone.url
    with pytest.raises(Unreachable, match="Nothing answers there"):
        async with Client(url, attempts=1, backoff=0.001).socket():
            pytest.fail("it is not connected")
