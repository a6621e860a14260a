"""What reads other people's texts takes four times as many steps for four times the text, not sixteen times.

Steps are lines of Python, so that a busy machine changes nothing. What expressions cost does not count.
"""

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from riverrun.agents.simulated import pieces
from riverrun.knowledge.passages import passages_of
from riverrun.rendering.markdown import render
from riverrun.terminal import decided
from tests.rendering.test_markdown import FRAGMENTS

MORE = [
    "[a](",
    "![",
    "<a",
    "&",
    "a@b.c",
    "[[",
    "**a",
    "*_",
    "~~",
    "`` `",
    "\\[",
    "[a]: <",
    "- - ",
    "> > ",
    "1. - ",
    "||\n",
]
UNITS = st.lists(st.sampled_from([*FRAGMENTS, *MORE]), min_size=1, max_size=4).map("".join)
FEW, MANY = 60, 240


def steps(work: Callable[[], object]) -> int:
    count = 0

    def trace(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_steps_are_counted() -> None:
    def square(size: int) -> None:
        for _ in range(size):
            for _ in range(size):
                pass

    assert steps(lambda: square(MANY)) > 12 * steps(lambda: square(FEW)), "otherwise what follows shows nothing"


@pytest.mark.parametrize(
    "parse",
    [render, passages_of, decided, lambda text: list(pieces(text, 3))],
    ids=["page", "passages", "terminal", "words"],
)
@settings(
    deadline=None, max_examples=max(6, settings().max_examples // 20), suppress_health_check=[HealthCheck.too_slow]
)
@given(unit=UNITS)
@example("[a](")
@example("> - ")
def test_what_is_longer_takes_longer_only_in_proportion(parse: Callable[[str], object], unit: str) -> None:
    few, many = (steps(partial(parse, unit * times)) for times in (FEW, MANY))
    assert many < 7 * few
