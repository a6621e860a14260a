"""The network cuts a reply wherever it likes."""

import json
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riverrun.agents.calls import arguments_of
from riverrun.agents.events import Interaction, decode, encode
from riverrun.agents.failures import Failure, Server, read_report, seconds_to_wait
from riverrun.agents.model import Delta, Finished, Reasoning, Text, ToolCall
from riverrun.agents.reply import LONGEST_LINE, Reply

TEXT = "Grüße, 你好, 🥊\n"
CHUNKS = [
    {"choices": [{"delta": {"reasoning": "Hm…"}}]},
    {"choices": [{"delta": {"content": TEXT}}]},
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
]
STREAM = "".join(f"data: {json.dumps(chunk, ensure_ascii=False)}\r\n\r\n" for chunk in CHUNKS).encode()
WHOLE = [Reasoning("Hm…"), Text(TEXT), ToolCall("a", "f", "{}"), Finished("stop")]


def read(*parts: bytes) -> list[Delta]:
    reply = Reply(Server("http://model.test/v1", key=""))
    given: list[Delta] = []
    for part in (*parts, b""):
        given += reply.feed(part)
    return [*given, *reply.finish()]


def test_cut_at_every_byte() -> None:
    for cut in range(1, len(STREAM)):
        assert read(STREAM[:cut], STREAM[cut:]) == WHOLE


def test_byte_by_byte() -> None:
    assert read(*(bytes([byte]) for byte in STREAM)) == WHOLE


def test_what_arrives_together_is_given_together() -> None:
    chunk = b'data: {"choices": [{"delta": {"content": "la "}}]}\n\n'
    reply = Reply(Server("http://model.test/v1", key=""))

    assert reply.feed(chunk * 1000) == [Text("la " * 1000)]


def test_half_a_character_costs_no_more_than_itself() -> None:
    chunk = rb'data: {"choices": [{"delta": {"content": "\ud83e\udd4a and \ud83e"}, "finish_reason": "stop"}]}'

    assert read(chunk) == [Text("🥊 and \ufffd"), Finished("stop")]


def test_a_line_without_end_is_given_up() -> None:
    reply = Reply(Server("http://model.test/v1", key=""))

    reply.feed(b"data: " + b"x" * LONGEST_LINE)

    assert reply.ended
    with pytest.raises(Exception, match="OpenAI's format"):
        reply.finish()


# Whatever a server sends


def outcome(parts: list[bytes]) -> tuple[list[Delta], str]:
    """What has been said, joined where it was parted, and what became of the reply."""
    reply = Reply(Server("http://model.test/v1", key=""))
    given: list[Delta] = []
    for part in parts:
        if reply.ended:
            break
        given += reply.feed(part)
    if not reply.ended:
        given += reply.feed(b"")
    try:
        end, became = reply.finish(), "finished"
    except Failure as failure:
        end, became = [], failure.code
    said: list[Delta] = []
    for delta in [*given, *end]:
        match said[-1:], delta:
            case [Text(before)], Text(text):
                said[-1] = Text(before + text)
            case [Reasoning(before)], Reasoning(text):
                said[-1] = Reasoning(before + text)
            case _:
                said.append(delta)
    return said, became


NESTED = '{"error":' * 5_000
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(["<think>", "</think>", "<", " ", "\n", "a", "é🥊", "\0", "\u202e", "\ud83e", "{", '"'])
SAID = st.fixed_dictionaries(
    {},
    optional={
        "content": st.lists(WORDS, max_size=5).map("".join) | VALUES,
        "reasoning": st.text(max_size=5),
        "refusal": VALUES,
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": st.integers(0, 2),
                    "id": st.sampled_from(["a", "b", ""]),
                    "function": st.fixed_dictionaries(
                        {}, optional={"name": st.sampled_from(["f", "g"]), "arguments": st.text(max_size=6) | VALUES}
                    ),
                },
            ),
            max_size=3,
        ),
    },
)
CHOICES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"delta": SAID, "message": SAID, "finish_reason": st.sampled_from(["stop", None])}
    ),
    max_size=2,
)
SENT = st.fixed_dictionaries({}, optional={"choices": CHOICES, "usage": VALUES, "error": VALUES}).map(json.dumps)
LINES = st.one_of(
    SENT.map(lambda chunk: f"data: {chunk}"),
    SENT,
    st.sampled_from(["", "data: [DONE]", "event: error", ": ping", "data:", "id: 1", "<html>", "\ufeffdata: {}"]),
    st.sampled_from([NESTED, f"data: {NESTED}", f'data: {{"choices":[],"x":{"[" * 5_000}', f"data: {'9' * 5000}"]),
    st.text(max_size=20),
)
STREAMS = st.one_of(
    st.lists(LINES, max_size=6).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")),
    st.lists(LINES, max_size=6).map(lambda lines: "\r\n\r\n".join([*lines, ""]).encode("utf-8", "surrogatepass")),
    st.binary(max_size=60),
)


@settings(deadline=None)
@given(STREAMS, st.data())
@example(f"data: {NESTED}\n".encode(), None)
@example(b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n', None)
def test_whatever_is_sent_reads_the_same_however_it_is_cut(sent: bytes, data: st.DataObject | None) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent)), max_size=8))) if data and sent else [1]
    pieces = [sent[start:end] for start, end in pairwise([0, *cuts, len(sent)]) if start < end]
    assert outcome(pieces) == outcome([sent] if sent else [])


@settings(deadline=None)
@given(SENT.map(str.encode) | STREAMS)
@example(NESTED.encode())
def test_whatever_comes_whole_is_a_reply_or_a_failure(body: bytes) -> None:
    reply = Reply(Server("http://model.test/v1", key=""))
    with suppress(Failure):
        *said, end = reply.whole(body)
        assert isinstance(end, Finished)
        for delta in said:
            if isinstance(delta, Text | Reasoning):
                delta.text.encode()


@settings(deadline=None)
@given(st.binary(max_size=60) | VALUES.map(json.dumps).map(str.encode) | SENT.map(str.encode))
@example(NESTED.encode() + b"1" + b"}" * 5_000)
@example(b'{"error":' * 300 + b'{"message": "x"}' + b"}" * 300)
@example(b'{"error": {"message": "x", "code": ' + b"9" * 5000 + b"}}")
def test_whatever_a_server_reports_is_a_sentence(body: bytes) -> None:
    assert Server("http://model.test/v1", key="").report(500, read_report(body)).message


@given(st.text(max_size=40) | st.dates().map(lambda date: date.strftime("%a, %d %b %Y 99:00:00 +9999")))
@example("1 Jan 9999999999999999999999 00:00:00")
@example("9" * 5000)
@example("nan")
def test_whatever_a_server_asks_to_wait_is_a_time_or_nothing(header: str) -> None:
    for name in ("retry-after", "retry-after-ms"):
        seconds = seconds_to_wait({name: header})
        assert seconds is None or seconds >= 0


@given(st.text(max_size=40) | VALUES.map(json.dumps))
@example('{"a": "\\ud800"}')
@example('{"\\udc00": NaN}')
@example('{"a": 1e999}')
@example(f'{{"a": {"9" * 5000}}}')
@example('{"a":' * 70 + "1" + "}" * 70)
@example("[" * 100_000)
def test_whatever_a_model_gives_a_tool_can_be_told(arguments: str) -> None:
    told = Interaction(turn=1, kind="tool_call", tool_arguments=arguments_of(ToolCall("1", "f", arguments)))
    assert decode(encode(told)) == told
