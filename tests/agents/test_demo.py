"""The demo model is quick to understand and never pretends."""

import pytest

from riverrun.agents.model import DemoModel, Finished, Message, Model, Reasoning, Text
from tests.agents.replies import reply_of, text_of


@pytest.fixture
def demo() -> Model:
    return DemoModel(pace=0)


async def test_it_thinks_then_speaks_then_counts(demo: Model) -> None:
    deltas = await reply_of(demo, "Hello!")

    kinds = [type(delta) for delta in deltas]
    assert kinds[0] is Reasoning
    assert kinds == sorted(kinds, key=[Reasoning, Text, Finished].index)
    finished = deltas[-1]
    assert isinstance(finished, Finished)
    assert finished.usage is not None
    assert finished.usage.output_tokens == kinds.count(Text) > 20


async def test_a_greeting_says_how_to_connect_a_model(demo: Model) -> None:
    reply = text_of(await reply_of(demo, "Hello!"))

    assert "demo model" in reply
    assert "RIVERRUN_MODEL_URL" in reply


@pytest.mark.parametrize(
    ("question", "sign"),
    [
        ("Show me a table", "|:--|"),
        ("Give me a list of things", "1. "),
        ("A task list, please", "- [x] "),
        ("Write some Python", "```python\n"),
        ("Do you have a quote?", "\n> "),
        ("I like headings", "\n## "),
    ],
)
async def test_it_shows_what_the_page_can_do(demo: Model, question: str, sign: str) -> None:
    assert sign in text_of(await reply_of(demo, question))


async def test_it_shows_several_things_at_once(demo: Model) -> None:
    reply = text_of(await reply_of(demo, "a table and some code"))

    assert "|:--|" in reply
    assert "```python\n" in reply


async def test_otherwise_it_repeats_the_question_and_admits_what_it_is(demo: Model) -> None:
    reply = text_of(await reply_of(demo, "Why is the sky blue?"))

    assert "> Why is the sky blue?" in reply
    assert "work by rules" in reply


async def test_it_knows_how_many_messages_there_were(demo: Model) -> None:
    conversation = [Message("user", "One"), Message("assistant", "Yes?"), Message("user", "Two")]

    reply = text_of([delta async for delta in demo.stream(conversation)])

    assert "message 2 of our conversation" in reply


@pytest.mark.parametrize("question", ["", " \n ", "<b>", "`" * 500])
async def test_it_has_an_answer_to_everything_and_always_the_same(demo: Model, question: str) -> None:
    assert text_of(await reply_of(demo, question))
    assert await reply_of(demo, question) == await reply_of(demo, question)
