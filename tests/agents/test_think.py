"""Reasoning between tags, cut at every character."""

import pytest

from riverrun.agents.exchange import Reasoning, Text
from riverrun.agents.think import ThinkTags

REPLIES = [
    ("<think>Rivers flow.</think>\n\nTo the sea.", "Rivers flow.", "To the sea."),
    ("\n<think>\n</think>\nAt once.", "", "At once."),
    ("No tag, a < b.", "", "No tag, a < b."),
    ("Later <think>is text</think>.", "", "Later <think>is text</think>."),
    ("<thinking> is another tag", "", "<thinking> is another tag"),
    ("<think>a </thin b </think>c", "a </thin b ", "c"),
    ("<think>never closed </th", "never closed </th", ""),
    ("  ", "", "  "),
    ("<thi", "", "<thi"),
]


@pytest.mark.parametrize(("reply", "thought", "text"), REPLIES)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_thoughts_and_text_come_apart(reply: str, thought: str, text: str, size: int) -> None:
    tags = ThinkTags()
    pieces = [reply[start : start + size] for start in range(0, len(reply), size)]
    said = [delta for piece in pieces for delta in tags.feed(piece)] + list(tags.end())
    assert "".join(delta.text for delta in said if isinstance(delta, Reasoning)).strip() == thought.strip()
    assert "".join(delta.text for delta in said if isinstance(delta, Text)) == text
