"""A run shown again: every moment as it was, with nothing to be done to it, and the same when it is played."""

import json
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
from httpx_sse import aconnect_sse

from riverrun.agents.events import decode
from riverrun.rendering.templates import to_html
from riverrun.runs.view import RunView
from tests.controllers.api_kit import Program
from tests.controllers.page_kit import Browser, Frames, Sent, the, with_class
from tests.model_server import ModelServer
from tests.rendering.dom import Element, parse, swap
from tests.server import Server

TEXT = "A **river**\n\n1. one\n2. two\n\nThe end."


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Browser(client)


async def played(browser: Browser, run: str, after: int = 0, headers: dict[str, str] | None = None) -> Frames:
    path = f"{run}/replay/stream?after={after}&speed=0"
    async with aconnect_sse(browser.client, "GET", path, headers=headers or {}) as source:
        assert source.response.status_code == 200
        return Frames([message async for message in source.aiter_sse()])


async def finished(browser: Browser, model: ModelServer, word: str) -> Sent:
    """A run in which an agent has thought and written."""
    model.script([{"reasoning": "A thought."}, {"text": TEXT, "per": 3, "pause": 0.01}], match=word)
    return await browser.send_and_wait(word)


async def last_of(browser: Browser, run: str) -> int:
    return int(str(the(await browser.open(f"{run}/replay?at=99999"), "#moment").attributes["data-at"]))


def body(page: Element, sent: Sent) -> str:
    return the(page, f"#{str(sent.reply.attributes['id']).replace('message', 'body')}").html()


def moment(page: Element) -> str:
    return " ".join(the(page, "#moment").text.split())


async def test_every_moment_is_the_fold_of_the_events_until_then(
    browser: Browser, program: Program, model: ModelServer
) -> None:
    sent = await finished(browser, model, "moments")
    events = await program.events(sent.run.rpartition("/")[2])
    run = (await browser.client.get(f"/api{sent.run}")).json()
    view = RunView(UUID(run["id"]), UUID(run["message_id"]), replayed=True)
    assert len(events) > 6
    for event in events:
        view.apply(decode(json.dumps(event)))
        page = await browser.open(f"{sent.run}/replay?at={event['seq']}")
        assert body(page, sent) == parse(to_html("runs/_body.html", run=view)).elements[0].html()
        assert moment(page).startswith(f"Event {event['seq']} of {len(events)}")
    assert "The end." in view.content


async def test_what_was_asked_stands_above_and_the_way_back_too(browser: Browser, model: ModelServer) -> None:
    sent = await finished(browser, model, "what <was> asked")
    page = await browser.open(f"{sent.run}/replay")
    assert with_class(page, "message__text")[0].text == "what <was> asked"
    assert sent.path in page.html()
    assert moment(page).startswith("Event 1 of ")


async def test_nothing_can_be_done_to_what_is_over(browser: Browser, model: ModelServer) -> None:
    """Needs moments at which Stop and Try again would stand there to mean anything."""
    model.script([{"text": "Begun"}, {"cut": "reset"}], match="replayed failure", times=1)
    sent = await browser.send_and_wait("replayed failure")
    assert "Try again" in (await browser.open(sent.path)).text
    for at in range(1, await last_of(browser, sent.run) + 1):
        page = await browser.open(f"{sent.run}/replay?at={at}")
        forms = [form.attributes["action"] for form in page if form.tag == "form"]
        assert forms == [f"{sent.run}/replay"]
        assert [form.attributes["method"] for form in page if form.tag == "form"] == ["get"]
    assert "notice__text" in (await browser.client.get(f"{sent.run}/replay?at=99")).text


async def test_the_ways_lead_from_event_to_event(browser: Browser, model: ModelServer) -> None:
    sent = await finished(browser, model, "the ways")
    last = await last_of(browser, sent.run)
    assert the(await browser.open(f"{sent.run}/replay"), "#seek").attributes["max"] == str(last)
    for at, ways in ((1, [1, 1, 2, last]), (3, [1, 2, 4, last]), (last, [1, last - 1, last, last])):
        page = await browser.open(f"{sent.run}/replay?at={at}")
        links = [link for steps in with_class(page, "replay__steps") for link in steps.elements]
        assert [link.attributes["href"] for link in links] == [f"{sent.run}/replay?at={way}" for way in ways]
        assert [("aria-disabled" in link.attributes) for link in links] == [way == at for way in ways]


