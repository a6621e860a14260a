"""What a person's browser gets, with scripts and without."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from uuid import uuid4

import httpx
import pytest

from tests.controllers.page_kit import Browser, classes, form_for, run_of, the, with_class
from tests.model_server import ModelServer
from tests.rendering.dom import Element, parse, swap
from tests.server import Server


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Browser(client)


def markup(reply: Element) -> str:
    """A reply as the page shows it, but for the cursor it was loaded with."""
    for element in reply:
        element.attributes.pop("hx-sse:connect", None)
    return reply.html()


def gated(model: ModelServer, word: str) -> None:
    """Asked with this word, the model says a first part, and the second when the gate of that name is opened."""
    model.script([{"text": "The **first** part"}, {"gate": word}, {"text": " and the second.\n\nEnd."}], match=word)


# The page


async def test_the_first_page_invites_and_says_who_answers(browser: Browser) -> None:
    page = await browser.open("/")
    welcome = with_class(page, "welcome")[0]
    assert "answers here" in welcome.text
    ideas = [element for element in welcome if element.tag == "a"]
    filled = await browser.open(str(ideas[0].attributes["href"]))
    assert the(filled, "#content").text.strip() == ideas[0].text


async def test_a_page_holds_nothing_that_the_policy_forbids(browser: Browser) -> None:
    sent = await browser.send_and_wait("<script>alert(1)</script> <img src=x onerror=alert(2)>")
    for path in ("/", sent.path, f"/c/{uuid4()}"):
        for element in parse((await browser.client.get(path)).text):
            assert not {name for name in element.attributes if name == "style" or name.startswith(("on", "hx-on"))}
            assert element.tag != "style"
            assert element.tag != "script" or str(element.attributes["src"]).startswith("/static/")


async def test_what_a_page_loads_is_there_and_kept_for_good(browser: Browser) -> None:
    page = await browser.open("/")
    loaded = [
        str(element.attributes.get("src") or element.attributes.get("href"))
        for element in page
        if element.tag in ("script", "link")
    ]
    assert len(loaded) > 8
    for path in loaded:
        answer = await browser.client.get(path)
        assert answer.status_code == 200, path
        assert "immutable" in answer.headers["cache-control"]


async def test_scripts_stay_small(browser: Browser) -> None:
    sent = await browser.send_and_wait("small scripts")
    for path in (sent.path, f"{sent.run}/replay"):
        scripts = [script.attributes["src"] for script in await browser.open(path) if script.tag == "script"]
        assert len(scripts) > 5
        loaded = [(await browser.client.get(str(script))).content for script in scripts]
        assert sum(len(gzip.compress(script)) for script in loaded) <= (26_000 if path == sent.path else 28_000)


async def test_what_was_said_is_shown_as_it_was_written(browser: Browser) -> None:
    said = "<b>not bold</b>\n\n  & **not this** either"
    sent = await browser.send_and_wait(said)
    page = await browser.open(sent.path)
    assert with_class(page, "message__text")[0].text == said


async def test_an_unknown_address_gets_a_page_that_leads_back(browser: Browser) -> None:
    for path in (f"/c/{uuid4()}", "/nowhere"):
        page = await browser.open(path, status=404)
        assert [element.attributes["href"] for element in the(page, "#main") if element.tag == "a"] == ["/"]


async def test_a_long_conversation_goes_back_in_pages(browser: Browser) -> None:
    path = (await browser.send_and_wait("number 0")).path
    for number in range(1, 27):
        await browser.send_and_wait(f"number {number}", path)
    page = await browser.open(path)
    shown = [element.text for element in with_class(page, "message__text")]
    assert shown == [f"number {number}" for number in range(2, 27)]
    link = next(element for element in with_class(page, "page__earlier")[0] if element.tag == "a")
    earlier = await browser.open(str(link.attributes["href"]))
    assert [element.text for element in with_class(earlier, "message__text")] == ["number 0", "number 1"]


# Sending


async def test_a_new_conversation_comes_into_the_open_page(browser: Browser) -> None:
    sent = await browser.send("Where do rivers begin?")
    assert with_class(sent.user_message, "message__text")[0].text == "Where do rivers begin?"
    assert "is thinking" in with_class(sent.reply, "badge")[0].text
    assert the(sent.page, "#title").text == "Where do rivers begin?"
    newest = the(sent.page, "#conversations").elements[0]
    assert next(a for a in newest if a.tag == "a").attributes == {
        "class": "entry__title",
        "href": sent.path,
        "aria-current": "page",
    }
    assert the(sent.page, "#composer-conversation").attributes["value"] == sent.path.removeprefix("/c/")


async def test_the_open_page_becomes_what_a_reload_shows(browser: Browser, model: ModelServer) -> None:
    gated(model, "becomes")
    sent = await browser.send("what becomes of it?")
    reply = str(sent.reply.attributes["id"])
    seen = 0
    async with browser.follow(sent.run) as stream:
        async for message in stream:
            if message.event != "message":
                continue
            swap(sent.page, message.data)
            if not seen and "part" in the(sent.page, f"#{reply}").text:
                assert markup(the(sent.page, f"#{reply}")) == markup(the(await browser.open(sent.path), f"#{reply}"))
                model.open_gate("becomes")
                seen = int(message.id)
    assert seen, "needs a look at the unfinished reply to mean anything"
    shown = the(sent.page, f"#{reply}")
    assert "and the second" in shown.text
    assert not with_class(shown, "stream")
    assert markup(shown) == markup(the(await browser.open(sent.path), f"#{reply}"))


async def test_a_message_goes_into_its_conversation_and_moves_it_to_the_top(browser: Browser) -> None:
    first = await browser.send_and_wait("the first of two")
    await browser.send_and_wait("the second of two")
    again = await browser.send_and_wait("more of the first", first.path)
    listed = the(await browser.open("/"), "#conversations").elements
    assert first.path in listed[0].html()
    assert [text.text for text in with_class(again.page, "message__text")] == ["the first of two", "more of the first"]


async def test_without_streaming_one_request_brings_the_whole_reply(browser: Browser) -> None:
    sent = await browser.send("all at once", stream="")
    assert "You said" in sent.reply.text
    assert not with_class(sent.reply, "stream")
    reply = the(await browser.open(sent.path), f"#{sent.reply.attributes['id']}")
    assert markup(sent.reply) == markup(reply)


async def test_what_cannot_be_sent_is_explained_beside_the_composer(browser: Browser) -> None:
    for content, status, words in ((" \n ", 400, "Write something"), ("x" * 5001, 413, "may have 5,000")):
        answer = await browser.post("/messages", content=content)
        assert answer.status_code == status
        assert words in answer.text
        assert "<" not in answer.text, "it becomes the text of one element"


async def test_what_cannot_be_sent_stays_in_the_composer_without_scripts(browser: Browser) -> None:
    sent = await browser.send_and_wait("before")
    long, conversation = "x" * 5001, sent.path.removeprefix("/c/")
    answer = await browser.submit("/messages", content=long, conversation=conversation)
    assert answer.status_code == 413
    page = parse(answer.text)
    assert the(page, "#composer-conversation").attributes["value"] == conversation
    assert the(page, "#content").text.strip() == long
    assert "may have 5,000" in the(page, "#problem").text


async def test_what_is_sent_while_a_reply_is_written_is_taken_into_it(browser: Browser, model: ModelServer) -> None:
    gated(model, "patience")
    sent = await browser.send("patience")
    said = {"content": "and in brief", "conversation": sent.path.removeprefix("/c/"), "stream": "on"}
    answer = await browser.post("/messages", shown=sent.path, **said)
    swap(sent.page, answer.text)
    waiting = the(sent.page, "#queue").elements
    assert "Pending" in waiting[0].text
    assert "and in brief" in waiting[0].text
    answer = await browser.post("/messages", shown=sent.path, **(said | {"content": "and in prose"}))
    assert answer.status_code == 200, answer.text
    swap(sent.page, answer.text)
    assert len(the(await browser.open(sent.path), "#queue").elements) == 2

    model.open_gate("patience")
    for change in (await browser.frames(sent.run)).partials:
        swap(sent.page, change)
    fresh = await browser.open(sent.path)
    for page in (sent.page, fresh):
        assert [text.text for text in with_class(page, "message__text")] == ["patience", "and in brief", "and in prose"]
        assert the(page, "#messages").elements[-1].attributes["id"] == sent.reply.attributes["id"]
        assert "You added" in the(page, f"#{sent.reply.attributes['id']}").text
    assert the(fresh, "#queue").elements == []
    asked = model.requests()[-1]["body"]["messages"]
    assert [message["role"] for message in asked[1:]] == ["user", "assistant", "user"]
    assert asked[-1]["content"] == "and in brief\n\nand in prose"


async def test_without_scripts_something_can_be_added_too(browser: Browser, model: ModelServer) -> None:
    gated(model, "listening")
    sent = await browser.send("listening")
    said = {"content": "one thing more", "conversation": sent.path.removeprefix("/c/"), "when": "now"}
    answer = await browser.submit("/messages", **said)
    assert answer.status_code == 303
    model.open_gate("listening")
    page = parse((await browser.client.get(answer.headers["location"])).text)  # which grows until the reply is written
    assert "one thing more" in with_class(page, "message--assistant")[0].text
    shown = [text.text for text in with_class(await browser.open(sent.path), "message__text")]
    assert shown == ["listening", "one thing more"]


async def test_what_is_sent_for_later_is_the_next_turn(browser: Browser, model: ModelServer) -> None:
    gated(model, "step-by-step")
    sent = await browser.send("step-by-step")
    said = {"conversation": sent.path.removeprefix("/c/"), "stream": "on", "when": "next"}
    for content in ("the second", "the third", "never mind"):
        swap(sent.page, (await browser.post("/messages", shown=sent.path, content=content, **said)).text)
    waiting = the(sent.page, "#queue").elements
    assert ["Next" in entry.text for entry in waiting] == [True, True, True]
    removal = form_for(waiting[2], "/withdrawals")
    swap(sent.page, (await browser.post(removal, shown=sent.path)).text)
    assert len(the(sent.page, "#queue").elements) == 2
    assert (await browser.post(removal, shown=sent.path)).status_code == 404

    model.open_gate("step-by-step")
    await browser.frames(sent.run)
    page = await wait_for_messages(browser, sent.path, 6)
    texts = [text.text for text in with_class(page, "message__text")]
    assert texts == ["step-by-step", "the second", "the third"]
    assert the(page, "#queue").elements == []


async def wait_for_messages(browser: Browser, path: str, count: int) -> Element:
    """The page once that many messages are there and the last reply is written; followed run by run."""
    while True:
        page = await browser.open(path)
        messages = the(page, "#messages").elements
        if with_class(messages[-1], "stream"):
            await browser.frames(run_of(messages[-1]))
        elif len(messages) == count:
            return page


async def test_a_message_is_edited_beside_the_one_that_there_is(browser: Browser) -> None:
    sent = await browser.send_and_wait("the first wording")
    await browser.send_and_wait("and then", sent.path)
    page = await browser.open(sent.path)
    edit = await browser.post(form_for(page, "/edits"), shown=sent.path, content="a better one")
    swap(page, edit.text)
    messages = the(page, "#messages").elements
    assert len(messages) == 2
    assert "a better one" in messages[0].text
    assert "2 of 2" in messages[0].text
    await browser.frames(run_of(messages[1]))
    fresh = await browser.open(sent.path)
    assert [text.text for text in with_class(fresh, "message__text")] == ["a better one"]

    assert (await browser.submit(form_for(fresh, "/selections"))).status_code == 303
    page = await browser.open(sent.path)
    assert [text.text for text in with_class(page, "message__text")] == ["the first wording", "and then"]
    assert "1 of 2" in the(page, "#messages").elements[0].text


async def test_a_model_is_given_the_branch_that_it_answers_in(browser: Browser, model: ModelServer) -> None:
    model.script([{"text": "A bad reply"}], match="branch question", times=1)
    model.script([{"text": "A good reply"}], match="branch question", times=1)
    sent = await browser.send_and_wait("branch question")
    swap(sent.page, (await browser.post(f"{sent.run}/retries", shown=sent.path)).text)
    again = the(sent.page, "#messages").elements[-1]
    await browser.frames(run_of(again))
    await browser.send_and_wait("what follows", sent.path)
    said = [message["content"] for message in model.requests()[-1]["body"]["messages"][1:]]
    assert said == ["branch question", "A good reply", "what follows"]


async def test_another_team_and_another_model_can_try_again(browser: Browser, model: ModelServer) -> None:
    sent = await browser.send_and_wait("who else")
    form = parse((await browser.client.get(f"{sent.run}/retries/new")).text)
    assert "Coordinator" in form.text
    answer = await browser.post(f"{sent.run}/retries", shown=sent.path, team="assistant", model="another-model")
    swap(sent.page, answer.text)
    again = the(sent.page, "#messages").elements[-1]
    await browser.frames(run_of(again))
    assert model.requests()[-1]["body"]["model"] == "another-model"
    assert "another-model" in (await browser.open(sent.path)).text
    refused = await browser.post(f"{sent.run}/retries", shown=sent.path, team="nobody")
    assert refused.status_code == 400


# Following


async def test_a_stream_says_at_once_that_it_is_open_and_ends_with_its_end(browser: Browser) -> None:
    sent = await browser.send_and_wait("open and done")
    frames = await browser.frames(sent.run)
    assert frames.names == ["open", "done"]
    assert frames.messages[0].event == "open"
    assert len(frames.partials) == 1, "one snapshot, and not the run's whole history"


async def test_a_page_that_has_it_all_is_told_nothing_again(browser: Browser) -> None:
    sent = await browser.send_and_wait("nothing new")
    end = (await browser.frames(sent.run)).messages[1].id
    for frames in (
        await browser.frames(sent.run, after=int(end)),
        await browser.frames(sent.run, headers={"Last-Event-ID": end}),
    ):
        assert frames.names == ["open", "done"]
        assert frames.partials == []


async def test_a_page_that_comes_back_gets_what_it_missed(browser: Browser, model: ModelServer) -> None:
    gated(model, "returning")
    sent = await browser.send("returning")
    seen = ""
    async with browser.follow(sent.run) as stream:
        async for message in stream:
            if message.event == "message":
                swap(sent.page, message.data)
            if "part" in the(sent.page, "#messages").text:
                seen = message.id
                break
    model.open_gate("returning")
    for missed in (await browser.frames(sent.run, headers={"Last-Event-ID": seen})).partials:
        swap(sent.page, missed)
    reply = f"#{sent.reply.attributes['id']}"
    assert markup(the(sent.page, reply)) == markup(the(await browser.open(sent.path), reply))


async def test_a_silent_stream_beats_like_a_heart(browser: Browser, model: ModelServer) -> None:
    gated(model, "silence")
    sent = await browser.send("silence")
    async with browser.follow(sent.run) as stream:
        async for message in stream:
            if message.event == "heartbeat":
                break
            assert message.event != "done"
    model.open_gate("silence")
    await browser.frames(sent.run)


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 30])
async def test_a_cursor_that_is_no_number_is_refused(browser: Browser, cursor: str) -> None:
    sent = await browser.send_and_wait("a cursor")
    for path in ("stream", "snapshot"):
        assert (await browser.client.get(f"{sent.run}/{path}?after={cursor}")).status_code == 400


async def test_a_cursor_beyond_the_end_gets_what_there_is(browser: Browser) -> None:
    sent = await browser.send_and_wait("beyond")
    frames = await browser.frames(sent.run, after=10_000)
    swap(sent.page, frames.partials[0])
    assert "beyond" in the(sent.page, f"#{sent.reply.attributes['id']}").text
    assert frames.names == ["open", "done"]


async def test_a_run_that_nobody_knows_is_not_found(browser: Browser) -> None:
    for path in ("stream", "snapshot"):
        assert (await browser.client.get(f"/runs/{uuid4()}/{path}")).status_code == 404


async def test_polling_brings_the_same_reply(browser: Browser, model: ModelServer) -> None:
    gated(model, "polling")
    sent = await browser.send("polling")
    reply, after = f"#{sent.reply.attributes['id']}", "0"
    for _ in range(200):
        answer = await browser.client.get(f"{sent.run}/snapshot?after={after}")
        if answer.status_code == 200:
            after = answer.headers["Last-Event-ID"]
            swap(sent.page, answer.text)
        if "part" in the(sent.page, reply).text:
            model.open_gate("polling")
        if not with_class(the(sent.page, reply), "stream"):
            break
        await asyncio.sleep(0.02)  # as a page does between two questions
    assert markup(the(sent.page, reply)) == markup(the(await browser.open(sent.path), reply))
    assert (await browser.client.get(f"{sent.run}/snapshot?after={after}")).status_code == 204


async def test_a_page_that_was_away_hears_what_another_one_said(browser: Browser) -> None:
    here = await browser.send_and_wait("said here")
    last = str(here.reply.attributes["id"]).removeprefix("message-")
    assert (await browser.client.get(f"{here.path}/updates?after={last}")).status_code == 204
    await browser.send_and_wait("said elsewhere", here.path)
    swap(here.page, (await browser.client.get(f"{here.path}/updates?after={last}")).text)
    assert [text.text for text in with_class(here.page, "message__text")] == ["said here", "said elsewhere"]


# Acting


async def test_stop_ends_a_reply_and_keeps_what_came(browser: Browser, model: ModelServer) -> None:
    gated(model, "stopping")
    sent = await browser.send("stopping")
    model.wait_gate("stopping")
    async with browser.follow(sent.run) as stream:
        async for message in stream:
            if message.event != "message":
                continue
            swap(sent.page, message.data)
            if "part" in message.data:
                assert (await browser.post(f"{sent.run}/cancellations", shown=sent.path)).status_code == 200
    reply = the(sent.page, f"#{sent.reply.attributes['id']}")
    assert "first part" in reply.text
    assert "Stopped" in with_class(reply, "run__facts")[0].text
    model.open_gate("stopping")


async def test_a_failure_is_explained_and_can_be_tried_again(browser: Browser, model: ModelServer) -> None:
    model.script([{"text": "Begun"}, {"cut": "reset"}], match="brittle", times=1)
    sent = await browser.send_and_wait("brittle")
    reply = the(await browser.open(sent.path), f"#{sent.reply.attributes['id']}")
    assert "Begun" in reply.text
    retry = next(form for form in with_class(reply, "notice")[0] if form.tag == "form")
    answer = await browser.post(str(retry.attributes["action"]), shown=sent.path)
    swap(sent.page, answer.text)
    second = the(sent.page, "#messages").elements[-1]
    await browser.frames(run_of(second))
    replies = with_class(await browser.open(sent.path), "message--assistant")
    assert "brittle" in replies[0].text
    assert "2 of 2" in replies[0].text
    assert len(replies) == 1


async def test_a_conversation_is_renamed(browser: Browser) -> None:
    sent = await browser.send_and_wait("an old title")
    answer = await browser.post(f"{sent.path}/title", shown=sent.path, title="A <new> title")
    swap(page := await browser.open(sent.path), answer.text)
    assert the(page, "#title").text == "A <new> title"
    assert "<title>A &lt;new&gt; title" in answer.text
    elsewhere = await browser.post(f"{sent.path}/title", shown="/", title="A newer title")
    assert "#title" not in elsewhere.text
    assert (await browser.post(f"{sent.path}/title", title=" ")).status_code == 400


async def test_a_deleted_conversation_can_be_had_back(browser: Browser) -> None:
    sent = await browser.send_and_wait("to be deleted")
    page = await browser.open("/")
    swap(page, (await browser.post(f"{sent.path}/deletions")).text)
    assert sent.path not in the(page, "#conversations").html()
    await browser.open(sent.path, status=404)
    undo = next(form for form in the(page, "#undo") if form.tag == "form")
    swap(page, (await browser.post(str(undo.attributes["action"]))).text)
    assert sent.path in the(page, "#conversations").html()
    assert the(page, "#undo").text.strip() == ""
    await browser.open(sent.path)


async def test_deleting_the_open_conversation_leads_away_and_stops_its_work(
    browser: Browser, model: ModelServer
) -> None:
    gated(model, "leaving")
    sent = await browser.send("leaving")
    model.wait_gate("leaving")
    answer = await browser.post(f"{sent.path}/deletions", shown=sent.path)
    page = await browser.open(answer.headers["HX-Redirect"])
    assert "leaving" in the(page, "#undo").text
    await browser.submit(f"{sent.path}/restorations")
    await browser.frames(sent.run)
    reply = the(await browser.open(sent.path), f"#{sent.reply.attributes['id']}")
    assert "Stopped" in with_class(reply, "run__facts")[0].text
    model.open_gate("leaving")


# Without scripts


async def test_without_scripts_a_reply_grows_in_the_page(browser: Browser, model: ModelServer) -> None:
    gated(model, "unscripted")
    sent = await browser.submit("/messages", content="unscripted", stream="on")
    assert sent.status_code == 303
    path, _, anchor = sent.headers["location"].partition("#")
    came = ""
    async with browser.client.stream("GET", path) as answer:
        async for text in answer.aiter_text():
            came += text
            if "part" in came:
                assert came.index('id="composer"') < came.index("part"), "what follows the reply comes last"
                assert came.index(">Stop<") < came.index("part")
                model.open_gate("unscripted")
    page = parse(came)
    assert with_class(the(page, f"#{anchor}"), "message__text")[0].text == "unscripted"
    prose = with_class(page, "prose")[-1]
    kept = [child.html() for child in prose.elements if "draft" not in classes(child)]
    fresh = await browser.open(path)
    assert kept == [child.html() for child in with_class(fresh, "prose")[-1].elements]


async def test_without_scripts_a_page_follows_by_itself(browser: Browser, model: ModelServer) -> None:
    gated(model, "followed")
    sent = await browser.send("followed")
    text = (await browser.client.get(sent.path)).text
    assert f'<noscript><meta http-equiv="refresh" content="0; url={sent.path}?live=1' in text
    model.open_gate("followed")
    await browser.frames(sent.run)
    assert "<noscript>" not in (await browser.client.get(sent.path)).text


async def test_without_scripts_and_streaming_the_answer_waits_for_the_reply(browser: Browser) -> None:
    sent = await browser.submit("/messages", content="unhurried")
    assert sent.status_code == 303
    assert "live" not in sent.headers["location"]
    page = await browser.open(sent.headers["location"])
    assert "You said" in with_class(page, "message--assistant")[0].text


async def test_without_scripts_everything_leads_to_a_page(browser: Browser) -> None:
    sent = await browser.send_and_wait("by hand")
    for action, data in (
        (f"{sent.path}/title", {"title": "By hand"}),
        (f"{sent.run}/cancellations", {}),
        (f"{sent.run}/retries", {}),
        (f"{sent.path}/deletions", {}),
        (f"{sent.path}/restorations", {}),
    ):
        answer = await browser.submit(action, **data)
        assert answer.status_code == 303, action
        assert (await browser.client.get(answer.headers["location"])).status_code == 200
    page = await browser.open(sent.path)
    assert the(page, "#title").text == "By hand"
