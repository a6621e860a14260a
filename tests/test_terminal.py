"""What a terminal shows at every moment of a run."""

import re
from io import StringIO
from uuid import UUID

from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from riverrun.agents.events import AgentChunk, AgentComplete, AgentStart, Event, Interaction, Progress
from riverrun.client import Reply
from riverrun.plain import clean
from riverrun.terminal import Growth, Piece, Prose, Status, decided
from tests.each import each
from tests.hostile import SHORT

ID = UUID(int=1)
BLOCKS = ("# Title", "a *word*", "- item", "  more", "1. first", "> quote", "```", "| a | b |", "|---|---|", "", "---")


def pieces(*events: Event) -> list[Piece]:
    growth, reply, taken = Growth(), Reply(ID, ID, ID), []
    for event in events:
        reply.apply(event)
        taken.append(growth.take(reply))
    return [piece for piece in taken if piece.text]


def chunk(text: str, offset: int, turn: int = 1) -> AgentChunk:
    return AgentChunk(turn=turn, text=text, offset=offset)


def test_only_what_is_new_is_written() -> None:
    told = (AgentStart(turn=1), chunk("Four ", 0), chunk("rivers", 5), done("Four rivers."))
    assert pieces(*told) == [Piece("Four "), Piece("rivers"), Piece(".")]


def test_a_turn_that_begins_again_and_comes_to_the_same_repeats_nothing() -> None:
    again = (AgentStart(turn=1, attempt=2), chunk("Fo", 0), chunk("ur rivers", 2))
    assert pieces(AgentStart(turn=1), chunk("Four ", 0), *again) == [Piece("Four "), Piece("rivers")]


def test_a_turn_that_begins_again_and_says_something_else_is_told_as_another_text() -> None:
    again = (AgentStart(turn=1, attempt=2), chunk("Five", 0), chunk(" rivers", 4))
    assert pieces(AgentStart(turn=1), chunk("Four", 0), *again) == [
        Piece("Four"),
        Piece("Five", begins=True, anew=True),
        Piece(" rivers"),
    ]


def test_a_turn_that_ends_with_less_than_was_written_is_told_as_another_text() -> None:
    again = (AgentStart(turn=1, attempt=2), chunk("Four", 0), done("Four"))
    assert pieces(AgentStart(turn=1), chunk("Four rivers", 0), *again)[1:] == [Piece("Four", begins=True, anew=True)]


def test_a_further_answer_follows_the_one_before() -> None:
    second = (AgentStart(turn=2), chunk("Second", 0, 2))
    assert pieces(AgentStart(turn=1), chunk("First", 0), *second) == [Piece("First"), Piece("Second", begins=True)]


def done(content: str) -> AgentComplete:
    return AgentComplete(turn=1, content=content, duration_ms=1)


@given(st.lists(st.sampled_from(BLOCKS)), st.data())
def test_what_has_been_decided_does_not_depend_on_what_follows(lines: list[str], data: st.DataObject) -> None:
    """A block begins in the whole text wherever one was taken for decided while it grew."""
    text = "\n".join(lines) + "\n"
    end = decided(text[: data.draw(st.integers(0, len(text)))])
    assert end == 0 or decided(text[:end] + "\n") < end
    assert text[:end] == "" or text[:end].endswith("\n")


@given(st.text(st.sampled_from("ab#-*`> \n\t\u2028\u2029\ufeff\u202e"), max_size=40))
@example("a\u2028\u2028b\n\nc\n")
def test_blocks_are_parted_where_markdown_parts_them(text: str) -> None:
    """Whatever else counts as the end of a line elsewhere."""
    end = decided(text)
    assert end == 0 or text[end - 1] == "\n"


def test_a_list_that_goes_on_is_one_block() -> None:
    text = "Text.\n\n- one\n\n- two\n"
    assert text[decided(text) :] == "- one\n\n- two\n"
    assert text[decided(text + "1") :] == "- one\n\n- two\n", "an unfinished line decides nothing"


def test_the_status_tells_the_step_and_who_does_what() -> None:
    reply = Reply(ID, ID, ID)
    status = Status()
    for event in (
        Progress(fraction=0.4, message="Asking\x1b]0;x\x07 two agents"),
        AgentStart(turn=1, agent="Re\x9bader"),
        Interaction(turn=1, kind="tool_call", tool_name="read\n[red]file", call_id="a"),
        AgentStart(turn=2, agent="Writer", lane="support"),
        chunk("Hm", 0, 2),
    ):
        reply.apply(event)
    status.update(reply)
    file = StringIO()
    Console(file=file, width=80).print(status)
    shown = file.getvalue()
    assert "Asking]0;x two agents" in shown
    assert "40%" in shown
    assert "Reader: calling read [red]file" in shown
    assert "Writer: writing" in shown


@each(SHORT)
def test_markdown_on_a_terminal_is_made_of_text_and_colours(text: str) -> None:
    """Also what it tells by the code of a character, which becomes one only when Markdown is read."""
    file = StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system="truecolor", legacy_windows=False)
    console.print(Prose(clean(f"{text}\n\n- {text}\n\n```\n{text}\n```\n")))
    console.print(Text(clean(text)))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", shown)


@given(st.text())
def test_nothing_is_left_that_steers(text: str) -> None:
    assert not {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))} & set(clean(text))
    assert clean("a\tb\nä🌊") == "a\tb\nä🌊"
