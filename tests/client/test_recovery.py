"""What the client makes of a server, and of a line to it, that do not behave."""

import logging
from typing import Any
from uuid import UUID

import pytest

from riverrun.agents.events import Complete, Event
from riverrun.client import Client, Refused, Retry, Run, Uncertain, Unreachable
from tests.client.stub import (
    HANG_UP,
    RUN,
    STREAM,
    Stub,
    answer,
    chunk,
    complete,
    event,
    message,
    problem,
    stream,
)

CONVERSATION = "01a1fd67-cbe1-70a2-8146-098bb7a5b506"
STARTED = answer(202, {"run_id": RUN, "message_id": RUN})
MADE = answer(201, {"id": CONVERSATION})


async def followed(stub: Stub, after: int = 0, **options: Any) -> list[Event]:
    """All events that a client gets from there."""
    async with stub.running(), Client(stub.url, **{"backoff": 0.001} | options) as client:
        return [event async for event in client.follow(UUID(RUN), after)]


async def test_five_attempts_with_growing_pauses_then_it_gives_up() -> None:
    retries: list[Retry] = []
    stub = Stub(HANG_UP)
    with pytest.raises(Unreachable, match="The connection was lost"):
        await followed(stub, on_retry=retries.append)
    assert [(retry.attempt, retry.attempts) for retry in retries] == [(n, 5) for n in range(1, 6)]
    assert len(stub.requests) == 6
    for n, retry in enumerate(retries):
        assert 0.0005 * 2**n <= retry.delay <= 0.001 * 2**n


async def test_every_event_brings_all_attempts_back() -> None:
    stub = Stub(*(part for seq in range(1, 9) for part in (stream(chunk(seq)), HANG_UP)), stream(complete(9)))
    events = await followed(stub, attempts=2)
    assert [event.seq for event in events] == list(range(1, 10))
    assert stub.cursors == [0, *(seq for seq in range(1, 9) for _ in range(2))]


async def test_a_stream_that_ends_without_the_end_of_the_run_is_asked_for_again() -> None:
    stub = Stub(stream(chunk(1)), stream(), stream(chunk(2), complete(3)))
    assert [event.seq for event in await followed(stub)] == [1, 2, 3]
    assert stub.cursors == [0, 1, 1]


async def test_an_event_that_arrived_in_part_is_asked_for_again() -> None:
    stub = Stub(stream(chunk(1), chunk(2)[:-20]), stream(chunk(2), complete(3)[:-1]), stream(complete(3)))
    assert [event.seq for event in await followed(stub)] == [1, 2, 3]
    assert stub.cursors == [0, 1, 2]


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_server_or_proxy_that_is_away_for_a_moment_is_asked_again(status: int) -> None:
    stub = Stub(answer(status), stream(chunk(1)), answer(status), stream(complete(2)))
    assert [event.seq for event in await followed(stub)] == [1, 2]


async def test_a_server_that_names_a_time_is_given_it() -> None:
    retries: list[Retry] = []
    stub = Stub(answer(503, Retry_After="1"), stream(complete(1)))
    await followed(stub, on_retry=retries.append)
    assert [retry.delay for retry in retries] == [1.0]


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500])
async def test_what_is_refused_is_not_asked_again(status: int) -> None:
    stub = Stub(problem(status, "word", "A sentence."))
    with pytest.raises(Refused, match=r"^A sentence\.$") as refused:
        await followed(stub)
    assert len(stub.requests) == 1
    assert (refused.value.status, refused.value.code) == (status, "word")


async def test_a_refusal_by_something_else_is_told_by_its_status() -> None:
    with pytest.raises(Refused, match=r"^The server answers 403 Forbidden\.$"):
        await followed(Stub(b"HTTP/1.1 403 No\r\nContent-Length: 6\r\n\r\n<html>"))


async def test_a_database_that_is_away_is_waited_for_at_the_same_cursor() -> None:
    away = message('{"type":"error","seq":0,"message":"Away.","code":"database_unavailable"}', "error")
    stub = Stub(stream(chunk(1), away), stream(away), stream(complete(2)))
    assert [event.seq for event in await followed(stub)] == [1, 2]
    assert stub.cursors == [0, 1, 1]
    with pytest.raises(Refused, match=r"^Away\.$") as refused:
        await followed(Stub(stream(away)))
    assert (refused.value.status, refused.value.code) == (503, "database_unavailable")


async def test_a_line_that_is_dead_without_a_word_is_noticed() -> None:
    stub = Stub(stream(chunk(1)), stream(complete(2)), silence=60)
    assert [event.seq for event in await followed(stub, heartbeat=0.05)] == [1, 2]
    with pytest.raises(Unreachable, match="does not answer in time"):
        await followed(Stub(stream(), silence=60), heartbeat=0.02)


async def test_a_connection_that_was_good_for_a_heartbeat_brings_all_attempts_back() -> None:
    """As behind a proxy that ends connections in which nothing is said, while a run has nothing to tell."""
    stub = Stub(stream(), stream(), stream(), stream(complete(1)), silence=0.3)
    assert [event.seq for event in await followed(stub, attempts=1, heartbeat=0.2)] == [1]


async def test_a_run_that_has_ended_before_the_cursor_has_no_events() -> None:
    assert await followed(Stub(answer(204)), after=7) == []


async def test_nothing_is_told_twice() -> None:
    stub = Stub(stream(chunk(1), chunk(1), chunk(2)), stream(chunk(1), chunk(2), complete(3), complete(3)))
    assert [event.seq for event in await followed(stub)] == [1, 2, 3]


