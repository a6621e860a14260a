"""The fold of a run's events into a reply."""

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from riverrun.agents.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Complete,
    Event,
    FinalMessage,
    Interaction,
)
from riverrun.client import Reply

ID = UUID(int=1)


def fold(*events: Event) -> Reply:
    reply = Reply(ID, ID, ID)
    for event in events:
        reply.apply(event)
    return reply


def chunk(text: str, offset: int, turn: int = 1) -> AgentChunk:
    return AgentChunk(turn=turn, text=text, offset=offset)


def end(content: str, status: Literal["complete", "failed", "cancelled"] = "complete") -> Complete:
    return Complete(status=status, message=FinalMessage(ID, "assistant", content, None, datetime.now(UTC)))


def test_text_grows() -> None:
    reply = fold(AgentStart(turn=1), chunk("Four ", 0), chunk("rivers", 5))
    assert (reply.text, reply.status) == ("Four rivers", "running")


def test_a_turn_that_begins_again_voids_what_it_wrote_and_no_other() -> None:
    begun = (AgentStart(turn=1, lane="support"), chunk("Notes", 0, 1), AgentStart(turn=2), chunk("Half a", 0, 2))
    reply = fold(*begun, AgentStart(turn=2, attempt=2), chunk("Whole", 0, 2))
    assert reply.text == "Whole"
    assert reply.turns[1].text == "Notes"
    assert reply.turns[2].attempt == 2


def test_a_chunk_that_was_merged_from_others_repeats_nothing() -> None:
    assert fold(AgentStart(turn=1), chunk("Four ", 0), chunk("Four rivers", 0)).text == "Four rivers"


def test_the_answer_is_the_last_turn_that_answers() -> None:
    reply = fold(
        AgentStart(turn=1, agent="Writer"),
        chunk("The answer", 0, 1),
        AgentStart(turn=2, agent="Reader", lane="support"),
        chunk("a note", 0, 2),
    )
    assert reply.text == "The answer"
    assert [turn.agent for turn in reply.active] == ["Writer", "Reader"]


def test_a_fold_may_begin_in_the_middle() -> None:
    assert fold(chunk("rest", 5), AgentComplete(turn=1, content="Four rest", duration_ms=1)).text == "Four rest"


def test_tools_that_are_waited_for_are_known() -> None:
    call = Interaction(turn=1, kind="tool_call", tool_name="read_file", call_id="a")
    reply = fold(AgentStart(turn=1), call)
    assert list(reply.turns[1].calls.values()) == ["read_file"]
    reply.apply(Interaction(turn=1, kind="tool_response", content="...", call_id="a"))
    assert reply.turns[1].calls == {}


def test_the_end_has_the_last_word() -> None:
    reply = fold(AgentStart(turn=1), chunk("Four riv", 0), end("Four riv", "cancelled"))
    assert (reply.text, reply.status) == ("Four riv", "cancelled")
