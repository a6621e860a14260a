"""Killed, stopped, and without its database: what a person has seen is there afterwards, and every run has an end."""

import asyncio
import re
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from riverrun.agents.consent import DECLINED
from tests.controllers.api_kit import Json, Program, types_of
from tests.model_server import ModelServer
from tests.postgres import Postgres
from tests.server import Server
from tests.tool_server import tool_server


@pytest.fixture
def server(model: ModelServer, tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, RIVERRUN_MODEL_URL=model.url) as server:
        yield server


@asynccontextmanager
async def program_at(server: Server) -> AsyncIterator[Program]:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        yield Program(client)


async def shown_until_first_text(program: Program, run: Json) -> list[Json]:
    shown = []
    async with program.follow(run["run_id"]) as stream:
        async for event in stream:
            shown.append(event)
            if event["type"] == "agent_chunk":
                break
    return shown


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
async def test_a_killed_process_loses_nothing_and_the_run_goes_on(
    server: Server, model: ModelServer, database: str, request: pytest.FixtureRequest
) -> None:
    model.script([{"text": "shown before the crash"}, {"stall": True}], match="crash", times=1)
    model.script([{"text": "whole"}, {"gate": f"again-{database}"}, {"text": " after it"}], match="crash", times=1)
    if database == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        server.settings["RIVERRUN_DATABASE_URL"] = postgres.create_database()
    server.start()
    async with program_at(server) as program:
        conversation = await program.new_conversation()
        run = await program.start(conversation, "crash")
        shown = await shown_until_first_text(program, run)
        server.kill()
        server.start()
        # Nobody asked for it: the run goes on by itself.
        await asyncio.to_thread(model.wait_gate, f"again-{database}")
        model.open_gate(f"again-{database}")
        events = await program.events(run["run_id"])
        assert events[: len(shown)] == shown
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert [event["attempt"] for event in events if event["type"] == "agent_start"] == [1, 2]
        assert [event["message"] for event in events if event.get("step") == "resumed"]
        assert (events[-1]["status"], events[-1]["message"]["content"]) == ("complete", "whole after it")
        message = (await program.messages(conversation))[1]
        assert (message["content"], message["status"]) == ("whole after it", "complete")


async def test_a_shutdown_lets_runs_finish(server: Server, model: ModelServer) -> None:
    model.script([{"text": "almost "}, {"gate": "goodbye"}, {"text": "done"}], match="finish first", times=1)
    server.start()
    async with program_at(server) as program:
        run = await program.start(await program.new_conversation(), "finish first")
        async with program.follow(run["run_id"]) as stream:
            async for event in stream:
                if event["type"] == "agent_chunk":
                    break
            server.terminate()
            model.open_gate("goodbye")
            assert [event async for event in stream][-1]["message"]["content"] == "almost done"
        assert await asyncio.to_thread(server.wait) == -signal.SIGTERM  # as uvicorn ends after a clean shutdown
        server.start()
        assert (await program.client.get(f"/api/runs/{run['run_id']}")).json()["status"] == "complete"


async def test_what_takes_too_long_for_a_shutdown_goes_on_after_it(server: Server, model: ModelServer) -> None:
    model.script([{"text": "too long"}, {"stall": True}], match="never ends", times=1)
    model.script([{"text": "ends now"}], match="never ends", times=1)
    server.start(RIVERRUN_SHUTDOWN_GRACE="0.5")
    async with program_at(server) as program:
        run = await program.start(await program.new_conversation(), "never ends")
        await shown_until_first_text(program, run)
        async with program.follow(run["run_id"]) as stream:
            server.terminate()
            shown = [event async for event in stream]  # ends by itself, without a word: the client comes back
        assert await asyncio.to_thread(server.wait) == -signal.SIGTERM
        assert not re.search("ERROR|Traceback", server.log.read_text())
        server.start()
        events = await program.events(run["run_id"])
    assert events[: len(shown)] == shown
    assert types_of(events).count("complete") == 1
    assert (events[-1]["status"], events[-1]["message"]["content"]) == ("complete", "ends now")


async def test_a_database_that_is_away_for_a_while_delays_a_run(
    server: Server, model: ModelServer, postgres: Postgres
) -> None:
    model.script([{"text": "before "}, {"gate": "gone"}, {"text": "after"}], match="hiccup", times=1)
    server.start(RIVERRUN_DATABASE_URL=postgres.create_database())
    async with program_at(server) as program:
        another = await program.new_conversation()
        run = await program.start(await program.new_conversation(), "hiccup")
        async with program.follow(run["run_id"]) as stream:
            shown = [await anext(stream) for _ in range(5)]
            assert shown[-1]["type"] == "agent_chunk"
            with postgres.away():
                model.open_gate("gone")
                assert (await program.client.get("/health")).status_code == 503
                refused = await program.client.post(f"/api/conversations/{another}/runs", json={"content": "now?"})
                assert refused.status_code == 503
                assert refused.json()["code"] == "database_unavailable"
            rest = [event async for event in stream]
        assert rest[-1]["message"]["content"] == "before after"
        assert await program.events(run["run_id"]) == shown + rest


