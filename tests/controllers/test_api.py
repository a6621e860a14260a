"""What a program can do over JSON and Server-Sent Events."""

import asyncio
import re
from typing import Any
from uuid import uuid4

import httpx
import pytest
from httpx_sse import EventSource

from tests.controllers.api_kit import Program, checked, text_of, types_of
from tests.model_server import ModelServer
from tests.server import Server

JSON = {"content-type": "application/json"}


async def test_a_conversation_is_made_listed_read_renamed_and_deleted(program: Program) -> None:
    conversation = await program.new_conversation(title="Rivers")
    listed = (await program.client.get("/api/conversations")).json()
    assert listed[0]["id"] == conversation
    renamed = await program.client.patch(f"/api/conversations/{conversation}", json={"title": "Lakes"})
    assert renamed.json()["title"] == "Lakes"
    assert (await program.client.delete(f"/api/conversations/{conversation}")).status_code == 204
    assert (await program.client.get(f"/api/conversations/{conversation}")).status_code == 404
    assert conversation not in [row["id"] for row in (await program.client.get("/api/conversations")).json()]


async def test_the_list_is_newest_first_and_goes_on_from_a_cursor(program: Program) -> None:
    made = [await program.new_conversation(title=str(number)) for number in range(3)]
    first = (await program.client.get("/api/conversations", params={"limit": 2})).json()
    assert [row["id"] for row in first] == [made[2], made[1]]
    rest = (await program.client.get("/api/conversations", params={"before": first[-1]["active_at"]})).json()
    assert rest[0]["id"] == made[0]


async def test_a_message_is_answered_whole(program: Program, model: ModelServer) -> None:
    model.script(
        [{"text": "Four rivers."}, {"finish": "stop", "usage": {"prompt_tokens": 7, "completion_tokens": 3}}],
        match="how many",
        times=1,
    )
    conversation = await program.new_conversation()
    answer = await program.client.post(f"/api/conversations/{conversation}/messages", json={"content": "how many?"})
    assert answer.status_code == 200
    reply = answer.json()
    assert reply["status"] == "complete"
    assert reply["message"]["content"] == "Four rivers."
    assert reply["usage"] == {"input_tokens": 7, "output_tokens": 3}
    asked, answered = await program.messages(conversation)
    assert (asked["role"], asked["content"]) == ("user", "how many?")
    assert (answered["role"], answered["content"], answered["status"]) == ("assistant", "Four rivers.", "complete")
    assert answered["id"] == reply["message"]["id"]


async def test_what_is_added_to_a_run_is_taken_in_or_waits(program: Program, model: ModelServer) -> None:
    model.script([{"text": "Working"}, {"gate": "added"}], match="a long task", times=1)
    conversation = await program.new_conversation()
    run = await program.start(conversation, "a long task")
    path = f"/api/runs/{run['run_id']}/messages"
    await asyncio.to_thread(model.wait_gate, "added")
    now = await program.client.post(path, json={"content": "be brief"})
    assert (now.status_code, now.json()["status"]) == (202, "pending")
    then = await program.client.post(path, json={"content": "and then?", "when": "next"})
    assert (then.status_code, then.json()["status"]) == (202, "waiting")
    wrong = await program.client.post(path, json={"content": "a mistake", "when": "next"})
    withdrawn = f"{path}/{wrong.json()['message_id']}"
    assert (await program.client.delete(withdrawn)).status_code == 204
    assert (await program.client.delete(withdrawn)).json()["code"] == "ended"
    model.open_gate("added")
    events = await program.events(run["run_id"])
    taken = [event for event in events if event.get("message_id") and event["type"] == "interaction"]
    assert [(event["agent"], event["content"], event["to_agent"]) for event in taken] == [
        (None, "be brief", "Assistant")
    ]
    assert taken[0]["message_id"] == now.json()["message_id"]
    messages = await program.messages(conversation)
    while len(messages) < 5:  # the next turn begins by itself
        messages = await program.messages(conversation)
    await program.events(messages[-1]["run_id"])
    assert [message["content"] for message in messages if message["role"] == "user"] == [
        "a long task",
        "be brief",
        "and then?",
    ]
    assert [message["role"] for message in messages] == ["user", "user", "assistant", "user", "assistant"]
    late = await program.client.post(path, json={"content": "too late"})
    assert (late.status_code, late.json()["code"]) == (409, "ended")


