"""Reasoning between tags, cut at every character."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

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


PIECES = st.lists(
    st.sampled_from(["<think>", "</think>", "<thi", "nk>", "</th", "<", ">", " ", "\n", "\u2028", "\0", "a"])
    | st.text(max_size=3),
    max_size=12,
)


@given(PIECES)
@example(["<think>", "</think>", "</think>"])
def test_however_it_is_cut_nothing_is_lost_and_nothing_is_made_up(pieces: list[str]) -> None:
    in_pieces, at_once = read(pieces), read(["".join(pieces)])
    assert in_pieces == at_once
    thought, text = in_pieces
    whole = "".join(pieces)
    assert len(thought) + len(text) <= len(whole)
    assert whole.endswith(text)
    assert "".join(whole.split()).replace("<think>", "", bool(thought)).startswith("".join(thought.split()))


def read(pieces: list[str]) -> tuple[str, str]:
    tags = ThinkTags()
    said = [delta for piece in pieces for delta in tags.feed(piece)] + list(tags.end())
    return (
        "".join(delta.text for delta in said if isinstance(delta, Reasoning)),
        "".join(delta.text for delta in said if isinstance(delta, Text)),
    )