async def test_an_open_page_goes_to_a_moment(browser: Browser, model: ModelServer) -> None:
    sent = await finished(browser, model, "goes to")
    last = await last_of(browser, sent.run)
    page = await browser.open(f"{sent.run}/replay?at={last}")
    the(page, "#replay").append(Element("div", {"id": f"stream-{the(page, '#replay').attributes['data-message']}"}))
    answer = await browser.client.get(f"{sent.run}/replay?at=3", headers={"HX-Request": "true"})
    swap(page, answer.text)
    fresh = await browser.open(f"{sent.run}/replay?at=3")
    for part in ("#moment", "#replay-back", "#replay-on"):
        assert the(page, part).html() == the(fresh, part).html()
    assert body(page, sent) == body(fresh, sent)
    assert "stream-" not in page.html()
    assert the(page, "#status").text.startswith("Event 3 of")


@pytest.mark.parametrize("begin", [1, 4])
async def test_a_run_that_is_played_ends_as_it_ended(browser: Browser, model: ModelServer, begin: int) -> None:
    sent = await finished(browser, model, f"played from {begin}")
    page = await browser.open(f"{sent.run}/replay?at={begin}")
    the(page, "#replay").append(Element("div", {"id": f"stream-{the(page, '#replay').attributes['data-message']}"}))
    frames = await played(browser, sent.run, begin)
    for message in frames.messages:
        if message.event != "message":
            continue
        swap(page, message.data)
        then = await browser.open(f"{sent.run}/replay?at={message.id}")
        assert body(page, sent) == body(then, sent)
        assert the(page, "#moment").html() == the(then, "#moment").html()
    fresh = await browser.open(f"{sent.run}/replay?at={await last_of(browser, sent.run)}")
    for part in ("#replay-back", "#replay-on", "#replay"):
        told = [[link.html() for link in with_class(the(each, part), "button")] for each in (page, fresh)]
        assert told[0] == told[1]
    assert frames.names == ["done"]


async def test_playing_goes_on_where_it_was_interrupted(browser: Browser, model: ModelServer) -> None:
    sent = await finished(browser, model, "interrupted")
    last = await last_of(browser, sent.run)
    frames = await played(browser, sent.run, 1, {"Last-Event-ID": str(last - 1)})
    assert [message.id for message in frames.messages if message.event == "message"] == [str(last)]
    assert (await played(browser, sent.run, last)).names == ["done"]
    assert (await played(browser, sent.run, last)).partials == []


async def test_a_run_at_work_has_moments_but_is_not_played(browser: Browser, model: ModelServer) -> None:
    model.script([{"text": "The first part"}, {"gate": "at-work"}], match="at work")
    sent = await browser.send("at work")
    model.wait_gate("at-work")
    page = await browser.open(f"{sent.run}/replay?at=1")
    assert moment(page).startswith("Event 1 of")
    assert page.find("#play") is None
    assert "follow it in its conversation" in page.text
    assert "Stop" not in page.text
    assert (await browser.client.get(f"{sent.run}/replay/stream")).status_code == 409
    model.open_gate("at-work")
    await browser.frames(sent.run)
    assert the(await browser.open(f"{sent.run}/replay"), "#play")


@pytest.mark.parametrize("query", ["?at=0", "?at=-1", "?at=x", "/stream?speed=-1", "/stream?speed=1000"])
async def test_what_is_no_moment_is_refused(browser: Browser, model: ModelServer, query: str) -> None:
    sent = await browser.send_and_wait("no moment")
    assert (await browser.client.get(f"{sent.run}/replay{query}")).status_code == 400


async def test_there_is_no_replay_of_what_is_not_there(browser: Browser) -> None:
    sent = await browser.send_and_wait("about to go")
    await browser.submit(f"{sent.path}/deletions")
    for path in ("replay", "replay?at=2", "replay/stream"):
        assert (await browser.client.get(f"{sent.run}/{path}")).status_code == 404


async def test_a_finished_message_leads_to_its_replay_and_its_activity_to_moments(browser: Browser) -> None:
    sent = await browser.send_and_wait("activity")
    page = await browser.open(sent.path)
    links = [str(link.attributes["href"]) for link in page if link.tag == "a"]
    assert f"{sent.run}/replay" in links
    for line in with_class(page, "entry-line__at"):
        then = await browser.open(str(line.attributes["href"]))
        assert with_class(then, "entry-line__at")[-1].attributes["href"] == line.attributes["href"]


async def test_a_chunk_is_told_by_its_text(browser: Browser, model: ModelServer) -> None:
    sent = await finished(browser, model, "told by its text")
    pages = [await browser.open(f"{sent.run}/replay?at={at}") for at in range(1, await last_of(browser, sent.run))]
    told = [moment(page) for page in pages]
    assert any("agent chunk" in line and "ver" in line for line in told), told
