"""Typed functions as tools: the schema, the checks, the limits."""

import asyncio
import json
from typing import Literal

import pytest
from pydantic import TypeAdapter

from riverrun.agents.exchange import ToolCall
from riverrun.agents.tools import Answer, ToolError, tool, use


async def weather(city: str, days: int = 1, unit: Literal["C", "F"] = "C") -> str:
    """Tells the weather.

    Args:
        city: Where it is asked for.
    """
    if city == "Atlantis":
        raise ToolError("Atlantis is under water.")
    return f"{city}: {days} days of 20 °{unit}"


def test_the_schema_comes_from_signature_and_docstring() -> None:
    schema = tool(weather).schema
    assert schema.name == "weather"
    assert schema.description == "Tells the weather."
    assert schema.parameters["required"] == ["city"]
    assert schema.parameters["properties"]["city"]["description"] == "Where it is asked for."
    assert schema.parameters["properties"]["unit"]["enum"] == ["C", "F"]


def test_a_parameter_without_a_type_is_refused_when_the_tool_is_made() -> None:
    def vague(thing):  # type: ignore[no-untyped-def]
        return thing

    with pytest.raises(TypeError, match="thing"):
        tool(vague)


async def test_it_is_called_with_checked_arguments() -> None:
    assert await tool(weather).use('{"city": "Ulm", "days": 3}') == Answer("Ulm: 3 days of 20 °C")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("{}", "city"),
        ('{"city": "Ulm", "days": "many"}', "days"),
        ('{"city": "Ulm", "wind": true}', "wind"),
        ('{"city": "Ulm"', "all of it"),
        ("[]", "all of it"),
    ],
)
async def test_wrong_arguments_are_told_to_the_model_and_nothing_is_called(arguments: str, reason: str) -> None:
    answer = await tool(weather).use(arguments)
    assert answer.failed
    assert reason in answer.content


async def test_an_error_inside_is_an_answer() -> None:
    assert await tool(weather).use('{"city": "Atlantis"}') == Answer("Atlantis is under water.", failed=True)

    def broken() -> str:
        return str(1 / 0)

    answer = await tool(broken).use("{}")
    assert answer.failed
    assert "ZeroDivisionError" in answer.content

    def mistaken() -> str:
        return str(TypeAdapter(int).validate_python("many"))

    assert (await tool(mistaken).use("{}")).content.startswith("mistaken failed: ValidationError")


async def test_a_tool_that_hangs_is_given_up() -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    answer = await tool(hang, time_limit=0.01).use("{}")
    assert answer.failed
    assert "longer than 0.01 s" in answer.content


async def test_a_long_answer_is_cut_in_the_middle() -> None:
    def long() -> str:
        return "a" * 500 + "z" * 500

    content = (await tool(long, output_limit=100).use("{}")).content
    assert content.startswith("a" * 75)
    assert content.endswith("z" * 25)
    assert "900 characters left out" in content


async def test_a_tool_that_does_not_exist_is_answered_with_those_that_do() -> None:
    answer = await use([tool(weather)], ToolCall("1", "wether", json.dumps({"city": "Ulm"})))
    assert answer.failed
    assert "weather" in answer.content
