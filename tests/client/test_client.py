"""The client against a real server."""

import asyncio
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from riverrun.agents.events import AgentChunk, Complete, Start
from riverrun.client import Client, Refused, Retry, Run, RunFailed, Unreachable
from tests.client.line import Line
from tests.client.reading import check, read_through_a_restart
from tests.model_server import ModelServer, Step
from tests.server import Server, free_port


async def test_a_question_is_answered(client: Client, model: ModelServer) -> None:
    steps: list[Step] = [
        {"text": "Four rivers."},
        {"finish": "stop", "usage": {"prompt_tokens": 7, "completion_tokens": 3}},
    ]
    model.script(steps, match="how many rivers", times=1)
    reply = await client.ask("how many rivers?")
    assert (reply.text, str(reply), reply.status) == ("Four rivers.", "Four rivers.", "complete")
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 3)


async def test_a_run_is_told_in_typed_events_while_it_works(client: Client, model: ModelServer) -> None:
    model.script([{"text": "first "}, {"gate": "typed"}, {"text": "second"}], match="typed, please", times=1)
    run = await client.send("typed, please")
    events = []
    async with aclosing(run.events()) as stream:
        async for event in stream:
            events.append(event)
            if isinstance(event, AgentChunk) and event.text == "first ":
                model.open_gate("typed")
    assert isinstance(events[0], Start)
    assert (events[0].run_id, events[0].conversation_id) == (run.id, run.conversation_id)
    assert isinstance(events[-1], Complete)
    assert events[-1].message.id == run.message_id
    check(events, "first second")


async def test_a_conversation_goes_on(client: Client, server: Server) -> None:
    first = await client.send("remember the Elbe")
    await first.reply()
    second = await client.send("and now?", conversation=first.conversation_id)
    assert second.conversation_id == first.conversation_id
    await second.reply()
    messages = (await shown(server, second))["messages"]
    assert [m["content"] for m in messages if m["role"] == "user"] == ["remember the Elbe", "and now?"]


