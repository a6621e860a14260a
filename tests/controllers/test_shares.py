"""What one person may have of what all share: runs at once, and tokens a day. And who has allowed which tools."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.controllers.accounts_kit import Somebody, somebody
from tests.controllers.api_kit import Program
from tests.model_server import ModelServer
from tests.server import Server
from tests.tool_server import tool_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKENS = 1_000  # a day


@pytest.fixture(scope="module")
def house(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"RIVERRUN_AUTH": "accounts", "RIVERRUN_FETCH_ALLOW": "127.0.0.1"}
    limits = {"RIVERRUN_RUNS_PER_PERSON": "1", "RIVERRUN_TOKENS_PER_DAY": str(TOKENS)}
    with Server(
        tmp_path_factory.mktemp("house"), RIVERRUN_MODEL_URL=model.url, **settings, **limits
    ).start() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def ada(house: Server) -> AsyncIterator[Somebody]:
    async with somebody(house, "ada") as person:
        yield person


@pytest_asyncio.fixture(loop_scope="module")
async def bob(house: Server, ada: Somebody) -> AsyncIterator[Somebody]:
    """New for each test, with a day's tokens."""
    async with somebody(house, f"bob-{token_hex(4)}", ada.browser) as person:
        yield person


async def start(whose: Somebody, words: str, conversation: str = "") -> httpx.Response:
    conversation = conversation or await Program(whose.program).new_conversation()
    return await whose.program.post(f"/api/conversations/{conversation}/runs", json={"content": words})


async def end_of(whose: Somebody, started: httpx.Response) -> dict[str, Any]:
    assert started.status_code == 202, started.text
    return (await Program(whose.program).events(started.json()["run_id"]))[-1]


@asynccontextmanager
async def held_run(whose: Somebody, model: ModelServer, words: str) -> AsyncIterator[dict[str, str]]:
    """What its start was answered with; it is at work until this is left."""
    gate = token_hex(4)
    model.script([{"text": "So"}, {"gate": gate}, {"text": " far"}], match=words, times=1)
    conversation = await Program(whose.program).new_conversation()
    started = await start(whose, words, conversation)
    try:
        yield {**started.json(), "conversation_id": conversation}
    finally:
        model.open_gate(gate)
        await end_of(whose, started)


async def spend(whose: Somebody, model: ModelServer, read: int, written: int) -> None:
    words = f"spend {token_hex(8)}"
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    model.script([{"text": "Gladly."}, {"finish": "stop", "usage": usage}], match=words, times=1)
    assert (await end_of(whose, await start(whose, words)))["status"] == "complete"


# Runs at once


async def test_one_person_has_so_many_runs_at_once(ada: Somebody, bob: Somebody, model: ModelServer) -> None:
    async with held_run(bob, model, "one at a time") as held:
        refused = await start(bob, "and another")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_own_runs")
        assert "(1) are being written for you" in refused.json()["detail"]
        assert await Program(bob.program).messages(held["conversation_id"]), "which is bob's own, and goes on"
        again = await bob.program.post(f"/api/runs/{held['run_id']}/retries", json={})
        assert (again.status_code, again.json()["code"]) == (409, "busy")
        added = await bob.program.post(f"/api/runs/{held['run_id']}/messages", json={"content": "by the way"})
        assert added.status_code == 202, "this is the same run"
        assert (await end_of(ada, await start(ada, "somebody else")))["status"] == "complete"
    assert (await start(bob, "and another")).status_code == 202


async def test_a_message_that_is_not_taken_leaves_nothing_behind(bob: Somebody, model: ModelServer) -> None:
    async with held_run(bob, model, "nothing is left behind"):
        page = await bob.browser.post("/messages", data={"content": "of great value"})
        assert page.status_code == 429
        assert "of great value</textarea>" in page.text
        assert "Wait for one, or stop one." in page.text
        assert "of great value" not in (await bob.browser.get("/")).text


# Tokens a day


