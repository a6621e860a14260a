"""Calls that ask a person first: decided, declined, not answered, interrupted, and through another process."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from msgspec.structs import replace
from sqlalchemy import delete, insert, update

from riverrun.agents.consent import DECLINED, EXPIRED, UNATTENDED
from riverrun.agents.context import Context
from riverrun.agents.events import (
    Asked,
    Complete,
    Decided,
    Event,
    Interaction,
    Progress,
    Word,
    approval_in,
)
from riverrun.agents.model import ModelOptions, OpenAIModel
from riverrun.agents.past import INTERRUPTED
from riverrun.agents.teams import registry
from riverrun.agents.tools import Origin, tool
from riverrun.errors import Ended, NotFound
from riverrun.persistence.repositories import ToolServers
from riverrun.persistence.statements import table_of
from riverrun.persistence.tables import DEFAULT_PROJECT, Approval, Run, ToolServer
from riverrun.runs.journal import Journal
from riverrun.runs.runner import Runner
from riverrun.runs.teams import Teams
from tests.model_server import ModelServer
from tests.runs.journal_kit import collect, journal_on, records
from tests.runs.test_leases import freeze
from tests.runs.test_resuming import interrupt

APPROVAL = table_of(Approval)
SEND: tuple[str, dict[str, Any]] = ("post__send", {"to": "Ida", "text": "Hello"})
LOOK: tuple[str, dict[str, Any]] = ("post__look", {})


class Post:
    """A project whose tools are those of a tool server `post`; only what is sent reaches outside."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.looked = asyncio.Event()

    @asynccontextmanager
    async def open(self, project_id: UUID, run_id: UUID) -> AsyncIterator[Context]:
        send = replace(tool(self.post__send), origin=Origin("post", "send"))
        yield Context(tools=[send, tool(self.post__look)], offered=["post"])

    async def post__send(self, to: str, text: str) -> str:
        """Send something."""
        self.sent.append(f"{to}: {text}")
        return "It is sent."

    async def post__look(self) -> str:
        """Look into the letter box."""
        self.looked.set()
        return "It is empty."


class Process(NamedTuple):
    runner: Runner
    journal: Journal
    post: Post


@pytest.fixture(scope="module")
def running_server() -> Iterator[ModelServer]:
    with ModelServer.start() as server:
        yield server


@pytest.fixture
def server(running_server: ModelServer) -> ModelServer:
    running_server.reset()
    return running_server


def say(server: ModelServer, rounds: Sequence[Any]) -> None:
    """What the model says: a text, or the calls of one answer."""
    server.reset()
    for said in rounds:
        if isinstance(said, str):
            server.script([{"text": said}], times=1)
            continue
        calls = [{"name": name, "arguments": json.dumps(given), "index": n} for n, (name, given) in enumerate(said)]
        server.script([{"tool_call": call} for call in calls], times=1)


@asynccontextmanager
async def process(
    database: SQLAlchemyAsyncConfig,
    server: ModelServer,
    patience: float = 60.0,
    time_limit: float = 0.0,
    alone: bool = False,
) -> AsyncIterator[Process]:
    model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model"))
    sessions, post = database.create_session_maker(), Post()
    async with journal_on(database) as journal:
        runner = Runner(
            journal,
            sessions,
            Teams(registry(), sessions),
            post,
            model,
            limit=10,
            message_limit=1000,
            grace=30,
            patience=patience,
            time_limit=time_limit,
            alone=alone,
        )
        async with runner.working():
            yield Process(runner, journal, post)
    await model.aclose()


async def all_asked_in(journal: Journal, run_id: UUID, number: int) -> list[Asked]:
    """Waits until so many calls ask; in the order of the calls."""
    found: list[Asked] = []
    async for record in records(journal, run_id):
        if isinstance(record.event, Progress) and isinstance(asked := approval_in(record.event), Asked):
            found.append(asked)
            if len(found) == number:
                return sorted(found, key=lambda asked: asked.call_id)
    raise AssertionError(f"only {len(found)} asked")


async def asked_in(journal: Journal, run_id: UUID) -> Asked:
    return (await all_asked_in(journal, run_id, 1))[0]


async def answered(process: Process, run_id: UUID, *words: Word, reason: str = "") -> list[Event]:
    """The run's events, when each call that asks is answered by the next of these words."""
    left, told = list(words), []
    async for record in records(process.journal, run_id):
        told.append(record.event)
        if isinstance(record.event, Progress) and isinstance(asked := approval_in(record.event), Asked):
            await process.runner.decide(await run_of(process, run_id), asked.call_id, left.pop(0), reason)
    assert left == [], "fewer calls asked"
    return told