async def test_team_and_project_are_those_that_were_named(client: Client, server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        project = (await http.post("/api/projects", json={"name": "Harbour"})).json()["id"]
    run = await client.send("hello", team="coordinator", project=project)
    assert (await run.reply()).team == "coordinator"
    assert (await shown(server, run))["project_id"] == project


async def test_a_run_that_fails_says_why_and_keeps_what_was_written(client: Client, model: ModelServer) -> None:
    model.script([{"text": "Half a sen"}, {"cut": "reset"}], match="break the client off", times=None)
    with pytest.raises(RunFailed) as failed:
        await client.ask("break the client off")
    assert failed.value.reply.text == "Half a sen"
    assert failed.value.reply.error is not None
    assert (failed.value.code, str(failed.value)) == (
        failed.value.reply.error.code,
        failed.value.reply.error.message,
    )


async def test_a_run_is_stopped_and_keeps_what_was_written(client: Client, model: ModelServer) -> None:
    model.script([{"text": "Once upon"}, {"stall": True}], match="never ending", times=1)
    run = await client.send("never ending")
    async with aclosing(run.events()) as stream:
        async for event in stream:
            if isinstance(event, AgentChunk):
                break
    await run.cancel()
    reply = await run.reply()
    assert (reply.status, reply.text) == ("cancelled", "Once upon")
    await run.cancel()  # changes nothing


async def test_a_run_is_found_and_followed_from_a_cursor(client: Client) -> None:
    run = await client.send("find me")
    events = [event async for event in run.events()]
    found = await client.find(str(run.id))
    assert found == run
    for cursor in range(len(events) + 1):
        assert [event async for event in found.events(cursor)] == events[cursor:]


async def test_what_the_server_refuses_is_told_with_status_code_and_sentence(client: Client) -> None:
    with pytest.raises(Refused, match="no such conversation") as refused:
        await client.send("hello", conversation=uuid4())
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    with pytest.raises(Refused) as refused:
        await client.find(uuid4())
    assert refused.value.status == 404
    run = await client.send("x")
    await run.reply()
    with pytest.raises(Refused) as refused:
        _ = [event async for event in run.events(after=10_000)]
    assert refused.value.status == 400
    assert refused.value.problem["field"] == "after"


async def test_a_busy_conversation_refuses_another_question(client: Client, model: ModelServer) -> None:
    model.script([{"gate": "busy"}, {"text": "done"}], match="take your time", times=1)
    run = await client.send("take your time")
    with pytest.raises(Refused) as refused:
        await client.send("hurry up", conversation=run.conversation_id)
    assert (refused.value.status, refused.value.code) == (409, "busy")
    model.open_gate("busy")
    assert (await run.reply()).text == "done"


async def test_a_refused_question_leaves_no_empty_conversation(client: Client, server: Server) -> None:
    before = await conversations(server)
    with pytest.raises(Refused) as refused:
        await client.send(" ")
    assert refused.value.code == "invalid"
    assert await conversations(server) == before


async def test_many_runs_are_followed_at_once(client: Client) -> None:
    runs = [await client.send(f"question {number}") for number in range(20)]
    replies = await asyncio.gather(*(run.reply() for run in runs))
    assert [f"question {number}" in reply.text for number, reply in enumerate(replies)] == [True] * 20


async def test_a_stream_that_is_cut_goes_on_where_it_was(server: Server, model: ModelServer) -> None:
    model.script([{"text": "before "}, {"gate": "cut"}, {"text": "after"}], match="cut me", times=1)
    async with Line(server.port).running() as line, Client(line.url, backoff=0.01) as client:
        run = await client.send("cut me")
        events = []
        async with aclosing(run.events()) as stream:
            async for event in stream:
                events.append(event)
                if isinstance(event, AgentChunk) and event.text == "before ":
                    line.cut()
                    model.open_gate("cut")
        check(events, "before after")


@pytest.mark.parametrize("seed", range(4))
async def test_a_line_that_breaks_again_and_again_loses_and_repeats_nothing(
    server: Server, model: ModelServer, seed: int
) -> None:
    text = "Wörter – über die Elbe 🌊\r\n" * 60
    model.script([{"text": text, "per": 10, "pause": 0.001}], match=f"crumbling {seed}", times=1)
    async with Line(server.port).running() as line, Client(server.url) as starter:
        run = await starter.send(f"crumbling {seed}")
        line.crumble(seed, 1, 4600)  # the largest event takes most of that
        async with Client(line.url, backoff=0.001, attempts=300) as client:
            reached = await client.find(run.id)
            events = [event async for event in reached.events()]
        assert line.opened > 5, "or nothing was broken"
        check(events, text)
        assert events == [event async for event in run.events()]


async def test_a_server_that_is_killed_and_started_again_is_followed_to_the_end(
    model: ModelServer, tmp_path: Path
) -> None:
    model.script([{"text": "Before it. "}, {"gate": "killed"}, {"text": "After it."}], match="survive")
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url).start() as server:
        async with Client(server.url, backoff=0.3) as client:
            run = await client.send("survive")
            text = await read_through_a_restart(run, server, model, "killed")
            assert (await shown(server, run))["messages"][-1]["content"] == text


async def test_an_attempt_is_made_while_the_server_is_away(model: ModelServer, tmp_path: Path) -> None:
    server = Server(tmp_path, RIVERRUN_MODEL_URL=model.url)
    told = asyncio.Event()
    with server:
        async with Client(server.url, attempts=20, backoff=0.2, on_retry=lambda _: told.set()) as client:
            sending = asyncio.create_task(client.send("are you there"))
            await told.wait()
            await asyncio.to_thread(server.start)
            assert "are you there" in (await (await sending).reply()).text


async def test_where_nobody_answers_health_says_so_at_once() -> None:
    retries: list[Retry] = []
    async with Client(f"http://127.0.0.1:{free_port()}", on_retry=retries.append) as client:
        with pytest.raises(Unreachable, match=r"No connection to http://127.0.0.1:\d+: Nothing answers there"):
            await client.health()
    assert retries == []


async def test_health_tells_the_model(client: Client) -> None:
    health = await client.health()
    assert (health.status, health.model) == ("ok", "scripted-model")


async def test_no_proxy_stands_before_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    async with Client(server.url) as client:
        assert (await client.health()).status == "ok"


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://localhost", "http://", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Client(address)


@pytest.mark.parametrize("token", ["two\nlines", "ß"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        Client(token=token)


def test_it_needs_nothing_of_the_server() -> None:
    heavy = ("litestar", "sqlalchemy", "openai", "uvicorn", "pydantic", "jinja2", "rich", "riverrun.runs")
    program = f"import sys, riverrun.client; print([name for name in {heavy!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "[]\n"


async def shown(server: Server, run: Run) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        return dict((await http.get(f"/api/conversations/{run.conversation_id}")).json())


async def conversations(server: Server) -> list[str]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        return [row["id"] for row in (await http.get("/api/conversations")).json()]
