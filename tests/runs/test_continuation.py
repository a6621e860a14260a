"""Which known conversation a history that somebody brings goes on in."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from uuid_utils.compat import uuid7

from riverrun.agents.exchange import Message
from riverrun.persistence.repositories import Conversations, Messages
from riverrun.persistence.statements import ADD_CONVERSATION, ADD_MESSAGE, Row
from riverrun.runs.continuation import Place, place_after
from riverrun.runs.rows import conversation_row, message_row

MORNING = datetime(2026, 1, 1, tzinfo=UTC)


def history(*texts: str) -> list[Message]:
    """A person and an agent in turns."""
    return [Message(role="assistant" if n % 2 else "user", content=text) for n, text in enumerate(texts)]


@pytest.fixture
async def messages(database: SQLAlchemyAsyncConfig) -> AsyncIterator[Messages]:
    async with database.create_session_maker()() as session:
        yield Messages(session=session)


async def known(messages: Messages, *texts: str, hours: int = 0) -> list[Place]:
    """The places after each message of a conversation that says this; `hours` after the morning it was last active."""
    at = MORNING + timedelta(hours=hours)
    conversation = conversation_row(uuid7(), "", "assistant", at)
    rows: list[Row] = []
    for said in history(*texts):
        parent_id = rows[-1]["id"] if rows else None
        rows.append(message_row(uuid7(), conversation["id"], said.role, said.content, at, parent_id=parent_id))
    await messages.session.execute(ADD_CONVERSATION, [conversation])
    await messages.session.execute(ADD_MESSAGE, rows)
    return [Place(conversation["id"], UUID(str(row["id"]))) for row in rows]


async def test_it_goes_on_after_the_reply_that_came_last(messages: Messages) -> None:
    places = await known(messages, "Hello?", "Hello.", "And?", "Yes.")
    await known(messages, "Another?", "Hello.", "And?", "Yes.", hours=1)
    assert await place_after(history("Hello?", "Hello.", "And?", "Yes."), messages) == places[3]
    assert await place_after(history("Hello?", "Hello."), messages) == places[1]


@pytest.mark.parametrize(
    "texts",
    [(), ("Hello?",), ("Hello!", "Hello."), ("Hello?", "hello."), ("Before.", "That.", "Hello?", "Hello.")],
    ids=["nothing", "no reply", "another question", "another reply", "more before"],
)
async def test_another_history_has_no_place(messages: Messages, texts: tuple[str, ...]) -> None:
    await known(messages, "Hello?", "Hello.")
    assert await place_after(history(*texts), messages) is None


async def test_the_end_of_a_longer_conversation_is_not_a_place(messages: Messages) -> None:
    await known(messages, "Before.", "That.", "Hello?", "Hello.")
    assert await place_after(history("Hello?", "Hello."), messages) is None


async def test_instructions_do_not_count_and_neither_do_replies_that_stayed_empty(messages: Messages) -> None:
    places = await known(messages, "Hello?", "", "Hello again?", "Hello.")
    said = [Message(role="system", content="Be kind."), *history("Hello?", ""), *history("Hello again?", "Hello.")]
    assert await place_after([message for message in said if message.content], messages) == places[3]


async def test_of_two_conversations_the_later_one_goes_on(messages: Messages) -> None:
    await known(messages, "Hello?", "Hello.")
    later = await known(messages, "Hello?", "Hello.")
    assert await place_after(history("Hello?", "Hello."), messages) == later[1]


async def test_a_deleted_conversation_does_not_go_on(messages: Messages) -> None:
    earlier = await known(messages, "Hello?", "Hello.")
    later = await known(messages, "Hello?", "Hello.")
    await Conversations(session=messages.session).discard(later[0].conversation_id)
    assert await place_after(history("Hello?", "Hello."), messages) == earlier[1]


async def test_only_the_latest_conversations_are_looked_through(messages: Messages) -> None:
    await known(messages, "Hello?", "Hello.", hours=1)
    await known(messages, "Other?", "Other.", hours=2)
    assert await messages.replies("Hello.", latest=1) == []
    assert len(await messages.replies("Hello.", latest=2)) == 1
