"""Runs under way: ended before they begin, and when their last words are refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig

from riverrun.agents.context import Context
from riverrun.agents.demo import DemoModel
from riverrun.agents.events import Complete
from riverrun.agents.teams import registry
from riverrun.errors import Busy
from riverrun.runs.journal import Journal
from riverrun.runs.runner import Runner
from riverrun.runs.teams import Teams
from tests.runs.journal_kit import collect, journal_on


class NoContexts:
    @asynccontextmanager
    async def open(self, project_id: UUID, run_id: UUID) -> AsyncIterator[Context]:
        yield Context()


@asynccontextmanager
async def runner_on(database: SQLAlchemyAsyncConfig) -> AsyncIterator[tuple[Runner, Journal]]:
    async with journal_on(database) as journal:
        sessions = database.create_session_maker()
        teams = Teams(registry(), sessions)
        runner = Runner(journal, sessions, teams, NoContexts(), DemoModel(), limit=10, message_limit=1000, grace=5)
        async with runner.working():
            yield runner, journal


async def test_a_run_that_is_stopped_before_it_begins_has_an_end(database: SQLAlchemyAsyncConfig) -> None:
    async with runner_on(database) as (runner, journal):
        started = await runner.start("hello")
        await runner.cancel(started.run_id)  # its task has had no turn yet
        events = await collect(journal, started.run_id)
        assert isinstance(events[-1], Complete)
        assert events[-1].status == "cancelled"
        await runner.start("again", conversation_id=started.conversation_id)


async def test_stop_and_completion_race_to_one_end(database: SQLAlchemyAsyncConfig) -> None:
    async with runner_on(database) as (runner, journal):
        for turns in range(0, 60, 3):
            started = await runner.start("hello")
            for _ in range(turns):
                await asyncio.sleep(0)
            await runner.cancel(started.run_id)
            events = await collect(journal, started.run_id)
            assert [type(event) for event in events].count(Complete) == 1
            assert isinstance(events[-1], Complete)


async def test_a_conversation_takes_one_run_at_a_time(database: SQLAlchemyAsyncConfig) -> None:
    async with runner_on(database) as (runner, _):
        started = await runner.start("hello")
        with pytest.raises(Busy):
            await runner.start("me too", conversation_id=started.conversation_id)
        await runner.cancel(started.run_id)
