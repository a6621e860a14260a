"""Whatever comes over a line, a client reads on or says what is lost."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riverrun.agents.events import AgentChunk, Event, encode
from riverrun.client.answers import refusal
from riverrun.client.cursor import Cursor, number_in, read
from riverrun.client.errors import Lost

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["type", "seq", "run_id", "at", "agent", "turn", "text", "offset", "message", "code"])
TYPES = st.sampled_from(["start", "agent_chunk", "error", "complete", "progress", "of tomorrow"])
NEARLY = st.tuples(TYPES, st.integers(-3, 9), st.dictionaries(FIELDS, VALUES, max_size=5)).map(
    lambda it: msgspec.json.encode({**it[2], "type": it[0], "seq": it[1]})
)
EVENTS = st.builds(lambda seq: encode(AgentChunk(seq=seq, turn=1, text="a", offset=0)), st.integers(0, 9))
MESSAGES = st.binary(max_size=40) | st.text(max_size=40) | VALUES.map(msgspec.json.encode) | NEARLY | EVENTS


@given(st.lists(st.tuples(MESSAGES, st.integers(0, 12)), max_size=12))
@example([('{"type":"\ud800"}', 1), (b'{"type":"\xff"}', 1), ('{"type":' + "[" * 50_000, 1)])
def test_whatever_comes_the_cursor_only_goes_forward(messages: list[tuple[bytes | str, int]]) -> None:
    cursor, taken = Cursor(), list[Event]()
    for message, seq in messages:
        before = cursor.at
        with suppress(Lost):
            if event := cursor.take(message, seq):
                taken.append(event)
        assert cursor.at >= before
    assert [event.seq for event in taken] == sorted({event.seq for event in taken})


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"\ud800"}',
        b'{"type":"\xff"}',
        '{"type":"error","x":' + "[" * 50_000 + "]" * 50_000 + "}",
        "",
        "\0",
        "9" * 5000,
    ],
)
def test_what_cannot_be_read_is_no_event(message: bytes | str) -> None:
    assert read(message) == (None, None)


@pytest.mark.parametrize(
    ("id", "number"), [("", 0), ("7", 7), ("-7", 0), ("٧", 0), ("²", 0), ("9" * 18, 10**18 - 1), ("9" * 5000, 0)]
)
def test_the_number_that_a_stream_tells(id: str, number: int) -> None:
    assert number_in(id) == number


@given(st.integers(100, 999), st.binary(max_size=40) | VALUES.map(msgspec.json.encode))
@example(400, b'{"detail":"\xff"}')
@example(502, b'{"detail":' + b"[" * 50_000)
def test_whatever_stands_before_the_server_its_refusal_is_a_sentence(status: int, body: bytes) -> None:
    assert str(refusal(status, body))