async def test_who_has_used_the_tokens_of_a_day_waits_for_the_next(
    ada: Somebody, bob: Somebody, house: Server, model: ModelServer
) -> None:
    await spend(bob, model, 700, 299)
    await spend(bob, model, 5, 1)  # there was one left, and what has begun is finished
    refused = await start(bob, "more")
    assert (refused.status_code, refused.json()["code"]) == (429, "no_tokens_left")
    assert 0 < int(refused.headers["retry-after"]) <= 86_400
    assert re.search(r"used the 1,000 tokens .* at midnight \(UTC\), in \d+ ", refused.json()["detail"])

    page = await bob.browser.post("/messages", data={"content": "of great value"})
    assert page.status_code == 429
    assert "of great value</textarea>" in page.text
    foreign = await bob.program.post(
        "/v1/chat/completions", json={"model": "assistant", "messages": [{"role": "user", "content": "more"}]}
    )
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (429, "no_tokens_left")
    assert (await end_of(ada, await start(ada, "somebody else's")))["status"] == "complete"

    with sqlite3.connect(house.folder / "data" / "riverrun.db") as database:
        database.execute("UPDATE run SET created_at = datetime('now', 'start of day', '-1 second')")
    assert (await start(bob, "of the next day")).status_code == 202


async def test_a_message_that_waits_for_its_turn_is_not_a_way_round(
    bob: Somebody, house: Server, model: ModelServer
) -> None:
    await spend(bob, model, TOKENS - 1, 0)
    async with held_run(bob, model, "a way round") as held:
        add = f"/api/runs/{held['run_id']}/messages"
        assert (await bob.program.post(add, json={"content": "by the way"})).status_code == 202
        with sqlite3.connect(house.folder / "data" / "riverrun.db") as database:
            database.execute("UPDATE run SET tokens = tokens + 1 WHERE tokens = ?", [TOKENS - 1])
        refused = await bob.program.post(add, json={"content": "and now", "when": "next"})
        assert (refused.status_code, refused.json()["code"]) == (429, "no_tokens_left")


# Who has allowed what


async def test_the_audit_log_tells_of_what_is_allowed_for_good(
    ada: Somebody, bob: Somebody, model: ModelServer
) -> None:
    project = (await bob.browser.post("/projects", data={"name": "Sums"})).headers["location"]
    with tool_server() as address:
        server = {"name": "sums", "address": address, "asks": "on"}
        assert (await bob.browser.post(f"{project}/tools", data=server)).status_code == 303
        words = f"add up {token_hex(4)}"
        call = {"name": "sums__add", "arguments": json.dumps({"a": 2, "b": 3})}
        model.script([{"tool_call": call}], match=words, times=1)
        model.script([{"text": "Five."}], match=words, times=1)
        conversation = await Program(bob.program).new_conversation(project_id=project.removeprefix("/p/"))
        started = await start(bob, words, conversation)
        run = started.json()["run_id"]
        async with Program(bob.program).follow(run) as events:
            async for event in events:
                if event.get("metadata", {}).get("call_id"):
                    await bob.program.post(f"/api/runs/{run}/approvals/1.1", json={"decision": "always"})
    page = (await bob.browser.get(f"{project}/tools")).text
    taken_back, asks = (
        re.search(rf"{project}/tools/[\w-]+/permissions/[\w-]+/withdrawals", page),
        re.search(rf"{project}/tools/[\w-]+/consents", page),
    )
    assert taken_back
    assert asks
    await bob.browser.post(taken_back[0])
    await bob.browser.post(asks[0], data={"asks": ""})
    await bob.browser.post(asks[0], data={"asks": ""})  # which changes nothing
    await bob.browser.post(asks[0], data={"asks": "on"})
    text = " ".join(re.sub(r"<[^>]+>", "", (await ada.browser.get("/people/audit")).text).split())
    told = re.findall(rf"{bob.name} ((?:allowed|took|lets|has people)[^·]*?): (sums|add of sums) ", text)
    assert [f"{deed}: {about}" for deed, about in reversed(told)] == [
        "allowed a tool for good: add of sums",
        "took back that a tool is allowed for good: add of sums",
        "lets tools be used without asking anybody: sums",
        "has people asked before tools are used again: sums",
    ]
