"""Texts that are being written, for pages that come and go."""

import asyncio
from uuid import uuid4

from riverrun.agents.events import AgentChunk, AgentStart
from riverrun.rendering.lately import Lately, lately, rendering_ahead
from riverrun.rendering.markdown import MarkdownStream, render
from riverrun.runs.view import RunView

MESSAGE = uuid4()
LONG = "Some *text* that [goes on][1].\n\n```python\nif a:\n    pass\n```\n\n" * 40


def html(stream: MarkdownStream) -> str:
    return stream.finished + stream.tail


def test_a_text_that_has_grown_is_shown_whole() -> None:
    lately = Lately()
    for length in (1500, 1507, 2000, len(LONG)):
        assert html(lately.stream(MESSAGE, 1, LONG[:length])) == render(LONG[:length])


def test_a_text_is_shown_as_it_was() -> None:
    lately = Lately()
    lately.stream(MESSAGE, 1, LONG)
    assert html(lately.stream(MESSAGE, 1, LONG[:1200])) == render(LONG[:1200])


def test_a_further_attempt_begins_anew() -> None:
    lately = Lately()
    lately.stream(MESSAGE, 1, LONG)
    again = "Another " + LONG
    assert html(lately.stream(MESSAGE, 1, again)) == render(again)


def test_who_goes_on_with_a_text_changes_it_for_nobody_else() -> None:
    lately = Lately()
    lately.stream(MESSAGE, 1, LONG).feed("[1]: https://example.org\n\nMine alone")
    assert html(lately.stream(MESSAGE, 1, LONG)) == render(LONG)
    assert html(lately.stream(MESSAGE, 2, LONG[:1100])) == render(LONG[:1100])


def test_what_a_follower_leaves_behind_is_gone_on_with() -> None:
    lately, stream = Lately(), MarkdownStream()
    stream.feed(LONG[:1300])
    lately.keep(MESSAGE, 1, LONG[:1300], stream)
    stream.feed("and on")
    assert html(lately.stream(MESSAGE, 1, LONG)) == render(LONG)


def test_a_text_that_ended_is_shown_whole() -> None:
    lately = Lately()
    lately.stream(MESSAGE, 1, LONG[:1300])
    assert lately.whole(MESSAGE, 1, LONG) == render(LONG)
    assert lately.whole(MESSAGE, 1, LONG) == render(LONG)


def test_a_text_that_ended_in_another_way_is_shown_as_it_ended() -> None:
    lately = Lately()
    lately.stream(MESSAGE, 1, LONG)
    assert lately.whole(MESSAGE, 1, "In short: " + LONG) == render("In short: " + LONG)


async def test_a_long_reply_is_rendered_though_nobody_looks() -> None:
    view = RunView(uuid4(), uuid4())
    for event in (AgentStart(turn=1, agent="A"), AgentChunk(turn=1, agent="A", text=2 * LONG)):
        view.apply(event)
    looks: asyncio.Queue[None] = asyncio.Queue()

    def views() -> list[RunView]:
        looks.put_nowait(None)
        return [view]

    async with rendering_ahead(views):
        await looks.get()
        await looks.get()  # the second comes when the first is done
        assert lately.length(view.message_id, 1) == len(2 * LONG)
    assert html(lately.stream(view.message_id, 1, 2 * LONG)) == render(2 * LONG)
