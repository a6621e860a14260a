"""Connections that are cut off: what is left of them, and what is told."""

import asyncio
from uuid import uuid4

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from riverrun.persistence.database import configure
from riverrun.persistence.repositories import Conversations
from riverrun.persistence.writer import is_passing
from tests.postgres import Postgres

SLOW = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT count(*) FROM n")


async def test_who_is_cancelled_again_while_reading_leaves_nothing_behind(database: SQLAlchemyAsyncConfig) -> None:
    """As a stream is whose client has left: in the middle of a read, and until it ends."""
    asked = asyncio.Event()
    event.listen(database.get_engine().sync_engine, "before_cursor_execute", lambda *_: asked.set())

    async def read() -> None:
        async with database.create_session_maker()() as session:
            await session.execute(SLOW)

    before = asyncio.all_tasks()
    reading = asyncio.create_task(read())
    await asked.wait()
    while not reading.done():
        await asyncio.sleep(0)
        reading.cancel()
    if left := asyncio.all_tasks() - before:
        _, left = await asyncio.wait(left, timeout=5)
    assert not left


async def test_a_connection_that_was_cut_off_is_told_as_a_passing_failure(postgres: Postgres) -> None:
    """And not as a rule of the database's that was broken, which would be the caller's fault."""
    with postgres.database() as url:
        database = configure(url)
        async with database.get_session() as session, database.get_session() as other:
            backend = await session.scalar(text("SELECT pg_backend_pid()"))
            await other.execute(text("SELECT pg_terminate_backend(:id)"), {"id": backend})
            with pytest.raises(DBAPIError) as failure:
                await Conversations(session=session).find(uuid4())
        assert is_passing(failure.value)
        await database.get_engine().dispose()
