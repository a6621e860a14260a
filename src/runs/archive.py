"""A conversation as a file: all of its messages, and its runs with their events, to keep or to take elsewhere.

Whatever a file says is checked like the words of a stranger: nothing is taken over that the page could not show.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import replace
from sqlalchemy import Table, insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..agents.events import (
    DEEPEST,
    UNREADABLE,
    AgentChunk,
    AgentComplete,
    AgentStart,
    CodeChange,
    Complete,
    Error,
    Event,
    FinalMessage,
    Interaction,
    Progress,
    Start,
    Usage,
    decode,
    encode,
    is_deep,
)
from ..errors import Invalid
from ..persistence import tables
from ..persistence.repositories import Conversations
from ..persistence.statements import ADD_EVENT, CONVERSATION, MESSAGE, RUN, Row
from .journal import Journal, Recorded, now, to_row
from .rows import message_row
from .view import RunView, closing

FORMAT = 1
FILE_LIMIT = 32 * 2**20  # bytes; to look through so many takes a tenth of a second
AT_ONCE = 500  # rows in a transaction: whoever writes is waited for by all streams
LARGEST = 10**12  # milliseconds or tokens
LAST_TURN = 2**15 - 1
LAST_SEQ = 2**31 - 1
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

LEFT_OPEN = Error(message="This reply was still being written when its conversation was exported.", code="interrupted")

At = Annotated[datetime, Meta(tz=True)]
Name = Annotated[str, Meta(max_length=100)]


class ArchivedConversation(Struct, forbid_unknown_fields=True):
    """`leaf_id` is the last message of the branch that was shown."""

    id: UUID
    title: Annotated[str, Meta(max_length=200)]
    team: Name
    created_at: At
    leaf_id: UUID | None = None


class ArchivedMessage(Struct, forbid_unknown_fields=True):
    """`parent_id` is the message that this one follows."""

    id: UUID
    role: Literal["user", "assistant", "system"]
    content: str
    created_at: At
    agent_name: Name | None = None
    parent_id: UUID | None = None


class ArchivedRun(Struct, forbid_unknown_fields=True):
    """`status` is told for readers; what holds is what the events say."""

    id: UUID
    user_message_id: UUID
    message_id: UUID
    team: Name
    model: Annotated[str, Meta(max_length=200)]
    status: Literal["running", "complete", "failed", "cancelled"]
    created_at: At
    ended_at: At | None = None
    events: list[Raw] = []


class Archive(Struct, forbid_unknown_fields=True):
    """A conversation with all of its branches, and with the runs that wrote its replies."""

    riverrun: int
    conversation: ArchivedConversation
    messages: list[ArchivedMessage]
    runs: list[ArchivedRun]


class Version(Struct):
    riverrun: int


# Out


async def written(
    conversation: tables.Conversation,
    messages: Sequence[tables.Message],
    runs: Sequence[tables.Run],
    journal: Journal,
) -> AsyncGenerator[bytes, None]:
    """The file, piece by piece: one message, and one event, a line."""
    yield b'{"riverrun":%d,"conversation":%s,\n"messages":[\n' % (FORMAT, to_json(of_conversation(conversation)))
    yield b",\n".join(to_json(of_message(message)) for message in messages)
    yield b'],\n"runs":['
    for number, run in enumerate(runs):
        head = to_json(of_run(run)).removesuffix(b"[]}")
        yield (b",\n" if number else b"\n") + head + b"[\n"
        first = True
        async for batch in journal.read(run.id):
            yield (b"" if first else b",\n") + b",\n".join(record.payload for record in batch)
            first = False
        yield b"]}"
    yield b"]}\n"


def of_conversation(row: tables.Conversation) -> ArchivedConversation:
    return ArchivedConversation(row.id, row.title, row.team, row.created_at, row.leaf_id)


def of_message(row: tables.Message) -> ArchivedMessage:
    role = msgspec.convert(row.role, Literal["user", "assistant", "system"])
    return ArchivedMessage(row.id, role, row.content, row.created_at, row.agent_name, row.parent_id)


def of_run(row: tables.Run) -> ArchivedRun:
    status: Any = row.status
    ids = (row.id, row.user_message_id, row.message_id)
    return ArchivedRun(*ids, row.team, row.model, status, row.created_at, row.ended_at)


to_json = msgspec.json.Encoder().encode


# In


class Course(NamedTuple):
    """What a run's events come to, and those that are missing at its end."""

    view: RunView
    ending: list[Event]


