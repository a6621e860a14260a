"""Tools of a real tool server ask first: in the page, with scripts and without, and through every door for programs."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import httpx
import pytest

from riverrun.agents.consent import DECLINED, UNATTENDED
from tests.controllers.api_kit import Json, Program
from tests.controllers.page_kit import Browser, form_for, the, with_class
from tests.controllers.socket_kit import talk
from tests.model_server import ModelServer
from tests.rendering.dom import Element, parse, swap
from tests.server import Server
from tests.tool_server import tool_server

DEFAULT = "00000000-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
def tools_over_http() -> Iterator[str]:
    with tool_server() as address:
        yield address


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Browser(client)


@pytest.fixture
async def project(browser: Browser, tools_over_http: str) -> str:
    """The id of one with a tool server `sums`."""
    made = await browser.submit("/projects", name="Sums")
    path = made.headers["location"]
    added = await browser.submit(f"{path}/tools", name="sums", address=tools_over_http)
    assert added.status_code == 303, added.text
    return str(path).removeprefix("/p/")


def script_sum(model: ModelServer, times: int = 1, then: str = "Done.") -> str:
    """The model wants to add, and then says something. Gives back what it has to be asked for that."""
    question = f"add up {uuid4()}"
    call = {"tool_call": {"name": "sums__add", "arguments": json.dumps({"a": 2, "b": 3})}}
    for _ in range(times):
        model.script([call], match=question, times=1)
    model.script([{"text": then}], match=question, times=1)
    return question


async def start_sum(program: Program, model: ModelServer, project: str, times: int = 1) -> tuple[str, Json]:
    """The run's id, and the approval that it waits for."""
    conversation = await program.new_conversation(project_id=project)
    run = (await program.start(conversation, script_sum(model, times)))["run_id"]
    return run, await asked_in(program, run)


async def asked_in(program: Program, run: str) -> Json:
    async with program.follow(run) as stream:
        async for event in stream:
            if event.get("step") == "approval":
                break
    [asked] = (await program.client.get(f"/api/runs/{run}")).json()["approvals"]
    return dict(asked)


async def decide(program: Program, run: str, call_id: str, **said: str) -> httpx.Response:
    return await program.client.post(f"/api/runs/{run}/approvals/{call_id}", json=said)


def responses(events: list[Json]) -> list[str]:
    return [event["content"] for event in events if event.get("kind") == "tool_response"]


def decisions(events: list[Json]) -> list[str]:
    return [event["metadata"].get("decision", "asked") for event in events if event.get("step") == "approval"]


# Programs


async def test_a_program_approves_a_call(program: Program, model: ModelServer, project: str) -> None:
    run, asked = await start_sum(program, model, project)
    until = asked.pop("until")
    assert asked == {"call_id": "1.1", "turn": 1, "server": "sums", "tool": "add", "input": {"a": 2, "b": 3}}
    answer = await decide(program, run, "1.1", decision="once")
    assert (answer.status_code, answer.json()["run_id"]) == (202, run)
    events = await program.events(run)
    assert (decisions(events), responses(events)) == (["asked", "once"], ["5"])
    first = next(event for event in events if event.get("step") == "approval")
    assert first["metadata"] == {**asked, "until": until}
    assert (await program.client.get(f"/api/runs/{run}")).json()["approvals"] == []


@pytest.mark.parametrize(
    ("call_id", "said", "status", "code"),
    [
        ("1.1", {"decision": "maybe"}, 400, "invalid"),
        ("1.1", {}, 400, "invalid"),
        ("1.1", {"decision": "decline", "reason": "x" * 501}, 400, "invalid"),
        ("9.9", {"decision": "once"}, 404, "not_found"),
    ],
)
async def test_what_is_no_answer_changes_nothing(
    program: Program, model: ModelServer, project: str, call_id: str, said: dict[str, str], status: int, code: str
) -> None:
    run, asked = await start_sum(program, model, project)
    refused = await decide(program, run, call_id, **said)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert (await decide(program, run, asked["call_id"], decision="decline", reason="Not today.")).status_code == 202
    assert responses(await program.events(run)) == [f"{DECLINED} They say: Not today."]
    late = await decide(program, run, asked["call_id"], decision="once")
    assert (late.status_code, late.json()["code"], late.json()["decision"]) == (409, "ended", "decline")
    assert late.json()["detail"] == "This was decided already: declined."