async def test_a_conversation_branches(program: Program) -> None:
    conversation = await program.new_conversation()
    path = f"/api/conversations/{conversation}"
    first = (await program.client.post(f"{path}/messages", json={"content": "first"})).json()
    edited = {"content": "edited", "instead_of": first["user_message_id"]}
    second = (await program.client.post(f"{path}/messages", json=edited)).json()
    shown = await program.messages(conversation)
    assert shown[0]["content"] == "edited"
    assert shown[0]["branches"] == [first["user_message_id"], second["user_message_id"]]
    after = {"content": "after the first", "parent_id": first["message"]["id"]}
    await program.client.post(f"{path}/messages", json=after)
    assert [message["content"] for message in await program.messages(conversation)][::2] == ["first", "after the first"]

    again = await program.client.post(f"/api/runs/{second['run_id']}/retries", json={"model": "another-model"})
    assert again.status_code == 202
    assert (await program.events(again.json()["run_id"]))[0]["model"] == "another-model"
    shown = await program.messages(conversation)
    assert shown[0]["content"] == "edited"
    assert shown[1]["branches"] == [second["message"]["id"], again.json()["message_id"]]

    back = await program.client.put(f"{path}/branch", json={"message_id": first["user_message_id"]})
    assert back.status_code == 200
    assert [message["content"] for message in await program.messages(conversation)][::2] == ["first", "after the first"]
    for field in ("instead_of", "parent_id"):
        elsewhere = {"content": "lost", field: str(uuid4())}
        refused = await program.client.post(f"{path}/messages", json=elsewhere)
        assert (refused.status_code, refused.json()["field"]) == (404, field)
    other = await program.new_conversation()
    theirs = {"message_id": first["user_message_id"]}
    assert (await program.client.put(f"/api/conversations/{other}/branch", json=theirs)).status_code == 404