def read(content: bytes) -> Archive:
    """The file, with the events still to be read. Raises Invalid, which says what is wrong and where."""
    try:
        archive = msgspec.json.decode(content, type=Archive)
    except UNREADABLE as refusal:
        with suppress(*UNREADABLE):  # a file of another version has other fields
            check_version(msgspec.json.decode(content, type=Version).riverrun)
        raise Invalid(f"This is no conversation that riverrun has exported: {refusal}.") from refusal
    check_version(archive.riverrun)
    check_tree(archive)
    return archive


def check_version(version: int) -> None:
    if version != FORMAT:
        raise Invalid(f"This file has version {version} of the format; version {FORMAT} can be imported here.")


def check_tree(archive: Archive) -> None:
    """Whether everything that is named is there, and comes before what follows it."""
    check_time(archive.conversation.created_at, "conversation")
    roles: dict[UUID, str] = {}
    for number, message in enumerate(archive.messages):
        place = f"messages[{number}]"
        check_time(message.created_at, place)
        if message.id in roles:
            raise wrong(place, "its id stands there twice")
        roles[message.id] = message.role
    check_parents(archive.messages)
    if archive.conversation.leaf_id is not None and archive.conversation.leaf_id not in roles:
        raise wrong("conversation", "its leaf_id is no message")
    replies: set[UUID] = set()
    for number, run in enumerate(archive.runs):
        place = f"runs[{number}]"
        for at in filter(None, (run.created_at, run.ended_at)):
            check_time(at, place)
        if roles.get(run.user_message_id) != "user":
            raise wrong(place, "its user_message_id is no message of a person")
        if roles.get(run.message_id) != "assistant" or run.message_id in replies:
            raise wrong(place, "its message_id is no reply of its own")
        replies.add(run.message_id)
    if len({run.id for run in archive.runs}) < len(archive.runs):
        raise wrong("runs", "an id stands there twice")


def check_parents(messages: Sequence[ArchivedMessage]) -> None:
    """Raises Invalid where one follows nothing that there is, or itself in the end."""
    parents = {message.id: {message.parent_id} - {None} for message in messages}
    for number, message in enumerate(messages):
        if message.parent_id is not None and message.parent_id not in parents:
            raise wrong(f"messages[{number}]", "the message that it follows is not there")
    try:
        TopologicalSorter(parents).prepare()
    except CycleError as circle:
        raise wrong("messages", f"{circle.args[1][0]} follows itself") from circle


async def courses(archive: Archive) -> list[Course]:
    """Follows every run to its end. Raises Invalid at the first event that cannot have been."""
    conversation_id = archive.conversation.id
    return [await follow(run, conversation_id, f"runs[{number}]") for number, run in enumerate(archive.runs)]


async def follow(run: ArchivedRun, conversation_id: UUID, place: str) -> Course:
    view = RunView(run.id, run.message_id)
    for number, raw in enumerate(run.events):
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)  # others have their turn
        here = f"{place}.events[{number}]"
        event = event_of(raw, here)
        check(event, view, here)
        if isinstance(event, Start) and named_by(event) != (conversation_id, run.user_message_id, run.message_id):
            raise wrong(here, "it begins the run of another message")
        view.apply(event)
    if view.seq == 0:
        raise wrong(place, "it has no events")
    return Course(view, [] if not view.running else ending(view, run))


def named_by(start: Start) -> tuple[UUID, UUID, UUID]:
    return start.conversation_id, start.user_message_id, start.message_id


