"""The gate itself, as a door that is no HTTP route asks it, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import get_args

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import delete, select, update

from riverrun.accounts.secrets import hash_of
from riverrun.controllers.access import Gate, Scope, new_token, shown_part
from riverrun.errors import Forbidden, StorageUnavailable, Unauthorized
from riverrun.persistence.database import configure
from riverrun.persistence.statements import Write
from riverrun.persistence.tables import ApiToken
from riverrun.runs.journal import now
from tests.runs.journal_kit import journal_on

SCOPES: tuple[Scope, ...] = get_args(Scope)
MINUTE = timedelta(minutes=1)


class Saved:
    """Takes the gate's writes, and saves none until `room` is set."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.room = asyncio.Event()
        self.came = asyncio.Event()

    async def save(self, write: Write) -> None:
        self.writes.append(write)
        self.came.set()
        await self.room.wait()


@asynccontextmanager
async def gate_on(database: SQLAlchemyAsyncConfig, saved: Saved, required: bool = False) -> AsyncIterator[Gate]:
    gate = Gate(database.create_session_maker(), saved.save, required=required)
    async with asyncio.timeout(20), gate.working():
        yield gate


async def add_token(
    database: SQLAlchemyAsyncConfig, scope: Scope = "read", last_used_at: datetime | None = None
) -> str:
    token = new_token()
    async with database.get_session() as session:
        row = ApiToken(name=shown_part(token), hash=hash_of(token), start=shown_part(token), scope=scope)
        row.last_used_at = last_used_at
        session.add(row)
        await session.commit()
    return token


async def last_use(database: SQLAlchemyAsyncConfig) -> datetime | None:
    async with database.get_session() as session:
        return await session.scalar(select(ApiToken.last_used_at))


@pytest.mark.parametrize("held", SCOPES)
@pytest.mark.parametrize("needed", SCOPES)
async def test_a_scope_includes_the_smaller_ones(database: SQLAlchemyAsyncConfig, held: Scope, needed: Scope) -> None:
    token = await add_token(database, held)
    async with gate_on(database, Saved(), required=True) as gate:
        if SCOPES.index(held) >= SCOPES.index(needed):
            await gate.admit(token, needed)
        else:
            with pytest.raises(Forbidden, match=needed):
                await gate.admit(token, needed)


@pytest.mark.parametrize("bearer", [None, "", "sk-other"])
async def test_who_brings_none_comes_in_only_where_none_is_needed(
    database: SQLAlchemyAsyncConfig, bearer: str | None
) -> None:
    async with gate_on(database, Saved()) as gate:
        await gate.admit(bearer, "admin")
    async with gate_on(database, Saved(), required=True) as gate:
        with pytest.raises(Unauthorized):
            await gate.admit(bearer, "read")


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("bearer", ["rr_", "rr_" + "x" * 43, "rr_\ud800", "rr_" + "é" * 9000])
async def test_what_looks_like_a_token_must_be_one(
    database: SQLAlchemyAsyncConfig, bearer: str, required: bool
) -> None:
    async with gate_on(database, Saved(), required) as gate:
        with pytest.raises(Unauthorized):
            await gate.admit(bearer, "read")


async def test_a_revoked_token_is_out_with_the_next_request(database: SQLAlchemyAsyncConfig) -> None:
    token = await add_token(database)
    async with gate_on(database, Saved()) as gate:
        await gate.admit(token, "read")
        async with database.get_session() as session:
            await session.execute(delete(ApiToken))
            await session.commit()
        with pytest.raises(Unauthorized):
            await gate.admit(token, "read")


async def test_nobody_waits_until_a_use_is_written_down(database: SQLAlchemyAsyncConfig) -> None:
    """And what was not written when the gate closes is let go."""
    token, saved = await add_token(database), Saved()
    async with gate_on(database, saved) as gate:
        await gate.admit(token, "read")
        await saved.came.wait()
    assert not saved.room.is_set()


async def test_use_is_written_down_once_a_minute(database: SQLAlchemyAsyncConfig) -> None:
    token, saved = await add_token(database), Saved()
    saved.room.set()
    async with gate_on(database, saved) as gate:
        for _ in range(3):
            await gate.admit(token, "read")
        await saved.came.wait()
    assert len(saved.writes) == 1


@pytest.mark.parametrize(("ago", "written"), [(MINUTE / 2, 0), (MINUTE * 2, 1)])
async def test_a_gate_that_opens_anew_goes_by_what_is_saved(
    database: SQLAlchemyAsyncConfig, ago: timedelta, written: int
) -> None:
    token, saved = await add_token(database, last_used_at=now() - ago), Saved()
    async with gate_on(database, saved) as gate:
        await gate.admit(token, "read")
        await asyncio.sleep(0)  # the turn in which a write would begin
    assert len(saved.writes) == written


async def test_the_one_writer_saves_the_use(database: SQLAlchemyAsyncConfig) -> None:
    token, began = await add_token(database), now()
    async with journal_on(database) as journal:
        gate = Gate(database.create_session_maker(), journal.save, required=False)
        async with gate.working():
            await gate.admit(token, "read")
            await asyncio.sleep(0)  # the turn in which the writer is given it
            await journal.save({})  # comes after it
    used = await last_use(database)
    assert used is not None
    assert began <= used <= now()


async def test_use_does_not_count_as_a_change(database: SQLAlchemyAsyncConfig) -> None:
    """A token that is revoked while its use is written down stays revoked, and nothing fails."""
    token = await add_token(database)
    async with journal_on(database) as journal:
        gate = Gate(database.create_session_maker(), journal.save, required=False)
        async with gate.working():
            await gate.admit(token, "read")
            async with database.get_session() as session:
                await session.execute(delete(ApiToken))
                await session.commit()
            await journal.save({})
    assert await last_use(database) is None


async def test_a_database_that_is_away_is_told_as_such() -> None:
    database = configure("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
    async with gate_on(database, Saved()) as gate:
        with pytest.raises(StorageUnavailable):
            await gate.admit(new_token(), "read")


async def test_two_tokens_cannot_share_a_hash(database: SQLAlchemyAsyncConfig) -> None:
    """The database itself would refuse it."""
    first, second = await add_token(database), await add_token(database)
    async with database.get_session() as session:
        change = update(ApiToken).where(ApiToken.hash == hash_of(second)).values(hash=hash_of(first))
        with pytest.raises(Exception, match=r"(?i)unique"):
            await session.execute(change)