async def test_a_stream_tells_the_run_in_the_vocabulary(program: Program, model: ModelServer) -> None:
    model.script(
        [{"reasoning": "Let me see."}, {"text": "One two three", "pieces": 3, "pause": 0.02}],
        match="stream me",
        times=1,
    )
    conversation = await program.new_conversation()
    async with program.client.stream(
        "POST", f"/api/conversations/{conversation}/messages/stream", json={"content": "stream me"}
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert "content-encoding" not in answer.headers
        events = [event async for event in checked(EventSource(answer).aiter_sse())]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert types_of(events)[0] == "start"
    assert types_of(events)[-1] == "complete"
    assert types_of(events).count("complete") == 1
    assert set(types_of(events)) == {
        "start",
        "progress",
        "agent_start",
        "interaction",
        "agent_chunk",
        "agent_complete",
        "complete",
    }
    assert text_of(events) == "One two three" == events[-1]["message"]["content"]
    fractions = [event["fraction"] for event in events if event["type"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    thought = next(event for event in events if event["type"] == "interaction")
    assert (thought["kind"], thought["content"]) == ("thought", "Let me see.")
    stored = (await program.messages(conversation))[1]
    assert stored["interactions"] == [thought]
    assert await program.events(events[0]["run_id"]) == events


async def test_chunks_arrive_while_the_model_still_writes(program: Program, model: ModelServer) -> None:
    model.script([{"text": "first "}, {"gate": "rest"}, {"text": "second"}], match="bit by bit", times=1)
    run = await program.start(await program.new_conversation(), "bit by bit")
    async with program.follow(run["run_id"]) as stream:
        async for event in stream:
            if event["type"] == "agent_chunk":
                assert event["text"] == "first "
                break
        status = (await program.client.get(f"/api/runs/{run['run_id']}")).json()
        assert (status["status"], status["content"]) == ("running", "first ")
        model.open_gate("rest")
        assert [event async for event in stream][-1]["message"]["content"] == "first second"
    status = (await program.client.get(f"/api/runs/{run['run_id']}")).json()
    assert (status["status"], status["content"], status["fraction"]) == ("complete", "first second", 1.0)


@pytest.mark.parametrize("how", ["query", "header"])
async def test_a_stream_is_resumed_after_a_cursor(program: Program, model: ModelServer, how: str) -> None:
    run = await program.start(await program.new_conversation(), f"resume by {how}")
    events = await program.events(run["run_id"])
    for cursor in range(1, len(events)):
        if how == "query":
            rest = await program.events(run["run_id"], after=cursor)
        else:
            rest = await program.events(run["run_id"], headers={"Last-Event-ID": str(cursor)})
        assert rest == events[cursor:]


async def test_an_event_source_at_the_end_of_a_run_is_told_not_to_come_back(program: Program) -> None:
    run = await program.start(await program.new_conversation(), "short")
    last = (await program.events(run["run_id"]))[-1]["seq"]
    answer = await program.client.get(f"/api/runs/{run['run_id']}/events", headers={"Last-Event-ID": str(last)})
    assert answer.status_code == 204


@pytest.mark.parametrize(
    ("query", "header"),
    [("after=x", ""), ("after=-1", ""), ("after=1.5", ""), ("after=10000", ""), ("", "abc"), ("", "9" * 30), ("", "²")],
)
async def test_a_cursor_that_is_none_is_refused_by_name(program: Program, query: str, header: str) -> None:
    run = await program.start(await program.new_conversation(), "cursor")
    await program.events(run["run_id"])
    headers = {b"Last-Event-ID": header.encode("latin-1")} if header else {}
    answer = await program.client.get(f"/api/runs/{run['run_id']}/events?{query}", headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] in ("after", "Last-Event-ID")


async def test_silence_is_filled_with_heartbeats(program: Program, model: ModelServer) -> None:
    model.script([{"text": "a"}, {"gate": "heart"}, {"text": "b"}], match="be silent", times=1)
    run = await program.start(await program.new_conversation(), "be silent")
    async with program.client.stream("GET", f"/api/runs/{run['run_id']}/events") as answer:
        async for line in answer.aiter_lines():
            if line == ":":
                break
        model.open_gate("heart")


async def test_stop_keeps_the_text_and_hangs_up_on_the_model(program: Program, model: ModelServer) -> None:
    model.script([{"text": "as far as here"}, {"stall": True}], match="stop me", times=1)
    conversation = await program.new_conversation()
    before = len(model.requests())
    run = await program.start(conversation, "stop me")
    async with program.follow(run["run_id"]) as stream:
        async for event in stream:
            if event["type"] == "agent_chunk":
                break
        answer = await program.client.post(f"/api/runs/{run['run_id']}/cancel")
        assert answer.status_code == 202
        rest = [event async for event in stream]
    assert types_of(rest) == ["agent_complete", "complete"]
    assert rest[-1]["status"] == "cancelled"
    assert rest[-1]["message"]["content"] == "as far as here"
    await asyncio.to_thread(model.wait_closed, before)
    assert (await program.client.post(f"/api/runs/{run['run_id']}/cancel")).status_code == 202
    assert types_of(await program.events(run["run_id"])).count("complete") == 1


async def test_a_run_goes_on_when_its_follower_leaves(program: Program, model: ModelServer) -> None:
    model.script([{"text": "on "}, {"gate": "left"}, {"text": "and on"}], match="i will leave", times=1)
    conversation = await program.new_conversation()
    path = f"/api/conversations/{conversation}/messages/stream"
    async with program.client.stream("POST", path, json={"content": "i will leave"}) as answer:
        async for line in answer.aiter_lines():
            if "agent_chunk" in line:
                break
    model.open_gate("left")
    run = (await program.messages(conversation))[1]["run_id"]
    assert (await program.events(run))[-1]["message"]["content"] == "on and on"


async def test_a_second_message_while_a_run_works_is_refused(program: Program, model: ModelServer) -> None:
    model.script([{"text": "busy"}, {"gate": "free"}], match="keep busy", times=1)
    conversation = await program.new_conversation()
    run = await program.start(conversation, "keep busy")
    refused = await program.client.post(f"/api/conversations/{conversation}/messages", json={"content": "me too"})
    assert refused.status_code == 409
    assert refused.json()["code"] == "busy"
    model.open_gate("free")
    await program.events(run["run_id"])
    assert [message["content"] for message in await program.messages(conversation)] == ["keep busy", "busy"]


async def test_the_model_is_given_the_conversation_so_far(program: Program, model: ModelServer) -> None:
    conversation = await program.new_conversation()
    model.script([{"text": "Mont Blanc"}], match="highest", times=1)
    await program.client.post(f"/api/conversations/{conversation}/messages", json={"content": "the highest?"})
    await program.client.post(f"/api/conversations/{conversation}/messages", json={"content": "sure?"})
    told = model.requests()[-1]["body"]["messages"]
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert [message["content"] for message in told[1:]] == ["the highest?", "Mont Blanc", "sure?"]


async def test_a_model_is_given_turns_even_where_a_reply_failed(program: Program, model: ModelServer) -> None:
    conversation = await program.new_conversation()
    model.script([{"status": 401, "body": {}}], match="lost question", times=1)
    await program.client.post(f"/api/conversations/{conversation}/messages", json={"content": "lost question"})
    await program.client.post(f"/api/conversations/{conversation}/messages", json={"content": "and now?"})
    told = model.requests()[-1]["body"]["messages"]
    assert [message["role"] for message in told] == ["system", "user"]
    assert told[1]["content"] == "lost question\n\nand now?"


@pytest.mark.parametrize("status", [401, 500])
async def test_a_model_that_fails_is_told_with_a_status_and_a_sentence(
    program: Program, model: ModelServer, status: int
) -> None:
    model.script([{"status": status, "body": {"error": {"message": "no"}}}], match=f"fail with {status}")
    conversation = await program.new_conversation()
    answer = await program.client.post(
        f"/api/conversations/{conversation}/messages", json={"content": f"fail with {status}"}
    )
    assert answer.status_code == 502
    problem = answer.json()
    assert problem["code"] == "run_failed"
    assert "model" in problem["detail"]
    assert types_of(await program.events(problem["run_id"]))[-2:] == ["error", "complete"]
    failed = (await program.messages(conversation))[1]
    assert failed["status"] == "failed"
    assert failed["error"]["message"] == problem["detail"]


async def test_a_reply_that_breaks_off_keeps_what_arrived(program: Program, model: ModelServer) -> None:
    model.script([{"text": "half a"}, {"cut": "reset"}], match="break off", times=1)
    run = await program.start(await program.new_conversation(), "break off")
    events = await program.events(run["run_id"])
    assert types_of(events)[-3:] == ["agent_complete", "error", "complete"]
    assert (events[-1]["status"], events[-1]["message"]["content"]) == ("failed", "half a")


BAD_BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, ""),
    (b"{", 400, ""),
    (b"[]", 400, ""),
    (b"{}", 400, "content"),
    (b'{"content": 5}', 400, "content"),
    (b'{"content": ""}', 400, "content"),
    (b'{"content": " \\n\\u0007 "}', 400, "content"),
    (b'{"content": "\xff\xfe"}', 400, ""),
    (b'{"content": "\\ud800"}', 400, ""),
    (b'{"content": "a", "team": "nobody"}', 400, "team"),
    (b'{"content": "' + b"x" * 5001 + b'"}', 413, "content"),
    (b'{"content": "' + b"x" * 2_000_000 + b'"}', 413, ""),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_a_wrong_body_gets_a_problem_that_names_the_field(
    program: Program, body: bytes, status: int, field: str
) -> None:
    conversation = await program.new_conversation()
    answer = await program.client.post(f"/api/conversations/{conversation}/messages", content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert answer.json().get("field", "") == field
    assert await program.messages(conversation) == []


async def test_control_characters_are_left_out(program: Program) -> None:
    conversation = await program.new_conversation()
    await program.client.post(
        f"/api/conversations/{conversation}/messages", json={"content": "a\u0000b\u001b[31m\tc\r\nd"}
    )
    assert (await program.messages(conversation))[0]["content"] == "ab[31m\tc\nd"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/conversations/{id}"),
        ("DELETE", "/api/conversations/{id}"),
        ("POST", "/api/conversations/{id}/messages"),
        ("POST", "/api/conversations/{id}/messages/stream"),
        ("POST", "/api/conversations/{id}/runs"),
        ("GET", "/api/runs/{id}"),
        ("GET", "/api/runs/{id}/events"),
        ("POST", "/api/runs/{id}/cancel"),
        ("GET", "/api/conversations/not-an-id"),
        ("GET", "/api/nothing"),
    ],
)
async def test_what_does_not_exist_is_a_404_problem(program: Program, method: str, path: str) -> None:
    answer = await program.client.request(
        method, path.format(id=uuid4()), json={"content": "hello"} if method == "POST" else None
    )
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_another_site_cannot_change_anything(program: Program, headers: dict[str, str]) -> None:
    answer = await program.client.post("/api/conversations", json={}, headers=headers)
    assert answer.status_code == 403


async def test_ones_own_page_can(program: Program, server: Server) -> None:
    headers = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    assert (await program.client.post("/api/conversations", json={}, headers=headers)).status_code == 201


async def test_an_allowed_origin_can_too(program: Program) -> None:
    headers = {"Origin": "https://chat.example.org", "Sec-Fetch-Site": "cross-site"}
    assert (await program.client.post("/api/conversations", json={}, headers=headers)).status_code == 201


async def test_titles_are_one_line_without_control_characters(program: Program) -> None:
    conversation = await program.new_conversation(title=" a\u0000\nb ")
    assert (await program.client.get(f"/api/conversations/{conversation}")).json()["title"] == "a b"
    await program.client.patch(f"/api/conversations/{conversation}", json={"title": "c\nd\u0000"})
    assert (await program.client.get(f"/api/conversations/{conversation}")).json()["title"] == "c d"


async def test_a_time_without_a_zone_is_utc(program: Program) -> None:
    await program.new_conversation()
    answer = await program.client.get("/api/conversations", params={"before": "2020-01-01T00:00:00"})
    assert (answer.status_code, answer.json()) == (200, [])


@pytest.mark.parametrize("path", ["/api/runs/{run_id}", "/runs/{run_id}/snapshot", "/api/conversations/{conversation}"])
async def test_a_crowd_of_readers_is_served(program: Program, model: ModelServer, path: str) -> None:
    """Needs more readers than there are connections to mean anything."""
    content = f"crowd at {path}"
    model.script([{"text": "running"}, {"gate": content.replace(" ", "-").replace("/", "")}], match=content, times=1)
    conversation = await program.new_conversation()
    run = await program.start(conversation, content)
    asked = path.format(conversation=conversation, **run)
    answers = await asyncio.gather(*(program.client.get(asked) for _ in range(60)))
    assert {answer.status_code for answer in answers} == {200}
    model.open_gate(content.replace(" ", "-").replace("/", ""))
    await program.events(run["run_id"])


async def test_a_stop_right_after_the_start_is_kept(program: Program, model: ModelServer) -> None:
    model.script([{"text": "x"}, {"stall": True}], match="stop at once")
    conversation = await program.new_conversation()
    for _ in range(10):
        run = await program.start(conversation, "stop at once")
        await program.client.post(f"/api/runs/{run['run_id']}/cancel")
        assert (await program.events(run["run_id"]))[-1]["status"] == "cancelled"


async def test_many_runs_at_once_do_not_mix(program: Program) -> None:
    async def talk(number: int) -> Any:
        conversation = await program.new_conversation()
        run = await program.start(conversation, f"number {number}")
        return await program.events(run["run_id"])

    for number, events in enumerate(await asyncio.gather(*(talk(number) for number in range(50)))):
        assert f"number {number}\n" in events[-1]["message"]["content"]
        assert text_of(events) == events[-1]["message"]["content"]


async def test_a_reader_that_does_not_read_holds_nobody_up(
    program: Program, model: ModelServer, server: Server
) -> None:
    """Needs more text than the sockets hold, or it means nothing."""
    text = "".join(f"{number:07} " for number in range(500_000))  # 4 MB
    model.script([{"text": text, "per": 16_000}], match="flood", times=1)
    run = await program.start(await program.new_conversation(), "flood")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(f"GET /api/runs/{run['run_id']}/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
    await writer.drain()
    events = await program.events(run["run_id"])
    assert text_of(events) == text
    slow = b""
    while not slow.endswith(b"0\r\n\r\n"):
        slow += await reader.read(2**20)
    writer.close()
    assert [int(seq) for seq in re.findall(rb"^id: (\d+)", slow, re.MULTILINE)] == [event["seq"] for event in events]


async def test_health_and_headers(program: Program) -> None:
    answer = await program.client.get("/health")
    assert answer.json()["status"] == "ok"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_openapi_document_names_every_route(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        paths = (await client.get("/schema/openapi.json")).json()["paths"]
    assert {path for path in paths if path.startswith("/api")} == {
        "/api/conversations",
        "/api/conversations/import",
        "/api/conversations/{conversation_id}",
        "/api/conversations/{conversation_id}/branch",
        "/api/conversations/{conversation_id}/export",
        "/api/conversations/{conversation_id}/transcript",
        "/api/conversations/{conversation_id}/messages",
        "/api/conversations/{conversation_id}/messages/stream",
        "/api/conversations/{conversation_id}/runs",
        "/api/runs/{run_id}",
        "/api/runs/{run_id}/events",
        "/api/runs/{run_id}/approvals/{call_id}",
        "/api/runs/{run_id}/cancel",
        "/api/runs/{run_id}/messages",
        "/api/runs/{run_id}/messages/{message_id}",
        "/api/runs/{run_id}/retries",
        "/api/projects",
        "/api/projects/{project_id}",
        "/api/projects/{project_id}/memories",
        "/api/projects/{project_id}/memories/{memory_id}",
        "/api/teams",
    }
