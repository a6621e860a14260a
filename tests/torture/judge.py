"""Whether everything that was told, shown and saved is the same, and whole."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct
from sqlalchemy import Table, select

from riverrun.persistence import tables
from riverrun.persistence.database import configure, is_sqlite
from riverrun.persistence.statements import CONVERSATION, EVENT, MESSAGE, RUN, table_of
from riverrun.runs.runner import MOST_OWNERS
from tests.torture.clients import Client, Json
from tests.torture.people import Book

REVISION = table_of(tables.Revision)
STOP_TAKES = 15.0  # seconds, at most, until an acknowledged Stop has its effect, through any process
Row = Any


class Saved(Struct):
    runs: Sequence[Row]
    messages: dict[str, Row]
    conversations: Sequence[Row]
    revisions: Sequence[Row]
    logs: dict[str, list[Json]]

    @classmethod
    async def read(cls, url: str) -> "Saved":
        """As it is at one moment, for runs may end and begin meanwhile."""
        engine = configure(url).get_engine()
        async with engine.connect() as connection:
            if is_sqlite(url):
                await connection.exec_driver_sql("BEGIN")
            else:
                await connection.execution_options(isolation_level="REPEATABLE READ")

            async def rows(table: Table) -> Sequence[Row]:
                return (await connection.execute(select(table).order_by(*table.primary_key))).all()

            logs: dict[str, list[Json]] = defaultdict(list)
            for row in await rows(EVENT):
                logs[str(row.run_id)].append({**json.loads(row.payload), "_row": (row.seq, row.type)})
            saved = cls(
                await rows(RUN),
                {str(row.id): row for row in await rows(MESSAGE)},
                await rows(CONVERSATION),
                await rows(REVISION),
                logs,
            )
        await engine.dispose()
        return saved

    @property
    def unfinished(self) -> int:
        waiting = [row for row in self.messages.values() if row.status]
        return len(waiting) + len([run for run in self.runs if run.status == "running"])


def judge(book: Book, saved: Saved, files: Path) -> Iterator[str]:
    """What is wrong, in sentences."""
    for run in saved.runs:
        for fault in [*of_log(saved.logs[str(run.id)]), *of_run(run, saved, book)]:
            yield f"run {run.id} ({run.team}, fence {run.fence}, {run.status}): {fault}"
    for client in book.clients:
        for fault in of_client(client, [without_row(event) for event in saved.logs[client.run_id]]):
            yield f"{client.kind} of run {client.run_id} after {client.connections} connections: {fault}"
    yield from of_messages(saved, book)
    yield from of_files(saved, files)


def without_row(event: Json) -> Json:
    return {name: value for name, value in event.items() if name != "_row"}


def of_log(log: Sequence[Json]) -> Iterator[str]:
    """A run's events by themselves."""
    if [event["seq"] for event in log] != list(range(1, len(log) + 1)):
        yield f"seq has gaps: {[event['seq'] for event in log]}"
    if any(event["_row"] != (event["seq"], event["type"]) for event in log):
        yield "an event's row tells something else than the event"
    types = [event["type"] for event in log]
    if types[:1] != ["start"] or types.count("start") != 1:
        yield f"it does not begin once: {types}"
    if types[-1:] != ["complete"] or types.count("complete") != 1:
        yield f"it does not end once: {types[-5:]}"
    fractions = [event["fraction"] for event in log if event["type"] == "progress"]
    if fractions != sorted(fractions):
        yield f"progress falls: {fractions}"
    yield from of_turns(log)
    yield from of_tools(log)


def of_turns(log: Sequence[Json]) -> Iterator[str]:
    attempts: dict[int, int] = defaultdict(int)
    ended: set[int] = set()
    for event in log:
        turn: int = event.get("turn", 0)
        if event["type"] == "agent_start":
            attempts[turn] += 1
            if event["attempt"] != attempts[turn]:
                yield f"turn {turn} is at attempt {event['attempt']} instead of {attempts[turn]}"
        if turn in ended and event["type"] in ("agent_start", "agent_chunk", "agent_complete"):
            yield f"{event['type']} {event['seq']} of turn {turn}, which had ended"
        if event["type"] == "agent_complete":
            ended.add(turn)
    if left := set(attempts) - ended:
        yield f"turns {left} have no end"