async def test_a_run_that_was_stopped_asks_no_more(program: Program, model: ModelServer, project: str) -> None:
    run, asked = await start_sum(program, model, project)
    await program.client.post(f"/api/runs/{run}/cancel")
    assert (await program.events(run))[-1]["status"] == "cancelled"
    late = await decide(program, run, asked["call_id"], decision="once")
    assert (late.status_code, late.json()["detail"]) == (409, "The run has ended; nothing waits there any more.")


async def test_a_program_answers_over_the_socket(
    server: Server, program: Program, model: ModelServer, project: str
) -> None:
    async with talk(server.url) as socket:
        run = (await socket.start(script_sum(model), project_id=project))["run_id"]
        while (event := await socket.hear()).get("step") != "approval":
            pass
        about: Json = {"run_id": run, "call_id": event["metadata"]["call_id"]}
        await socket.say("approve", id="2", **{**about, "call_id": "9.9"}, decision="once")
        assert (await socket.hear())["code"] == "not_found"
        await socket.say("approve", id="3", **about, decision="once")
        told: list[Json] = []
        while not told or told[-1]["type"] != "complete":
            told.append(await socket.hear())
        assert {"type": "approved", "id": "3", **about} in told
        assert responses(told) == ["5"]
        assert (await socket.ask("approve", **about, decision="once"))["code"] == "ended"


@pytest.mark.parametrize("door", ["openai", "agui"])
async def test_where_nobody_can_be_asked_only_what_is_always_allowed_is_done(
    door: str, program: Program, model: ModelServer, tools_over_http: str
) -> None:
    default = await program.client.get(f"/p/{DEFAULT}/tools")
    if "sums" not in default.text:
        added = {"name": "sums", "address": tools_over_http}
        assert (await program.client.post(f"/p/{DEFAULT}/tools", data=added)).status_code == 303
    for allowed in (False, True):
        answer = await through(door, program, script_sum(model))
        assert answer.status_code == 200, answer.text
        question = model.requests()[-1]["body"]["messages"]
        assert question[-1]["content"] == ("5" if allowed else UNATTENDED)
        if not allowed:
            run, asked = await start_sum(program, model, DEFAULT)
            await decide(program, run, asked["call_id"], decision="always")
            await program.events(run)
    await take_everything_back(Browser(program.client), DEFAULT)
    page = await Browser(program.client).open(f"/p/{DEFAULT}/tools")
    await program.client.post(form_for(page, "/deletions"))


async def through(door: str, program: Program, question: str) -> httpx.Response:
    said = [{"id": "1", "role": "user", "content": question}]
    if door == "openai":
        return await program.client.post("/v1/chat/completions", json={"model": "assistant", "messages": said})
    return await program.client.post("/agui/assistant", json={"threadId": str(uuid4()), "runId": "1", "messages": said})


async def take_everything_back(browser: Browser, project: str) -> None:
    page = await browser.open(f"/p/{project}/tools")
    assert (await browser.submit(form_for(page, "/withdrawals"))).status_code == 303


# The page


async def ask(browser: Browser, model: ModelServer, project: str, times: int = 1) -> tuple[str, Element]:
    """A run that waits, by its path, and the page that shows it."""
    asked = await browser.post("/messages", content=script_sum(model, times), project=project, stream="")
    assert asked.status_code == 200, asked.text
    page = await browser.open("/")
    swap(page, asked.text)
    return asked.headers["HX-Push-Url"], page


