"""Decisions as models write them."""

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riverrun.agents.agent import Agent
from riverrun.agents.calls import printable
from riverrun.agents.decision import Decision, object_in
from riverrun.agents.exchange import Message
from riverrun.agents.model import ModelOptions, OpenAIModel
from tests.model_server import ModelServer


class Choice(msgspec.Struct):
    river: str


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers()))
@example("```json\n", {"a": "}"})
def test_the_object_is_found_whatever_stands_around_it(around: str, decision: dict[str, str | int]) -> None:
    words = printable(around).replace("{", "(").replace("}", ")")
    written = f"{words}{msgspec.json.encode(decision).decode()}{words}"
    assert msgspec.json.decode(object_in(written)) == decision


@given(st.text(st.sampled_from('{}[]"\\: a\ud800\0'), max_size=20))
def test_where_there_is_none_that_is_said(text: str) -> None:
    try:
        assert object_in(text)[0] == "{"
    except ValueError as refusal:
        assert str(refusal) == "there is no JSON object in it"  # noqa: PT017


@pytest.mark.parametrize(
    "odd",
    [
        '{"river":' * 20_000,
        '{"x":' + "[" * 20_000 + "]" * 20_000 + ', "river": "Elbe"}',
        '{"river":' + "9" * 5000 + "}",
    ],
)
async def test_a_decision_that_cannot_be_read_is_asked_for_again(odd: str, model: ModelServer) -> None:
    model.script([{"text": odd}], match="which river, oddly", times=1)
    model.script([{"text": '{"river": "Elbe"}'}], match="That cannot be used", times=1)
    decision = Decision(Choice, lambda choice: choice.river)
    agent = Agent("Chooser", "chooses", "Choose.")
    asked = OpenAIModel(ModelOptions(url=model.url, model="scripted-model"))
    events = [
        event async for event in decision.by(agent, asked, [Message(role="user", content="which river, oddly")], turn=1)
    ]
    await asked.aclose()
    assert decision.value == Choice("Elbe")
    assert any("That cannot be used" in getattr(event, "content", "") for event in events)