async def test_what_a_newer_server_tells_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    unknown = (event("telepathy", 1, strength=9), event("progress", 2, fraction=0.5, colour="blue"))
    other = event("interaction", 3, turn=1, kind="dance")
    stub = Stub(stream(*unknown, other, complete(4)))
    assert [event.seq for event in await followed(stub)] == [2, 4]
    assert len(stub.requests) == 1
    assert [record.levelno for record in caplog.records if record.name == "riverrun.client"] == [logging.WARNING] * 2


async def test_a_broken_event_is_read_again() -> None:
    stub = Stub(stream(chunk(1), message('{"type":"agent', "agent_chunk", 2)), stream(chunk(2), complete(3)))
    assert [event.seq for event in await followed(stub)] == [1, 2, 3]
    assert stub.cursors == [0, 1]


async def test_an_event_that_stays_broken_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    broken = message("\x00\x01", "agent_chunk", 2)
    stub = Stub(stream(chunk(1), broken), stream(broken, complete(3)))
    assert [event.seq for event in await followed(stub)] == [1, 3]
    assert "Event 2 is broken" in caplog.text


async def test_a_missing_event_is_read_again() -> None:
    stub = Stub(stream(chunk(1), chunk(3)), stream(chunk(2), chunk(3), complete(4)))
    assert [event.seq for event in await followed(stub)] == [1, 2, 3, 4]
    assert stub.cursors == [0, 1]


async def test_old_chunks_that_were_merged_are_no_gap() -> None:
    merged = (event("agent_start", 2, turn=1), chunk(9, "all of it"), complete(12, "all of it"))
    stub = Stub(stream(*merged), stream(*merged))
    assert [event.seq for event in await followed(stub)] == [2, 9, 12]
    assert len(stub.requests) == 2, "once is enough to know it"


async def test_events_may_be_large() -> None:
    text = "long " * 1_000_000
    events = await followed(Stub(stream(complete(1, text))))
    assert isinstance(events[0], Complete)
    assert events[0].message.content == text


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
async def test_a_stream_may_have_any_line_ends_and_comments(ending: str) -> None:
    told = b": hello\n\n" + chunk(1).replace(b'"seq"', b'\ndata: "seq"') + b":\n" + complete(2)
    stub = Stub(STREAM + told.replace(b"\n", ending.encode()), stream(complete(2)))
    assert [event.seq for event in await followed(stub)] == [1, 2]


# Sending: never twice


async def sent(stub: Stub, **about: Any) -> Run:
    async with stub.running(), Client(stub.url, backoff=0.001) as client:
        return await client.send("hello", **about)


def posts(stub: Stub) -> int:
    return sum(request.method == "POST" and request.target.endswith("/runs") for request in stub.requests)


async def test_a_message_that_arrived_though_its_answer_did_not_is_found() -> None:
    shown = answer(200, {"messages": [{"id": CONVERSATION, "run_id": None}, {"id": RUN, "run_id": RUN}]})
    stub = Stub(MADE, HANG_UP, shown)
    run = await sent(stub)
    assert (run.id, run.conversation_id, run.message_id) == (UUID(RUN), UUID(CONVERSATION), UUID(RUN))
    assert posts(stub) == 1


@pytest.mark.parametrize("lost", [HANG_UP, answer(502), answer(504)])
async def test_a_message_that_did_not_arrive_is_sent_again(lost: bytes) -> None:
    stub = Stub(MADE, lost, answer(200, {"messages": []}), STARTED)
    assert (await sent(stub)).id == UUID(RUN)
    assert posts(stub) == 2


async def test_a_message_that_arrives_late_is_not_thrown_away() -> None:
    shown = answer(200, {"messages": [{"id": RUN, "run_id": RUN}]})
    stub = Stub(MADE, HANG_UP, answer(200, {"messages": []}), problem(409, "busy", "Busy."), shown)
    assert (await sent(stub)).id == UUID(RUN)
    assert [request.method for request in stub.requests].count("DELETE") == 0


async def test_into_a_conversation_of_others_it_is_left_to_the_caller() -> None:
    stub = Stub(HANG_UP)
    with pytest.raises(Uncertain):
        await sent(stub, conversation=CONVERSATION)
    assert len(stub.requests) == 1


async def test_a_full_server_is_asked_again_and_believed_in_the_end() -> None:
    full = problem(503, "too_many_runs", "Too many.")
    assert (await sent(Stub(full, full, STARTED), conversation=CONVERSATION)).id == UUID(RUN)
    with pytest.raises(Refused, match="Too many") as refused:
        await sent(Stub(full), conversation=CONVERSATION)
    assert refused.value.code == "too_many_runs"


async def test_a_token_goes_with_every_request() -> None:
    stub = Stub(MADE, STARTED, stream(complete(1, "Hi.")))
    async with stub.running(), Client(stub.url, "rr_secret") as client:
        assert (await client.ask("hello")).text == "Hi."
    assert [request.headers["authorization"] for request in stub.requests] == ["Bearer rr_secret"] * 3


async def test_a_server_below_a_path_is_reached() -> None:
    stub = Stub(STARTED)
    async with stub.running(), Client(f"{stub.url}/riverrun/") as client:
        await client.send("hello", conversation=CONVERSATION, team="coders")
    assert stub.requests[0].target == f"/riverrun/api/conversations/{CONVERSATION}/runs"
    assert stub.requests[0].body == {"content": "hello", "team": "coders"}


async def test_something_else_on_the_port_is_no_riverrun() -> None:
    stub = Stub(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")
    async with stub.running(), Client(stub.url) as client:
        with pytest.raises(Refused, match="is no riverrun"):
            await client.health()