def of_tools(log: Sequence[Json]) -> Iterator[str]:
    told = [event for event in log if event["type"] == "interaction"]
    calls = [event for event in told if event["kind"] == "tool_call"]
    answers = Counter(event["call_id"] for event in told if event["kind"] == "tool_response")
    ids = [event["call_id"] for event in calls]
    if len(set(ids)) < len(ids):
        yield f"calls have the same id: {ids}"
    asked = Counter((event["turn"], event["tool_name"], json.dumps(event["tool_arguments"])) for event in calls)
    for (turn, name, _), times in asked.items():
        if times > 1:
            yield f"{name} was called {times} times in turn {turn}"
    complete = bool(log) and log[-1].get("status") == "complete"
    for call_id in ids:
        if answers[call_id] > 1 or (complete and not answers[call_id]):
            yield f"call {call_id} was answered {answers[call_id]} times"
    changes = [event["revision_id"] for event in log if event["type"] == "code_change"]
    if len(set(changes)) < len(changes):
        yield f"a change is told twice: {changes}"
    if log and [change["revision_id"] for change in log[-1].get("code_changes", [])] != changes:
        yield "its end tells other changes than its events"


class Folded:
    """What somebody reads who puts deltas together."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.answer: int | None = None
        self.faults: list[str] = []

    def add(self, event: Json) -> None:
        match event["type"]:
            case "agent_start":
                if event["turn"] not in self.texts and event["lane"] == "answer":
                    self.answer = event["turn"]
                self.texts[event["turn"]] = ""
            case "agent_chunk":
                text = self.texts.get(event["turn"])
                if text is None or event["offset"] != len(text):
                    self.faults.append(f"chunk {event['seq']} stands at {event['offset']}, after {text!r}")
                self.texts[event["turn"]] = (text or "") + event["text"]

    @property
    def text(self) -> str:
        return self.texts.get(self.answer, "") if self.answer is not None else ""


def fold(events: Sequence[Json]) -> Folded:
    folded = Folded()
    for event in events:
        folded.add(event)
    return folded


def of_run(run: Row, saved: Saved, book: Book) -> Iterator[str]:
    log = saved.logs[str(run.id)]
    if run.status == "running" or run.ended_at is None:
        yield "it is not finished"
        return
    folded = fold(log)
    yield from folded.faults
    end, reply = log[-1], saved.messages.get(str(run.message_id))
    if end["type"] != "complete":
        return
    if end["status"] != run.status:
        yield f"its end says {end['status']}"
    if reply is None:
        yield "its message is not there"
    elif not (folded.text == end["message"]["content"] == reply.content):
        told = end["message"]["content"]
        yield f"its deltas come to {folded.text!r}, its end says {told!r}, saved is {reply.content!r}"
    errors = [event["code"] for event in log if event["type"] == "error"]
    if (run.status == "failed") != bool(errors) or (errors and (errors != ["interrupted"] or run.fence <= MOST_OWNERS)):
        yield f"errors {errors}"
    if run.status == "cancelled" and str(run.id) not in book.stops:
        yield "nobody has stopped it"
    stopped = book.stops.get(str(run.id), float("inf"))
    if run.status == "complete" and datetime.fromisoformat(end["at"]).timestamp() > stopped + STOP_TAKES:
        yield "it was stopped, and went on"
    made = {str(row.id): row for row in saved.revisions if row.run_id == run.id}
    told = {event["revision_id"] for event in log if event["type"] == "code_change"}
    if told != set(made):
        yield f"its changes of files are {sorted(made)}, and it tells of {sorted(told)}"
    for (path, change), times in Counter((row.path, row.change) for row in made.values()).items():
        if times > 1:
            yield f"{path} was {change} {times} times"


def of_client(client: Client, log: Sequence[Json]) -> Iterator[str]:
    """Each event once, none missing, none that is not in the log."""
    if not (client.ended or client.left):
        yield "it never saw the end"
    if client.kind == "reloads":
        yield from of_looks(client, log)
        return
    expected = log[client.first :]
    if client.left:
        expected = expected[: len(client.events)]
    if client.events != expected:
        got, wanted = [event["seq"] for event in client.events], [event["seq"] for event in expected]
        place = next(
            (n for n, (one, other) in enumerate(zip(client.events, expected, strict=False)) if one != other), -1
        )
        yield (
            f"it got {len(got)} events ({got[:3]} to {got[-3:]}) instead of {len(wanted)}; first other one: "
            + (f"{client.events[place]} instead of {expected[place]}" if place >= 0 else f"{set(wanted) ^ set(got)}")
        )
    if client.first == 0:
        yield from fold(client.events).faults


def of_looks(client: Client, log: Sequence[Json]) -> Iterator[str]:
    """Whoever looked saw the state at one event, never an earlier one than before."""
    folded, at = Folded(), 0
    for seq, status, text in client.seen:
        if seq < at or seq > len(log):
            yield f"it saw event {seq} after {at}, of {len(log)}"
            return
        for event in log[at:seq]:
            folded.add(event)
        at = seq
        if text != folded.text:
            yield f"at event {seq} it saw {text!r} instead of {folded.text!r}"
        if status != (log[-1]["status"] if seq == len(log) else "running"):
            yield f"at event {seq} of {len(log)} it saw {status}"


def of_messages(saved: Saved, book: Book) -> Iterator[str]:
    """A tree, in which everything that was said is there once, and has its reply."""
    runs = Counter(str(run.message_id) for run in saved.runs)
    followed = {str(row.parent_id) for row in saved.messages.values()}
    taken = Counter(
        event["message_id"]
        for log in saved.logs.values()
        for event in log
        if event["type"] == "interaction" and event.get("message_id")
    )
    for name, row in saved.messages.items():
        about = f"message {name} ({row.role}, {row.content[:40]!r})"
        if row.status:
            yield f"{about} is left {row.status}"
        parent = saved.messages.get(str(row.parent_id))
        if row.parent_id is not None and (parent is None or parent.conversation_id != row.conversation_id):
            yield f"{about} follows {row.parent_id}, which is not there"
        if row.role == "assistant" and (runs[name] != 1 or parent is None or parent.role != "user"):
            yield f"{about} has {runs[name]} runs and follows {parent and parent.role}"
        if row.role == "user" and name not in followed:
            yield f"{about} has no reply"
        if len(line_of(saved, name)) > len(saved.messages):
            yield f"{about} follows itself"
    for name, times in taken.items():
        if times > 1 or name not in saved.messages:
            yield f"message {name} was taken in {times} times" + (
                "" if name in saved.messages else ", and is not there"
            )
    said = Counter(row.content for row in saved.messages.values() if row.role == "user")
    yield from (f"{content!r} is there {times} times" for content, times in said.items() if times > 1)
    for name in book.said:
        if (name in saved.messages) == (name in book.withdrawn):
            yield f"message {name} was {'taken back' if name in book.withdrawn else 'accepted'}, and that is not so"
    for row in saved.conversations:
        if row.leaf_id is not None and str(row.leaf_id) not in saved.messages:
            yield f"conversation {row.id} shows {row.leaf_id}, which is not there"


def line_of(saved: Saved, name: str) -> list[str]:
    line = [name]
    while (row := saved.messages.get(line[-1])) is not None and row.parent_id and len(line) <= len(saved.messages):
        line.append(str(row.parent_id))
    return line


def of_files(saved: Saved, files: Path) -> Iterator[str]:
    """The newest revision of each file is what lies there."""
    newest = {(str(row.project_id), row.path): row.after for row in saved.revisions}
    there = {
        (folder.name, str(path.relative_to(folder / "files"))): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in files.glob("*")
        for path in (folder / "files").rglob("*")
        if path.is_file()
    }
    kept = {key: after for key, after in newest.items() if after is not None}
    if kept != there:
        yield f"files are {there}, and by their revisions {kept}"