def event_of(raw: Raw, place: str) -> Event:
    try:
        event: Event = decode(raw)
    except UNREADABLE as refusal:
        raise wrong(place, str(refusal)) from refusal
    return event


def check(event: Event, view: RunView, place: str) -> None:
    """What the fold and the page rely on, and no type says."""
    check_time(event.at, place)
    if not view.seq < event.seq <= LAST_SEQ or (view.seq == 0 and event.seq != 1):
        raise wrong(place, f"its seq is {event.seq} after {view.seq}")
    if isinstance(event, Start) != (view.seq == 0):
        raise wrong(place, "a run has one start, and begins with it")
    if not view.running:
        raise wrong(place, "it comes after the end of its run")
    match event:
        case AgentStart(turn=turn):
            if not 1 <= turn <= LAST_TURN or (turn in view.turns) != (event.attempt > 1):
                raise wrong(place, f"turn {turn} cannot begin here")
        case AgentChunk(turn=turn) | AgentComplete(turn=turn):
            if turn not in view.turns or not view.turns[turn].open:
                raise wrong(place, f"turn {turn} is not open")
            if isinstance(event, AgentComplete):
                check_amounts(place, event.duration_ms, event.usage)
        case Interaction(turn=turn):
            if turn not in view.turns:
                raise wrong(place, f"turn {turn} has not begun")
            check_depth(event.tool_arguments, place)
        case Progress():
            if not 0 <= event.fraction <= 1:
                raise wrong(place, "its fraction is not between 0 and 1")
            check_depth(event.metadata, place)
        case Complete():
            check_amounts(place, 0, event.usage)
            check_time(event.message.created_at, place)


def check_time(at: datetime, place: str) -> None:
    try:
        fits = at.tzinfo is not None and EARLIEST <= at <= LATEST
    except OverflowError:
        fits = False
    if not fits:
        raise wrong(place, "its time is no time that could have been")


def check_amounts(place: str, duration_ms: int, usage: Usage | None) -> None:
    amounts = (duration_ms, *((usage.input_tokens, usage.output_tokens) if usage else ()))
    if not all(0 <= amount <= LARGEST for amount in amounts):
        raise wrong(place, "it has taken more, or less, than anything can")


def check_depth(value: Any, place: str) -> None:
    if is_deep(value):
        raise wrong(place, f"it is nested more than {DEEPEST} levels deep")


def wrong(place: str, reason: str) -> Invalid:
    return Invalid(f"This file cannot be imported. {place}: {reason}.")


def ending(view: RunView, run: ArchivedRun) -> list[Event]:
    """Closes what is open, tells why, and completes: nobody will go on with this run."""
    at = view.activity[-1].at
    events = closing(view, at, "error")
    agent = view.answer.agent if view.answer else None
    message = FinalMessage(run.message_id, "assistant", view.content, agent, run.created_at)
    complete = Complete(status="failed", message=message, code_changes=view.code_changes, usage=view.total_usage)
    told = [replace(event, seq=seq, at=at) for seq, event in enumerate([*events, LEFT_OPEN, complete], view.seq + 1)]
    for event in told:
        view.apply(event)
    return told


async def bring_in(archive: Archive, project_id: UUID, journal: Journal, session: AsyncSession) -> UUID:
    """Saves the conversation under new ids. Raises Invalid before anything is saved, and StorageUnavailable.

    In steps, so that nobody's stream waits for a large one. It is among the deleted ones until all of it is there: a
    part that is left by a failure is never seen, and goes with them.
    """
    found = await courses(archive)
    ids = new_ids(archive)
    conversation_id = ids[archive.conversation.id]
    await add(session, CONVERSATION, [conversation_row(archive, ids, project_id)])
    await add(session, MESSAGE, message_rows(archive, found, ids))
    await add(session, RUN, run_rows(archive, found, ids))
    for run, course in zip(archive.runs, found, strict=True):
        for start in range(0, len(run.events), AT_ONCE):
            part = map(decode, run.events[start : start + AT_ONCE])
            await journal.save({ADD_EVENT: [event_row(event, run, ids) for event in part]})
        if course.ending:
            await journal.save({ADD_EVENT: [event_row(event, run, ids) for event in course.ending]})
    await Conversations(session=session).restore(conversation_id)
    await session.commit()
    return conversation_id