async def run_of(process: Process, run_id: UUID) -> Run:
    async with process.runner._sessions() as session:
        run = await session.get(Run, run_id)
    assert run is not None
    return run


def approvals(events: Sequence[Event]) -> list[str]:
    told = [approval_in(event) for event in events if isinstance(event, Progress)]
    return [one.decision if isinstance(one, Decided) else "asked" for one in told if one]


def responses(events: Sequence[Event]) -> list[str]:
    return [event.content for event in events if isinstance(event, Interaction) and event.kind == "tool_response"]


def status_of(events: Sequence[Event]) -> str:
    assert isinstance(events[-1], Complete)
    return events[-1].status


async def test_a_call_is_made_when_it_was_approved_and_not_before(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    say(server, [[SEND], "Done."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida")
        asked = await asked_in(own.journal, started.run_id)
        assert (asked.server, asked.tool, asked.input) == ("post", "send", SEND[1])
        assert own.post.sent == []
        await own.runner.decide(await run_of(own, started.run_id), asked.call_id, "once")
        events = await collect(own.journal, started.run_id)
    assert own.post.sent == ["Ida: Hello"]
    assert approvals(events) == ["asked", "once"]
    assert (responses(events), status_of(events)) == (["It is sent."], "complete")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_time_in_which_a_run_waits_for_a_person_is_not_its_own(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    limit = 2.0
    say(server, [[SEND], "Done."])
    async with process(database, server, time_limit=limit) as own:
        began = monotonic()
        started = await own.runner.start("write to Ida")
        asked = await asked_in(own.journal, started.run_id)
        await asyncio.sleep(began + limit + 0.2 - monotonic())
        await own.runner.decide(await run_of(own, started.run_id), asked.call_id, "once")
        events = await collect(own.journal, started.run_id)
    assert (responses(events), status_of(events)) == (["It is sent."], "complete")

    say(server, [[SEND]])
    server.script([{"text": "So far."}, {"gate": "never"}], times=1)
    async with process(database, server, time_limit=limit) as own, asyncio.timeout(30):
        started = await own.runner.start("write to Ida")
        asked = await asked_in(own.journal, started.run_id)
        await own.runner.decide(await run_of(own, started.run_id), asked.call_id, "once")
        assert status_of(await collect(own.journal, started.run_id)) == "failed", "the limit holds after that"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["once", "once"], ["asked", "once", "asked", "once"]),
        (["once", "decline"], ["asked", "once", "asked", "decline"]),
        (["run"], ["asked", "run"]),
        (["always"], ["asked", "always"]),
    ],
)
async def test_how_far_a_word_reaches(
    words: list[Word], told: list[str], database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    say(server, [[SEND], [SEND], "Done."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida twice")
        events = await answered(own, started.run_id, *words)
    assert approvals(events) == told
    assert len(own.post.sent) == (1 if "decline" in words else 2)


async def test_always_holds_for_the_project_until_it_is_taken_back(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    async with database.create_session_maker()() as session:
        session.add(ToolServer(project_id=DEFAULT_PROJECT, name="post", address="http://127.0.0.1:9/"))
        await session.commit()
    async with process(database, server) as own:
        steps: list[tuple[list[Word], list[str]]] = [(["always"], ["asked", "always"]), ([], [])]
        for words, told in steps:
            say(server, [[SEND], "Done."])
            started = await own.runner.start("write to Ida")
            assert approvals(await answered(own, started.run_id, *words)) == told
        async with database.create_session_maker()() as session:
            servers = ToolServers(session=session)
            [post] = await servers.of_project(DEFAULT_PROJECT)
            [permission] = (await servers.permissions(DEFAULT_PROJECT))[post.id]
            assert permission.tool == "send"
            assert await servers.withdraw(post, permission.id)
            await session.commit()
        say(server, [[SEND], "Done."])
        started = await own.runner.start("write to Ida")
        assert approvals(await answered(own, started.run_id, "once")) == ["asked", "once"]
        async with database.create_session_maker()() as session:
            await session.execute(update(ToolServer).values(asks=False))
            await session.commit()
        say(server, [[SEND], "Done."])
        started = await own.runner.start("write to Ida")
        assert approvals(await collect(own.journal, started.run_id)) == []
    assert len(own.post.sent) == 4


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_is_declined_is_not_done_and_the_agent_is_told_why(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    say(server, [[SEND], "Then not."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida")
        events = await answered(own, started.run_id, "decline", reason="Ida is away.")
    assert own.post.sent == []
    assert server.requests()[1]["body"]["messages"][-1]["content"] == f"{DECLINED} They say: Ida is away."
    assert status_of(events) == "complete"


async def test_what_nobody_answers_in_time_is_not_done(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    say(server, [[SEND], "Then not."])
    async with process(database, server, patience=0.05) as own:
        started = await own.runner.start("write to Ida")
        events = await collect(own.journal, started.run_id)
        assert (approvals(events), responses(events)) == (["asked", "expired"], [EXPIRED])
        with pytest.raises(Ended, match="decided already: declined, as nobody answered in time"):
            await own.runner.decide(await run_of(own, started.run_id), "1.1", "once")
    assert own.post.sent == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_calls_that_need_no_word_do_not_wait_for_those_that_do(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    say(server, [[SEND, LOOK, SEND], "Done."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida and look")
        async with asyncio.timeout(10):
            await own.post.looked.wait()
        first, second = await all_asked_in(own.journal, started.run_id, 2)
        run = await run_of(own, started.run_id)
        await own.runner.decide(run, second.call_id, "decline")
        await own.runner.decide(run, first.call_id, "once")
        events = await collect(own.journal, started.run_id)
    answers = server.requests()[1]["body"]["messages"][-3:]
    assert [answer["content"] for answer in answers] == ["It is sent.", "It is empty.", DECLINED]
    assert len(own.post.sent) == 1
    assert status_of(events) == "complete"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_word_for_this_reply_is_one_for_all_that_wait_for_the_same_tool(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    say(server, [[SEND, SEND], "Done."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida twice")
        first, _ = await all_asked_in(own.journal, started.run_id, 2)
        await own.runner.decide(await run_of(own, started.run_id), first.call_id, "run")
        events = await collect(own.journal, started.run_id)
    assert sorted(approvals(events)) == ["asked", "asked", "run", "run"]
    assert len(own.post.sent) == 2


async def test_it_is_decided_once(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    say(server, [[SEND], "Done."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida")
        run = await run_of(own, started.run_id)
        asked = await asked_in(own.journal, started.run_id)
        with pytest.raises(NotFound):
            await own.runner.decide(run, "7.7", "once")
        await own.runner.decide(run, asked.call_id, "once")
        for word in ("once", "decline"):
            with pytest.raises(Ended, match="This was decided already: approved once"):
                await own.runner.decide(run, asked.call_id, word)
        await collect(own.journal, started.run_id)
    assert len(own.post.sent) == 1


async def test_stop_ends_a_run_that_waits(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    say(server, [[SEND], "Done."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida")
        asked = await asked_in(own.journal, started.run_id)
        await own.runner.cancel(started.run_id)
        events = await collect(own.journal, started.run_id)
        assert status_of(events) == "cancelled"
        with pytest.raises(Ended, match="The run has ended"):
            await own.runner.decide(await run_of(own, started.run_id), asked.call_id, "once")
    assert own.post.sent == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_where_nobody_can_be_asked_it_is_declined_at_once(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    say(server, [[SEND], "Then not."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida", attended=False)
        events = await collect(own.journal, started.run_id)
    assert (approvals(events), responses(events), own.post.sent) == ([], [UNATTENDED], [])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_arguments_that_are_none_ask_nobody(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    say(server, [[("post__send", {"to": "Ida"})], "Then not."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida")
        events = await collect(own.journal, started.run_id)
    assert approvals(events) == []
    assert "The arguments are wrong" in responses(events)[0]


async def test_a_word_reaches_a_run_in_another_process(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    say(server, [[SEND], "Done."])
    async with process(database, server) as own, process(database, server) as other:
        started = await own.runner.start("write to Ida")
        asked = await asked_in(other.journal, started.run_id)
        await other.runner.decide(await run_of(other, started.run_id), asked.call_id, "once")
        events = await collect(own.journal, started.run_id)
    assert approvals(events) == ["asked", "once"]
    assert (len(own.post.sent), len(other.post.sent)) == (1, 0)


# A restart


async def leave(database: SQLAlchemyAsyncConfig, saved: Sequence[Event], **decisions: str) -> None:
    """As if the process had died when these events, and these decisions by call, were all that was saved."""
    run_id = saved[0].run_id
    async with database.get_engine().begin() as connection:
        await connection.execute(delete(APPROVAL).where(APPROVAL.c.run_id == run_id))
        for event in saved:
            match approval_in(event) if isinstance(event, Progress) else None:
                case Asked(call_id=call_id, server=server, tool=name):
                    row = {"run_id": run_id, "call_id": call_id, "server": server, "tool": name}
                    await connection.execute(insert(APPROVAL), [row])
                case Decided(call_id=call_id, decision=said):
                    decide = update(APPROVAL).where(APPROVAL.c.run_id == run_id, APPROVAL.c.call_id == call_id)
                    await connection.execute(decide.values(decision=said))
        for call_id, decision in decisions.items():
            decide = update(APPROVAL).where(APPROVAL.c.run_id == run_id, APPROVAL.c.call_id == call_id)
            await connection.execute(decide.values(decision=decision))
    await interrupt(database, saved)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_after_any_event_what_waited_waits_on_and_what_was_made_is_not_made_again(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    rounds: list[Any] = [[SEND], [SEND, LOOK], "Done."]
    say(server, rounds)
    async with process(database, server, alone=True) as own:
        started = await own.runner.start("write to Ida twice")
        whole = await answered(own, started.run_id, "once", "once")
    assert len(own.post.sent) == 2, "needs a run that takes all of its steps to mean anything"
    for seq in range(1, len(whole)):
        before = whole[:seq]
        await leave(database, before)
        made = [event for event in before if isinstance(event, Interaction) and event.kind == "tool_call"]
        say(server, rounds[len({0 if call.call_id == "1.1" else 1 for call in made}) :])
        async with process(database, server, alone=True) as own:
            told: list[Event] = []
            async for record in records(own.journal, started.run_id):
                told.append(record.event)
                if isinstance(record.event, Progress) and isinstance(asked := approval_in(record.event), Asked):
                    waits = not any(
                        isinstance(one, Decided) and one.call_id == asked.call_id
                        for one in (approval_in(event) for event in before if isinstance(event, Progress))
                        if one
                    )
                    if waits:
                        await own.runner.decide(await run_of(own, started.run_id), asked.call_id, "once")
        assert told[:seq] == before
        assert status_of(told) == "complete"
        calls = [event.call_id for event in told if isinstance(event, Interaction) and event.kind == "tool_call"]
        answers = {e.call_id: e.content for e in told if isinstance(e, Interaction) and e.kind == "tool_response"}
        # of a round that was cut in the middle of its calls, the others are never made
        assert calls == ["1.1", "1.2", "1.3"][: 2 if [call.call_id for call in made] == ["1.1", "1.2"] else 3]
        assert len(responses(told)) == len(answers) == len(calls)
        # Who was interrupted is told so, and never called again; what had only been asked is called now.
        sent = [call for call in ("1.1", "1.2") if answers[call] == "It is sent."]
        assert [answers[call] for call in ("1.1", "1.2") if call not in sent] in ([], [INTERRUPTED])
        sent_before = {e.call_id for e in before if isinstance(e, Interaction) and e.content == "It is sent."}
        assert len(own.post.sent) == len(set(sent) - sent_before)
        decided = [approval_in(e) for e in told if isinstance(e, Progress)]
        ids = [one.call_id for one in decided if isinstance(one, Decided)]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("word", ["once", "decline", "expired"])
async def test_what_was_decided_just_before_a_crash_is_done(
    word: str, database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    say(server, [[SEND], "Done."])
    async with process(database, server) as own:
        started = await own.runner.start("write to Ida")
        whole = await answered(own, started.run_id, "once")
    seq = next(event.seq for event in whole if isinstance(event, Progress) and approval_in(event))
    await leave(database, whole[:seq], **{"1.1": word})
    say(server, ["Done."])
    async with process(database, server) as own:
        events = await collect(own.journal, started.run_id)
    assert approvals(events) == ["asked", word]
    assert len(own.post.sent) == (word == "once")
    assert server.requests()[0]["body"]["messages"][-1]["content"] == responses(events)[0]


async def test_a_process_that_has_lost_its_run_makes_no_call(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    """It hears the word first, but cannot write it down any more."""
    say(server, [[SEND], "Done."])
    async with process(database, server) as frozen, process(database, server) as other:
        started = await frozen.runner.start("write to Ida")
        asked = await asked_in(frozen.journal, started.run_id)
        await freeze(database, started.run_id)
        async for record in records(other.journal, started.run_id):
            if isinstance(record.event, Progress) and record.event.step == "resumed":
                break
        await frozen.runner.decide(await run_of(frozen, started.run_id), asked.call_id, "once")
        events = await collect(other.journal, started.run_id)
    assert approvals(events) == ["asked", "once"]
    assert len(frozen.post.sent) + len(other.post.sent) == 1


async def test_a_shutdown_does_not_wait_for_a_person(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    say(server, [[SEND], "Done."])
    async with asyncio.timeout(20):
        async with process(database, server) as own:
            started = await own.runner.start("write to Ida")
            asked = await asked_in(own.journal, started.run_id)
        async with process(database, server) as next_one:
            assert await asked_in(next_one.journal, started.run_id) == asked
            await next_one.runner.decide(await run_of(next_one, started.run_id), asked.call_id, "once")
            events = await collect(next_one.journal, started.run_id)
    assert approvals(events) == ["asked", "once"]
    assert (len(own.post.sent), len(next_one.post.sent)) == (0, 1)