@pytest.mark.parametrize("scripted", [True, False])
@pytest.mark.parametrize("button", ["Approve once", "For this reply", "Always here", "Decline"])
async def test_a_person_decides_in_the_page(
    browser: Browser, program: Program, model: ModelServer, project: str, button: str, scripted: bool
) -> None:
    """Also one who does not stream replies: the page comes back when the reply waits for them."""
    path, page = await ask(browser, model, project)
    [card] = with_class(page, "approval")
    assert with_class(card, "approval__title")[0].text == "May Assistant use add of sums?"
    assert json.loads(inputs(card)) == {"a": 2, "b": 3}
    assert "is waiting for you" in " ".join(with_class(page, "badge")[0].text.split())
    fresh = await browser.open(path)
    assert title(fresh).startswith("Waiting for you · ")
    assert with_class(fresh, "approval")[0].html() == card.html()
    form = next(form for form in card if form.tag == "form" and button in form.text)
    fields = {
        str(field.attributes["name"]): str(field.attributes.get("value") or "")
        for field in form
        if (field.tag == "input") or (field.tag == "button" and field.text == button and "name" in field.attributes)
    }
    address = str(form.attributes["action"])
    sent = await (browser.post(address, shown=path, **fields) if scripted else browser.submit(address, **fields))
    run = address.split("/")[2]
    assert (sent.status_code, sent.headers.get("location", "").partition("?")[0]) == (
        (204, "") if scripted else (303, path)
    )
    events = await program.events(run)
    words = {"Approve once": "once", "For this reply": "run", "Always here": "always", "Decline": "decline"}
    assert decisions(events) == ["asked", words[button]]
    late = await (browser.post(address, shown=path, **fields) if scripted else browser.submit(address, **fields))
    assert late.status_code == 409
    assert "decided already" in late.text
    done = await browser.open(path)
    assert with_class(done, "approval") == []
    assert title(done).startswith("add up")
    transcript = (await program.client.get(f"/api/conversations/{path.removeprefix('/c/')}/transcript")).text
    said = {"Approve once": "Approved once.", "Decline": "Declined."}
    assert said.get(button, "Approved") in transcript


def title(page: Element) -> str:
    return next(element.text for element in page if element.tag == "title")


def inputs(card: Element) -> str:
    [shown] = with_class(card, "approval__input")
    return shown.text


async def test_a_page_without_scripts_asks_while_the_reply_grows(
    browser: Browser, program: Program, model: ModelServer, project: str
) -> None:
    path, _ = await ask(browser, model, project, times=2)
    for _ in range(2):
        grown = ""
        async with browser.client.stream("GET", f"{path}?live=1") as answer:
            async for piece in answer.aiter_text():
                grown += piece
                if "approval__until" in grown:
                    break
        [address] = set(re.findall(r'action="(/runs/[^"]+/approvals/[^"]+)"', grown))
        assert (await browser.submit(address, decision="once")).status_code == 303
    whole = parse((await browser.client.get(f"{path}?live=1")).text)
    assert with_class(whole, "approval") == []


async def test_what_is_always_allowed_is_seen_and_taken_back(
    browser: Browser, program: Program, model: ModelServer, project: str
) -> None:
    run, asked = await start_sum(program, model, project, times=2)
    await decide(program, run, asked["call_id"], decision="always")
    assert decisions(await program.events(run)) == ["asked", "always"]
    conversation = await program.new_conversation(project_id=project)
    again = await program.start(conversation, script_sum(model))
    assert decisions(await program.events(again["run_id"])) == []
    page = await browser.open(f"/p/{project}/tools")
    [kept] = [item for each in with_class(page, "tools") for item in each.elements]
    assert "add" in kept.text
    await take_everything_back(browser, project)
    assert with_class(await browser.open(f"/p/{project}/tools"), "tools") == []
    run, asked = await start_sum(program, model, project)
    await decide(program, run, asked["call_id"], decision="decline")
    await program.events(run)


async def test_a_server_that_can_do_no_harm_need_not_ask(
    browser: Browser, program: Program, model: ModelServer, project: str, tools_over_http: str
) -> None:
    page = await browser.open(f"/p/{project}/tools")
    assert "Asks before each use." in the(page, "main").text
    assert (await browser.submit(form_for(page, "/consents"), asks="")).status_code == 303
    assert "Never asks." in the(await browser.open(f"/p/{project}/tools"), "main").text
    conversation = await program.new_conversation(project_id=project)
    run = await program.start(conversation, script_sum(model))
    assert decisions(await program.events(run["run_id"])) == []
    assert (await browser.submit(form_for(page, "/consents"), asks="on")).status_code == 303
    await start_sum(program, model, project)
    added = await browser.submit(f"/p/{project}/tools", name="free", address=tools_over_http, asks="")
    assert added.status_code == 303
    assert "Never asks." in the(await browser.open(f"/p/{project}/tools"), "main").text


async def test_other_servers_permissions_cannot_be_taken_back_here(
    browser: Browser, program: Program, model: ModelServer, project: str
) -> None:
    page = await browser.open(f"/p/{project}/tools")
    server = form_for(page, "/consents").removesuffix("/consents")
    assert (await browser.submit(f"{server}/permissions/{uuid4()}/withdrawals")).status_code == 404
    assert (await browser.submit(f"/p/{uuid4()}/tools/{server.split('/')[-1]}/consents")).status_code == 404