async def test_a_run_goes_on_when_a_database_that_stayed_away_is_back(
    server: Server, model: ModelServer, postgres: Postgres
) -> None:
    model.script([{"text": "kept "}, {"gate": "long-gone"}, {"text": "lost"}], match="outage", times=1)
    model.script([{"text": "whole"}], match="outage", times=1)
    server.start(RIVERRUN_DATABASE_URL=postgres.create_database(), RIVERRUN_DATABASE_PATIENCE="0.5")
    async with program_at(server) as program:
        conversation = await program.new_conversation()
        run = await program.start(conversation, "outage")
        async with program.client.stream("GET", f"/api/runs/{run['run_id']}/events") as answer:
            lines = answer.aiter_lines()
            async for line in lines:
                if "kept " in line:
                    break
            with postgres.away():
                model.open_gate("long-gone")
                told = [line async for line in lines]  # the stream ends although the database is still away
        assert any('"code":"database_unavailable"' in line for line in told)
        events = await program.events(run["run_id"])
    assert [event["text"] for event in events if event["type"] == "agent_chunk"] == ["kept ", "whole"]
    assert (events[-1]["status"], events[-1]["message"]["content"]) == ("complete", "whole")


async def test_many_runs_in_one_killed_process_all_go_on(server: Server, model: ModelServer) -> None:
    model.script([{"text": "one of many"}, {"stall": True}], match="many at once", times=30)
    model.script([{"text": "each to its end"}], match="many at once")
    server.start()
    async with program_at(server) as program:
        runs = [await program.start(await program.new_conversation(), "many at once") for _ in range(30)]
        for run in runs:
            await shown_until_first_text(program, run)
        server.kill()
        server.start()
        for run in runs:
            events = await program.events(run["run_id"])
            assert (events[-1]["status"], events[-1]["message"]["content"]) == ("complete", "each to its end")
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))


async def test_a_tool_that_was_at_work_is_not_called_again(server: Server, model: ModelServer) -> None:
    """The file is written before the crash; what came of the call is not saved any more."""
    writing = {"name": "write_file", "arguments": '{"path": "note.txt", "content": "once"}'}
    model.script([{"tool_call": writing}], match="write a note", times=1)
    model.script([{"gate": "looks-again"}, {"text": "It is written."}], match="write a note", times=1)
    server.start()
    async with program_at(server) as program:
        made = await program.client.post("/api/projects", json={"name": "Notes"})
        conversation = await program.new_conversation(project_id=made.json()["id"])
        run = await program.start(conversation, "write a note")
        await asyncio.to_thread(model.wait_gate, "looks-again")
        assert len(list((server.folder / "data" / "projects").rglob("note.txt"))) == 1
        server.kill()
        forget_after(server.folder / "data" / "riverrun.db", run["run_id"], "tool_call")
        model.script([{"text": "It may be written."}], match="write a note", times=1)
        server.start()
        events = await program.events(run["run_id"])
    answers = [event for event in events if event.get("kind") == "tool_response"]
    assert len(answers) == 1
    assert "interrupted" in answers[0]["content"]
    changes = [event for event in events if event["type"] == "code_change"]
    assert [change["path"] for change in changes] == ["note.txt"], "what was done is told all the same"
    assert events[-1]["code_changes"] == changes
    assert events[-1]["message"]["content"] == "It may be written."


def forget_after(database: Path, run_id: str, kind: str) -> None:
    """As if the process had died just after the event of this kind."""
    with closing(sqlite3.connect(database)) as connection, connection:
        run = UUID(run_id).bytes
        query = "SELECT seq FROM event WHERE run_id = ? AND json_extract(payload, '$.kind') = ?"
        (seq,) = connection.execute(query, (run, kind)).fetchone()
        connection.execute("DELETE FROM event WHERE run_id = ? AND seq > ?", (run, seq))


@pytest.mark.parametrize("word", ["once", "decline"])
async def test_a_call_that_waits_for_a_person_waits_on_after_a_crash(
    server: Server, model: ModelServer, word: str
) -> None:
    with tool_server() as address:
        call = {"name": "sums__add", "arguments": '{"a": 2, "b": 3}'}
        question = f"add them, and {word}"
        model.script([{"tool_call": call}], match=question, times=1)
        model.script([{"text": "Told."}], match=question, times=1)
        server.start()
        async with program_at(server) as program:
            made = await program.client.post("/api/projects", json={"name": "Sums"})
            project = made.json()["id"]
            added = {"name": "sums", "address": address}
            assert (await program.client.post(f"/p/{project}/tools", data=added)).status_code == 303
            run = await program.start(await program.new_conversation(project_id=project), question)
            shown = []
            async with program.follow(run["run_id"]) as stream:
                async for event in stream:
                    shown.append(event)
                    if event.get("step") == "approval":
                        break
            server.kill()
            server.start()
            [asked] = (await program.client.get(f"/api/runs/{run['run_id']}")).json()["approvals"]
            assert asked == shown[-1]["metadata"]
            path = f"/api/runs/{run['run_id']}/approvals/{asked['call_id']}"
            assert (await program.client.post(path, json={"decision": word})).status_code == 202
            events = await program.events(run["run_id"])
    assert events[: len(shown)] == shown
    told = [event["metadata"].get("decision", "asked") for event in events if event.get("step") == "approval"]
    answers = [event["content"] for event in events if event.get("kind") == "tool_response"]
    assert (told, answers) == (["asked", word], ["5" if word == "once" else DECLINED])
    assert (events[-1]["status"], events[-1]["message"]["content"]) == ("complete", "Told.")


async def test_a_model_that_is_not_there_is_told_and_serves_when_it_is_back(tmp_path: Path) -> None:
    with ModelServer.start() as model:
        url, port = model.url, model.port
    with Server(tmp_path, RIVERRUN_MODEL_URL=url, RIVERRUN_MODEL_RETRIES="0").start() as server:
        async with program_at(server) as program:
            conversation = await program.new_conversation()
            path = f"/api/conversations/{conversation}/messages"
            failed = await program.client.post(path, json={"content": "anybody?"})
            assert failed.status_code == 502
            assert url in failed.json()["detail"]
            with ModelServer.start(port=port):
                assert (await program.client.post(path, json={"content": "anybody?"})).status_code == 200
