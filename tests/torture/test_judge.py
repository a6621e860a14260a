"""The judge of the storms sees every fault: each is made here on purpose, in what was faultless."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace as Row
from typing import NamedTuple

import pytest

from riverrun.runs.runner import MOST_OWNERS
from tests.torture.clients import Client, Json
from tests.torture.judge import Saved, judge
from tests.torture.people import Book

AT = "2026-11-20T12:00:00.000Z"
ENDED = datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()
CONTENT = hashlib.sha256(b"x = 1\n").hexdigest()


class Case(NamedTuple):
    saved: Saved
    book: Book
    log: list[Json]
    run: Row

    @property
    def reader(self) -> Client:
        return self.book.clients[0]

    @property
    def looker(self) -> Client:
        return self.book.clients[1]

    def drop(self, seq: int) -> None:
        """An event that was never written, with all numbers as they should be."""
        del self.log[seq - 1]
        self.number()

    def add(self, at: int, **event: object) -> None:
        self.log.insert(at - 1, event)
        self.number()

    def number(self) -> None:
        for seq, event in enumerate(self.log, 1):
            event |= {"seq": seq, "_row": (seq, event["type"])}
        self.read_again()

    def read_again(self) -> None:
        """Its client got what is there now."""
        self.reader.events = [{name: value for name, value in event.items() if name != "_row"} for event in self.log]
        self.looker.seen = []


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "p" / "files").mkdir(parents=True)
    (tmp_path / "p" / "files" / "a.py").write_text("x = 1\n")
    call = {"type": "interaction", "call_id": "c", "turn": 1, "tool_name": "write", "tool_arguments": {"path": "a.py"}}
    log: list[Json] = [
        {"type": "start"},
        {"type": "agent_start", "turn": 1, "attempt": 1, "lane": "answer"},
        {"type": "progress", "fraction": 0.1},
        {**call, "kind": "tool_call"},
        {"type": "code_change", "revision_id": "r"},
        {**call, "kind": "tool_response"},
        {"type": "interaction", "kind": "message", "message_id": "added", "turn": 1},
        {"type": "agent_chunk", "turn": 1, "offset": 0, "text": "Well, "},
        {"type": "agent_chunk", "turn": 1, "offset": 6, "text": "done."},
        {"type": "progress", "fraction": 0.9},
        {"type": "agent_complete", "turn": 1},
        {
            "type": "complete",
            "status": "complete",
            "at": AT,
            "message": {"content": "Well, done."},
            "code_changes": [{"revision_id": "r"}],
        },
    ]
    run = Row(id="run", team="coders", fence=1, status="complete", ended_at=AT, message_id="reply")
    messages = {
        "asked": Row(role="user", content="Do it.", status="", parent_id=None, conversation_id="c"),
        "added": Row(role="user", content="And soon.", status="", parent_id="asked", conversation_id="c"),
        "reply": Row(role="assistant", content="Well, done.", status="", parent_id="added", conversation_id="c"),
    }
    revision = Row(id="r", run_id="run", path="a.py", change="created", project_id="p", after=CONTENT)
    saved = Saved([run], messages, [Row(id="c", leaf_id="reply")], [revision], {"run": log})
    clients = [Client("sse", "run", [], None, ended=True), Client("reloads", "run", [], None, ended=True)]  # type: ignore[arg-type]
    book = Book([], 0, clients=clients, said={"asked": "Do it.", "added": "And soon."})
    case = Case(saved, book, log, run)
    case.number()
    case.looker.seen = [(2, "running", ""), (8, "running", "Well, "), (12, "complete", "Well, done.")]
    return case


def faults(case: Case, files: Path) -> list[str]:
    return list(judge(case.book, case.saved, files))


def test_what_is_whole_has_no_fault(case: Case, tmp_path: Path) -> None:
    assert faults(case, tmp_path) == []


def misnumber(case: Case) -> None:
    case.log[4]["seq"] = 7


def misfile(case: Case) -> None:
    case.log[4]["_row"] = (5, "error")


def begin_twice(case: Case) -> None:
    case.add(2, type="start")


def end_twice(case: Case) -> None:
    case.log.append(dict(case.log[-1]))
    case.number()


def fall_back(case: Case) -> None:
    case.log[9]["fraction"] = 0.05
    case.read_again()


def miscount_attempts(case: Case) -> None:
    case.log[1]["attempt"] = 2
    case.read_again()


def speak_after_the_end(case: Case) -> None:
    case.add(12, type="agent_chunk", turn=1, offset=11, text="")


def leave_a_turn_open(case: Case) -> None:
    case.drop(11)


def call_twice(case: Case) -> None:
    case.add(6, **{**case.log[3], "call_id": "d"})


def use_an_id_twice(case: Case) -> None:
    case.add(6, **{**case.log[3], "tool_name": "other"})


def answer_twice(case: Case) -> None:
    case.add(6, **case.log[5])


def never_answer(case: Case) -> None:
    case.drop(6)


def tell_a_change_twice(case: Case) -> None:
    case.add(6, **case.log[4])


def end_without_a_change(case: Case) -> None:
    case.log[-1]["code_changes"] = []
    case.read_again()


def forget_a_change(case: Case) -> None:
    case.drop(5)
    end_without_a_change(case)


def make_a_change_twice(case: Case) -> None:
    twin = Row(**{**vars(case.saved.revisions[0]), "id": "s"})
    case.saved.revisions = [*case.saved.revisions, twin]


def lose_a_chunk(case: Case) -> None:
    case.drop(8)


def save_another_text(case: Case) -> None:
    case.saved.messages["reply"].content = "Well."


def lose_the_reply(case: Case) -> None:
    del case.saved.messages["reply"]


def stay_at_work(case: Case) -> None:
    case.run.status = "running"


def end_in_two_ways(case: Case) -> None:
    case.run.status = "failed"


def err_for_no_reason(case: Case) -> None:
    case.run.status = case.log[-1]["status"] = "failed"
    case.add(12, type="error", code="internal")


def give_up_too_soon(case: Case) -> None:
    case.run.fence = MOST_OWNERS
    case.run.status = case.log[-1]["status"] = "failed"
    case.add(12, type="error", code="interrupted")


def stop_by_itself(case: Case) -> None:
    case.run.status = case.log[-1]["status"] = "cancelled"
    case.read_again()


def go_on_after_a_stop(case: Case) -> None:
    case.book.stops["run"] = ENDED - 60


def miss_an_event(case: Case) -> None:
    del case.reader.events[4]


def get_an_event_twice(case: Case) -> None:
    case.reader.events.insert(4, case.reader.events[4])


def get_another_event(case: Case) -> None:
    case.reader.events[7] = {**case.reader.events[7], "text": "Hell, "}


def never_see_the_end(case: Case) -> None:
    case.reader.ended = False


def look_back(case: Case) -> None:
    case.looker.seen.append((3, "running", ""))


def see_another_text(case: Case) -> None:
    case.looker.seen[1] = (8, "running", "Well")


def see_it_end_early(case: Case) -> None:
    case.looker.seen[1] = (8, "complete", "Well, ")


def let_one_wait(case: Case) -> None:
    case.saved.messages["added"].status = "pending"


def follow_nothing(case: Case) -> None:
    case.saved.messages["asked"].parent_id = "nowhere"


def follow_somebody_else(case: Case) -> None:
    case.saved.messages["asked"].conversation_id = "d"


def follow_itself(case: Case) -> None:
    case.saved.messages["asked"].parent_id = "added"


def reply_without_a_run(case: Case) -> None:
    case.run.message_id = "other"


def leave_without_a_reply(case: Case) -> None:
    case.saved.messages["lost"] = Row(role="user", content="?", status="", parent_id="reply", conversation_id="c")


def take_in_twice(case: Case) -> None:
    case.add(8, **case.log[6])


def say_twice(case: Case) -> None:
    case.saved.messages["added"].content = "Do it."


def lose_what_was_said(case: Case) -> None:
    case.book.said["gone"] = "Heard?"


def keep_what_was_taken_back(case: Case) -> None:
    case.book.withdrawn.add("added")


def show_nothing(case: Case) -> None:
    case.saved.conversations[0].leaf_id = "nowhere"


def lose_a_file(case: Case) -> None:
    case.saved.revisions[0].path = "b.py"


SPOILT: list[tuple[Callable[[Case], None], str]] = [
    (misnumber, "seq has gaps"),
    (misfile, "row tells something else"),
    (begin_twice, "does not begin once"),
    (end_twice, "does not end once"),
    (fall_back, "progress falls"),
    (miscount_attempts, "is at attempt 2 instead of 1"),
    (speak_after_the_end, "which had ended"),
    (leave_a_turn_open, "have no end"),
    (call_twice, "was called 2 times"),
    (use_an_id_twice, "same id"),
    (answer_twice, "was answered 2 times"),
    (never_answer, "was answered 0 times"),
    (tell_a_change_twice, "told twice"),
    (end_without_a_change, "tells other changes"),
    (forget_a_change, "it tells of []"),
    (make_a_change_twice, "was created 2 times"),
    (lose_a_chunk, "stands at 6"),
    (save_another_text, "saved is 'Well.'"),
    (lose_the_reply, "its message is not there"),
    (stay_at_work, "is not finished"),
    (end_in_two_ways, "its end says complete"),
    (err_for_no_reason, "errors ['internal']"),
    (give_up_too_soon, "errors ['interrupted']"),
    (stop_by_itself, "nobody has stopped it"),
    (go_on_after_a_stop, "was stopped, and went on"),
    (miss_an_event, "it got 11 events"),
    (get_an_event_twice, "it got 13 events"),
    (get_another_event, "first other one"),
    (never_see_the_end, "never saw the end"),
    (look_back, "it saw event 3 after 12"),
    (see_another_text, "it saw 'Well' instead"),
    (see_it_end_early, "it saw complete"),
    (let_one_wait, "is left pending"),
    (follow_nothing, "follows nowhere, which is not there"),
    (follow_somebody_else, "follows asked, which is not there"),
    (follow_itself, "follows itself"),
    (reply_without_a_run, "has 0 runs"),
    (leave_without_a_reply, "has no reply"),
    (take_in_twice, "was taken in 2 times"),
    (say_twice, "is there 2 times"),
    (lose_what_was_said, "message gone was accepted"),
    (keep_what_was_taken_back, "was taken back, and that is not so"),
    (show_nothing, "shows nowhere"),
    (lose_a_file, "files are"),
]


@pytest.mark.parametrize(("spoil", "told"), SPOILT, ids=[spoil.__name__ for spoil, _ in SPOILT])
def test_a_fault_is_seen(case: Case, tmp_path: Path, spoil: Callable[[Case], None], told: str) -> None:
    spoil(case)
    assert any(told in fault for fault in faults(case, tmp_path)), faults(case, tmp_path)
