"""Two processes on one database: one works on a run, both can follow and stop it, and a dead one is replaced."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError
from uuid_utils.compat import uuid7

from riverrun.agents.context import Context
from riverrun.agents.events import AgentChunk, Complete, Event, Interaction, type_of
from riverrun.agents.model import ModelOptions, OpenAIModel
from riverrun.agents.team import Team
from riverrun.agents.teams import registry
from riverrun.persistence.repositories import Messages, Runs
from riverrun.persistence.statements import MESSAGE, RUN
from riverrun.persistence.tables import Run
from riverrun.persistence.writer import Fenced
from riverrun.runs.journal import Journal
from riverrun.runs.runner import Runner
from riverrun.runs.teams import Teams
from tests.model_server import ModelServer
from tests.runs.journal_kit import collect, journal_on, records


class NoContexts:
    @asynccontextmanager
    async def open(self, project_id: UUID, run_id: UUID) -> AsyncIterator[Context]:
        yield Context()


class Process(NamedTuple):
    """What a process has of its own."""

    runner: Runner
    journal: Journal


@pytest.fixture(scope="module")
def running_server() -> Iterator[ModelServer]:
    with ModelServer.start() as server:
        yield server


@pytest.fixture
def server(running_server: ModelServer) -> ModelServer:
    running_server.reset()
    return running_server


@asynccontextmanager
async def process(
    database: SQLAlchemyAsyncConfig, server: ModelServer, grace: float = 0.01, teams: type[Teams] = Teams
) -> AsyncIterator[Process]:
    model = OpenAIModel(ModelOptions(url=server.url, model="scripted-model"))
    sessions = database.create_session_maker()
    async with journal_on(database) as journal:
        runner = Runner(
            journal,
            sessions,
            teams(registry(), sessions),
            NoContexts(),
            model,
            limit=10,
            message_limit=1000,
            grace=grace,
            alone=False,
        )
        async with runner.working():
            yield Process(runner, journal)
    await model.aclose()


async def until_text(journal: Journal, run_id: UUID) -> list[Event]:
    shown: list[Event] = []
    async for record in records(journal, run_id):
        shown.append(record.event)
        if isinstance(record.event, AgentChunk):
            return shown
    raise AssertionError("the run ended before its first text")


async def owner_of(database: SQLAlchemyAsyncConfig, run_id: UUID) -> UUID:
    async with database.get_engine().connect() as connection:
        found = await connection.scalar(select(RUN.c.owner).where(RUN.c.id == run_id))
    assert isinstance(found, UUID)
    return found


async def run_of(database: SQLAlchemyAsyncConfig, run_id: UUID) -> Run:
    async with database.create_session_maker()() as session:
        run = await session.get(Run, run_id)
    assert run is not None
    return run


async def freeze(database: SQLAlchemyAsyncConfig, run_id: UUID) -> None:
    """As if the process that has the run had said nothing for longer than its lease."""
    async with database.get_engine().begin() as connection:
        await connection.execute(update(RUN).where(RUN.c.id == run_id).values(owner=uuid7(), leased_until=0.0))


async def test_the_loser_of_a_run_cannot_write_into_it(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    server.script([{"text": "first "}, {"gate": "thaw"}, {"text": "too late"}], times=1)
    server.script([{"text": "second "}, {"gate": "end"}, {"text": "and whole"}], times=1)
    async with process(database, server) as frozen, process(database, server) as other:
        started = await frozen.runner.start("hello")
        shown = await until_text(frozen.journal, started.run_id)
        await freeze(database, started.run_id)
        await asyncio.to_thread(server.wait_gate, "end")  # the other one has taken it over
        working = frozen.runner._works[started.run_id].task
        server.open_gate("thaw")
        assert working
        await working
        assert frozen.runner.working_count == 0
        server.open_gate("end")
        events = await collect(other.journal, started.run_id)
        assert await collect(frozen.journal, started.run_id) == events  # whichever process is asked
    assert events[: len(shown)] == shown
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    end = events[-1]
    assert isinstance(end, Complete)
    assert (end.status, end.message.content) == ("complete", "second and whole")
    assert not any(isinstance(event, AgentChunk) and "late" in event.text for event in events)


class Once(Teams):
    """The database goes away just when they are looked for, and is back afterwards."""

    lost = False

    async def find(self, name: str, owner_id: UUID) -> Team:
        if not self.lost:
            self.lost = True
            raise OperationalError("SELECT 1", {}, ConnectionResetError())
        return await super().find(name, owner_id)


async def test_a_run_is_taken_over_later_when_the_database_goes_away_meanwhile(
    database: SQLAlchemyAsyncConfig, server: ModelServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.script([{"text": "first "}, {"gate": "never"}], times=1)
    server.script([{"text": "second"}], times=1)
    async with process(database, server) as frozen, process(database, server, teams=Once) as other:
        started = await frozen.runner.start("hello")
        await until_text(frozen.journal, started.run_id)
        await freeze(database, started.run_id)
        end = (await collect(other.journal, started.run_id))[-1]
    assert isinstance(end, Complete)
    assert (end.status, end.message.content) == ("complete", "second")
    assert isinstance(other.runner.teams, Once)
    assert other.runner.teams.lost
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_run_stays_with_the_process_that_renews_its_lease(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    server.script([{"text": "slow "}, {"gate": "end"}, {"text": "but sure"}], times=1)
    async with process(database, server) as owner, process(database, server) as other:
        started = await owner.runner.start("hello")
        await until_text(other.journal, started.run_id)
        await other.runner._take_over()
        assert other.runner.working_count == 0
        assert await owner_of(database, started.run_id) == owner.runner._leases.process
        server.open_gate("end")
        await collect(owner.journal, started.run_id)
    assert len(server.requests()) == 1


async def test_a_run_is_followed_through_another_process(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    server.script([{"text": "here "}, {"gate": "more"}, {"text": "and there"}], times=1)
    async with process(database, server) as owner, process(database, server) as other:
        started = await owner.runner.start("hello")
        following = asyncio.create_task(collect(other.journal, started.run_id))
        await until_text(other.journal, started.run_id)
        server.open_gate("more")
        assert await following == await collect(owner.journal, started.run_id)


async def test_a_run_is_stopped_through_another_process(database: SQLAlchemyAsyncConfig, server: ModelServer) -> None:
    server.script([{"text": "stop me "}, {"stall": True}], times=1)
    async with process(database, server) as owner, process(database, server) as other:
        started = await owner.runner.start("hello")
        await until_text(other.journal, started.run_id)
        await other.runner.cancel(started.run_id)
        events = await collect(other.journal, started.run_id)
        await asyncio.to_thread(server.wait_closed, 0)
    assert [type_of(event) for event in events[-2:]] == ["agent_complete", "complete"]
    assert isinstance(events[-1], Complete)
    assert (events[-1].status, events[-1].message.content) == ("cancelled", "stop me ")


async def test_a_process_that_is_shut_down_hands_its_runs_over(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    server.script([{"text": "begun "}, {"stall": True}], times=1)
    server.script([{"text": "done"}], times=1)
    async with process(database, server) as other:
        async with process(database, server) as leaving:
            started = await leaving.runner.start("hello")
            await until_text(leaving.journal, started.run_id)
        await other.runner._take_over()  # no lease has to end first
        assert other.runner.working_count == 1
        events = await collect(other.journal, started.run_id)
    assert isinstance(events[-1], Complete)
    assert (events[-1].status, events[-1].message.content) == ("complete", "done")


async def test_what_is_taken_back_through_another_process_is_not_heard(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    server.script([{"text": "Once "}, {"gate": "told"}, {"text": "upon"}], times=1)
    async with process(database, server) as owner, process(database, server) as other:
        started = await owner.runner.start("hello")
        await until_text(owner.journal, started.run_id)
        message_id = await owner.runner.add(await run_of(database, started.run_id), "never mind")
        assert await other.runner.withdraw(started.conversation_id, message_id)
        await owner.runner._look_for_mail()
        server.open_gate("told")
        events = await collect(owner.journal, started.run_id)
    assert not any(isinstance(event, Interaction) for event in events)
    assert len(server.requests()) == 1


async def test_what_is_taken_back_too_late_leaves_the_conversation_whole(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    """An agent hears it before its process knows; what comes after it follows a message that is there."""
    server.script([{"text": "Once "}, {"gate": "late"}, {"text": "upon"}], times=1)
    async with process(database, server) as owner, process(database, server) as other:
        started = await owner.runner.start("hello")
        await until_text(owner.journal, started.run_id)
        run = await run_of(database, started.run_id)
        first, second = await owner.runner.add(run, "never mind"), await owner.runner.add(run, "go on")
        assert await other.runner.withdraw(started.conversation_id, first)
        server.open_gate("late")
        events = await collect(owner.journal, started.run_id)
    heard = {event.content: event.message_id for event in events if isinstance(event, Interaction)}
    assert heard["go on"] == second
    assert heard.get("never mind") is None
    async with database.get_engine().connect() as connection:
        rows = await connection.execute(select(MESSAGE.c.id, MESSAGE.c.parent_id))
        parents = {row.id: row.parent_id for row in rows}
    assert parents == {
        started.user_message_id: None,
        second: started.user_message_id,
        started.message_id: second,
    }


async def test_a_waiting_message_has_one_turn_whoever_finds_it(
    database: SQLAlchemyAsyncConfig, server: ModelServer
) -> None:
    """The second one has read that it waits before the first one answered it."""
    server.script([{"text": "first "}, {"gate": "end"}], times=1)
    async with process(database, server) as owner, process(database, server) as other:
        started = await owner.runner.start("hello")
        await until_text(owner.journal, started.run_id)
        async with database.create_session_maker()() as session:
            run = await Runs(session=session).find(started.run_id)
            assert run
            said = await owner.runner.add(run, "and then?", wait=True)
            left = await Messages(session=session).left_in(started.conversation_id)
        first = owner.runner._works[started.run_id].task
        server.open_gate("end")
        assert first
        await first
        (second,) = owner.runner._works.values()  # its turn has begun by itself
        assert second.task
        await second.task
        with pytest.raises(Fenced):
            await other.runner._answer(left[0], [])
        assert await messages_after(database, said) == 1


async def messages_after(database: SQLAlchemyAsyncConfig, message_id: UUID) -> int:
    async with database.get_engine().connect() as connection:
        query = select(func.count()).select_from(MESSAGE).where(MESSAGE.c.parent_id == message_id)
        return await connection.scalar(query) or 0
