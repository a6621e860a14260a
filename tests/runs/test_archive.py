"""A file that somebody brings is read, or refused in a sentence, whatever is in it."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from riverrun.agents.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Complete,
    FinalMessage,
    Interaction,
    Start,
    encode,
)
from riverrun.errors import Invalid
from riverrun.runs.archive import courses, read
from tests.postgres import run_apart

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONVERSATION, ASKED, ANSWER, RUN = (UUID(int=number) for number in range(1, 5))
EVENTS = [
    Start(conversation_id=CONVERSATION, user_message_id=ASKED, message_id=ANSWER, team="assistant", model="m", at=AT),
    AgentStart(turn=1, agent="a", at=AT),
    Interaction(turn=1, kind="tool_call", tool_name="f", tool_arguments={"a": [1]}, call_id="1", at=AT),
    AgentChunk(turn=1, text="Elbe", offset=0, at=AT),
    AgentComplete(turn=1, content="Elbe", duration_ms=1, at=AT),
    Complete(status="complete", message=FinalMessage(ANSWER, "assistant", "Elbe", None, AT), at=AT),
]
WHOLE: dict[str, Any] = {
    "riverrun": 1,
    "conversation": {"id": str(CONVERSATION), "title": "", "team": "assistant", "created_at": AT.isoformat()},
    "messages": [
        {"id": str(ASKED), "role": "user", "content": "?", "created_at": AT.isoformat()},
        {"id": str(ANSWER), "role": "assistant", "content": "", "created_at": AT.isoformat(), "parent_id": str(ASKED)},
    ],
    "runs": [
        {
            "id": str(RUN),
            "user_message_id": str(ASKED),
            "message_id": str(ANSWER),
            "team": "assistant",
            "model": "m",
            "status": "complete",
            "created_at": AT.isoformat(),
            "events": [
                {**json.loads(encode(event)), "seq": seq, "run_id": str(RUN)} for seq, event in enumerate(EVENTS, 1)
            ],
        }
    ],
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


VALUES = st.one_of(
    st.sampled_from([None, True, 0, -1, 2**31, 2**63, 10**30, 1e308, "", "\0", "\ud800", "\u202e", "x" * 300, [], {}]),
    st.sampled_from([str(CONVERSATION), str(ASKED), str(ANSWER), str(RUN), "0001-01-01T00:00:00-23:59"]),
    st.sampled_from(["start", "agent_start", "agent_chunk", "complete", "error", "tool_response", "assistant", "user"]),
    st.builds(json.loads, st.sampled_from(["[" * 70 + "]" * 70, '{"a":' * 70 + "1" + "}" * 70])),
    st.text(max_size=5),
    st.integers(),
)


def changed(path: tuple[Any, ...], value: Any, how: str) -> Any:
    copy = json.loads(json.dumps(WHOLE))
    if not path:
        return value
    place = copy
    for key in path[:-1]:
        place = place[key]
    match how:
        case "set":
            place[path[-1]] = value
        case "leave out":
            del place[path[-1]]
        case "twice" if isinstance(place, list):
            place.insert(path[-1], place[path[-1]])
    return copy


CHANGES = st.builds(
    changed, st.sampled_from(places(WHOLE)), VALUES, st.sampled_from(["set", "set", "leave out", "twice"])
).map(json.dumps)


def accepted(content: bytes) -> bool:
    """Whether it can be imported. What else is raised is a mistake."""
    try:
        archive = read(content)
        run_apart(followed(archive))
    except Invalid as refusal:
        refusal.message.encode()
        return False
    return True


async def followed(archive: Any) -> None:
    for course in await courses(archive):
        for event in course.ending:
            encode(event)


def test_the_file_that_is_changed_below_can_be_imported() -> None:
    assert accepted(json.dumps(WHOLE).encode())


@settings(deadline=None)
@given(CHANGES.map(lambda content: content.encode("utf-8", "surrogatepass")))
def test_whatever_is_changed_in_a_file_it_is_read_or_refused(content: bytes) -> None:
    accepted(content)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b'{"riverrun":' + b"9" * 5000 + b"}")
@example(b'{"riverrun":2,"conversation":' + b"[" * 50_000 + b"]" * 50_000 + b"}")
def test_whatever_is_no_such_file_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid):
        read(content)
