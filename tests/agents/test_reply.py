"""The network cuts a reply wherever it likes."""

import json

import pytest

from riverrun.agents.failures import Server
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
