"""A program that answers for its person whether tools may be used."""

import json
from collections.abc import Iterator
from uuid import UUID, uuid4

import httpx
import pytest

from riverrun.agents.events import Interaction
from riverrun.client import Client, Refused, Run
from tests.model_server import ModelServer
from tests.tool_server import tool_server


@pytest.fixture(scope="module")
def tools() -> Iterator[str]:
    with tool_server() as address:
        yield address


@pytest.fixture
async def project(client: Client, tools: str) -> str:
    async with httpx.AsyncClient(base_url=client.server) as page:
        made = (await page.post("/api/projects", json={"name": "Sums"})).json()["id"]
        await page.post(f"/p/{made}/tools", data={"name": "sums", "address": tools})
    return str(made)


def script_sum(model: ModelServer) -> str:
    question = f"add up {uuid4()}"
    call = {"name": "sums__add", "arguments": json.dumps({"a": 2, "b": 3})}
    model.script([{"tool_call": call}], match=question, times=1)
    model.script([{"text": "Done."}], match=question, times=1)
    return question


async def answered(run: Run) -> list[str]:
    """What the tool answered, when what asks is approved once."""
    reply, answers = run.begin(), []
    async for event in run.events():
        reply.apply(event)
        for asked in list(reply.asked.values()):
            assert (asked.server, asked.tool, asked.input) == ("sums", "add", {"a": 2, "b": 3})
            await run.approve(asked.call_id)
            reply.asked.clear()
        if isinstance(event, Interaction) and event.kind == "tool_response":
            answers.append(event.content)
    assert (reply.text, reply.status, reply.asked) == ("Done.", "complete", {})
    return answers


async def test_a_client_approves(client: Client, model: ModelServer, project: str) -> None:
    run = await client.send(script_sum(model), project=project)
    assert await answered(run) == ["5"]
    await run.approve("1.1", "once")  # as a client does whose first answer was lost
    with pytest.raises(Refused, match="decided already: approved once") as refused:
        await run.approve("1.1", "decline")
    assert (refused.value.status, refused.value.code) == (409, "ended")
    with pytest.raises(Refused):
        await client.approve(UUID(int=1), "1.1")


async def test_a_socket_approves(client: Client, model: ModelServer, project: str) -> None:
    async with client.socket() as socket:
        run = await socket.send(script_sum(model), project=project)
        assert await answered(run) == ["5"]
        with pytest.raises(Refused, match="decided already"):
            await run.approve("1.1", "once")
