"""A log in which every record is one, whatever its words are."""

import logging
import re
import sys

import pytest

from riverrun.logs import FORMAT, OneLine
from tests.hostile import STREAMS, TERMINAL

STEERING = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def logged(message: str, *words: object, failure: Exception | None = None) -> str:
    info = None
    if failure is not None:
        try:
            raise failure
        except Exception:
            info = sys.exc_info()
    record = logging.LogRecord("riverrun.test", logging.ERROR, __file__, 1, message, words, info)
    return OneLine(FORMAT).format(record)


@pytest.mark.parametrize("text", [*TERMINAL, *STREAMS])
def test_a_record_is_one_line_whatever_it_tells(text: str) -> None:
    line = logged("The tool server %s failed", text)
    assert line.startswith("ERROR riverrun.test: The tool server ")
    assert line.endswith(" failed")
    assert "\n" not in line
    assert not STEERING.search(line)


@pytest.mark.parametrize("text", [*TERMINAL, *STREAMS])
def test_the_words_of_an_error_begin_no_line(text: str) -> None:
    first, *rest = logged("It failed", failure=ValueError(text)).split("\n")
    assert first == "ERROR riverrun.test: It failed"
    assert rest[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in rest), "a record of its own stands at the margin"
    assert not any(map(STEERING.search, rest))


def test_nothing_is_lost() -> None:
    assert logged("%s", "a\nb\x1b\u202ec é 🌊") == "ERROR riverrun.test: a\\nb\\x1b\\u202ec é 🌊"