def new_ids(archive: Archive) -> dict[UUID, UUID]:
    """In the order of the file, which is the one of a conversation."""
    named = [archive.conversation.id, *(one.id for one in archive.messages), *(one.id for one in archive.runs)]
    return dict(zip(named, sorted(uuid7() for _ in named), strict=True))


async def add(session: AsyncSession, table: Table, rows: Sequence[Row]) -> None:
    for start in range(0, len(rows), AT_ONCE):
        await session.execute(insert(table), rows[start : start + AT_ONCE])
        await session.commit()


def conversation_row(archive: Archive, ids: dict[UUID, UUID], project_id: UUID) -> Row:
    told, at = archive.conversation, now()
    leaf = told.leaf_id or (archive.messages[-1].id if archive.messages else None)
    return {
        "id": ids[told.id],
        "project_id": project_id,
        "title": storable(told.title),
        "team": storable(told.team),
        "leaf_id": ids[leaf] if leaf else None,
        "created_at": told.created_at,
        "active_at": at,
        "deleted_at": at,
    }


def message_rows(archive: Archive, found: Sequence[Course], ids: dict[UUID, UUID]) -> list[Row]:
    """A reply is what its run's events say, so that a model is told nothing that a person cannot see."""
    replies = {run.message_id: (run, course.view) for run, course in zip(archive.runs, found, strict=True)}
    rows: list[Row] = []
    for message in archive.messages:
        run, view = replies.get(message.id, (None, None))
        parent = message.parent_id or (run.user_message_id if run else None)
        row = message_row(
            ids[message.id],
            ids[archive.conversation.id],
            message.role,
            storable(view.content if view else message.content),
            message.created_at,
            parent_id=ids[parent] if parent else None,
            run_id=ids[run.id] if run else None,
        )
        rows.append(row | {"agent_name": storable(view.answer.agent)[:100] if view and view.answer else None})
    return rows


def run_rows(archive: Archive, found: Sequence[Course], ids: dict[UUID, UUID]) -> list[Row]:
    return [
        {
            "id": ids[run.id],
            "conversation_id": ids[archive.conversation.id],
            "user_message_id": ids[run.user_message_id],
            "message_id": ids[run.message_id],
            "team": storable(run.team),
            "model": storable(run.model),
            "status": course.view.status,
            "created_at": run.created_at,
            "ended_at": run.ended_at or course.view.ended_at,
        }
        for run, course in zip(archive.runs, found, strict=True)
    ]


def storable(text: str) -> str:
    return text.replace("\0", "\ufffd")  # which PostgreSQL cannot keep


def event_row(event: Event, run: ArchivedRun, ids: dict[UUID, UUID]) -> Row:
    adopted = adopt(event, run, ids)
    return to_row(Recorded(adopted, encode(adopted)))


def adopt(event: Event, run: ArchivedRun, ids: dict[UUID, UUID]) -> Event:
    """The event under the new ids. Revisions stay where they were made, so nothing here can be taken back."""
    event = replace(event, run_id=ids[run.id])
    match event:
        case Start():
            conversation_id, asked, answer = (ids[named] for named in named_by(event))
            return replace(event, conversation_id=conversation_id, user_message_id=asked, message_id=answer)
        case CodeChange():
            return replace(event, revision_id=None)
        case Complete():
            message = replace(event.message, id=ids[run.message_id])
            changes = [replace(change, run_id=ids[run.id], revision_id=None) for change in event.code_changes]
            return replace(event, message=message, code_changes=changes)
        case Interaction():
            return replace(event, **dict(told_ids(event, ids)))
        case _:
            return event


def told_ids(event: Interaction, ids: dict[UUID, UUID]) -> Iterator[tuple[str, UUID | None]]:
    """The messages that it names."""
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if name != "run_id" and isinstance(value, UUID):
            yield name, ids.get(value)
