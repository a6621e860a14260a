"""What other protocols bring: any of it is a message to answer, or refused in a sentence."""

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from litestar import Request

from riverrun.agents.events import UNREADABLE
from riverrun.controllers.agui import RunAgentInput
from riverrun.controllers.body import printable
from riverrun.controllers.finding import cursor_of
from riverrun.controllers.foreign import heard
from riverrun.errors import Invalid

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
PARTS = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url"])}, optional={"text": st.text(max_size=5)})
)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "reasoning", ""])
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": ROLES}, optional={"id": st.text(max_size=5), "content": st.text(max_size=8) | PARTS | VALUES}
    ),
    max_size=4,
)
INPUTS = st.fixed_dictionaries(
    {"threadId": st.text(max_size=5), "runId": st.text(max_size=5), "messages": MESSAGES},
    optional={"metadata": VALUES, "state": VALUES, "context": VALUES, "protocolVersion": VALUES},
).map(msgspec.json.encode)


@given(INPUTS | st.binary(max_size=40))
@example(b'{"threadId":"a","runId":"b","messages":[{"role":"user","content":"\\ud800"}]}')
@example(b'{"threadId":"a","runId":"b","messages":[{"role":"user","content":"\\u0000\\u202e\\u0085"}]}')
@example(b'{"threadId":"a","runId":"b","state":' + b"[" * 5_000 + b"]" * 5_000 + b',"messages":[]}')
def test_an_interface_says_something_that_can_be_kept_or_is_refused(body: bytes) -> None:
    try:
        said = heard(msgspec.json.decode(body, type=RunAgentInput).said, limit=100)
    except (*UNREADABLE, Invalid):
        return
    assert 0 < len(said.content) <= 100
    for text in (said.content, *(message.content for message in said.history)):
        assert text == printable(text)


@given(st.text(max_size=30) | st.integers().map(str), st.integers(0, 10**18))
@example("9" * 5000, 0)
@example("²", 0)
@example("٧", 0)
@example("-1", 0)
def test_a_cursor_is_a_number_or_refused(told: str, after: int) -> None:
    request = cast("Request[Any, Any, Any]", SimpleNamespace(headers={"last-event-id": told}))
    try:
        assert cursor_of(request, after) >= after
    except Invalid as refusal:
        assert refusal.field == "Last-Event-ID"  # noqa: PT017


@pytest.mark.parametrize(("told", "cursor"), [("", 3), (" 7 ", 7), ("2", 3), ("9" * 18, 10**18 - 1)])
def test_the_further_of_two_cursors_counts(told: str, cursor: int) -> None:
    request = cast("Request[Any, Any, Any]", SimpleNamespace(headers={"last-event-id": told}))
    assert cursor_of(request, 3) == cursor
