"""The log: saved before seen, contiguous, nothing twice, nothing lost; on both databases."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import Engine, event, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from uuid_utils.compat import uuid7

from riverrun.agents.events import AgentChunk, AgentStart, Interaction, type_of
from riverrun.errors import StorageUnavailable
from riverrun.persistence.database import configure, migrate
from riverrun.persistence.statements import ADD_CONVERSATION, RUN
from riverrun.persistence.tables import EventRow, Run
from riverrun.persistence.writer import Fenced
from riverrun.runs import journal as journal_module
from riverrun.runs.journal import now
from tests.postgres import Postgres
from tests.runs.journal_kit import (
    collect,
    complete_event,
    journal_on,
    records,
    rows_of,
    start_event,
    start_run,
    text_of,
    write_text,
)

PIECES = [f"{number} " for number in range(500)]


async def test_a_follower_sees_every_event_once_and_in_order(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        following = asyncio.create_task(collect(journal, run_id))
        await write_text(journal, run_id, PIECES)
        events = await following
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert text_of(events) == "".join(PIECES)
    assert {event.run_id for event in events} == {run_id}


async def test_nothing_is_seen_before_it_is_saved(database: SQLAlchemyAsyncConfig) -> None:
    seen = 0
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        writing = asyncio.create_task(write_text(journal, run_id, PIECES))
        async with database.get_engine().connect() as connection:
            async for record in records(journal, run_id):
                row = select(EventRow.payload).where(EventRow.run_id == run_id, EventRow.seq == record.event.seq)
                assert await connection.scalar(row) == record.payload.decode()
                await connection.rollback()
                seen += 1
        await writing
    assert seen > 3


async def test_text_that_gathers_while_the_database_works_becomes_one_chunk(
    database: SQLAlchemyAsyncConfig,
) -> None:
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        await write_text(journal, run_id, PIECES)
        events = await collect(journal, run_id)
    chunks = [event for event in events if isinstance(event, AgentChunk)]
    assert 1 <= len(chunks) < len(PIECES)
    assert text_of(events) == "".join(PIECES)


async def test_chunks_of_different_turns_or_around_another_event_stay_apart(
    database: SQLAlchemyAsyncConfig,
) -> None:
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        for written in (
            AgentChunk(agent="A", turn=1, text="a"),
            AgentChunk(agent="B", turn=2, text="b"),
            AgentChunk(agent="A", turn=1, text="c", offset=1),
            Interaction(agent="A", turn=1, kind="thought", content="hm"),
            AgentChunk(agent="A", turn=1, text="d", offset=2),
        ):
            await journal.append(run_id, written)
        await journal.commit(run_id, [complete_event()], {})
        events = await collect(journal, run_id)
    told = [event.text if isinstance(event, AgentChunk) else type(event).__name__ for event in events]
    assert told == ["Start", "a", "b", "c", "Interaction", "d", "Complete"]


@pytest.mark.parametrize("place", ["start", "middle", "end", "beyond"])
async def test_a_cursor_means_the_same_before_and_after_the_end(database: SQLAlchemyAsyncConfig, place: str) -> None:
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        writing = asyncio.create_task(write_text(journal, run_id, PIECES))
        live = await collect(journal, run_id)
        await writing
        cursor = {"start": 0, "middle": len(live) // 2, "end": len(live), "beyond": len(live) + 5}[place]
        assert await collect(journal, run_id, cursor) == live[cursor:]


async def test_followers_that_join_and_leave_in_the_middle_miss_nothing(database: SQLAlchemyAsyncConfig) -> None:
    async def follow_in_two_parts(first_part: int) -> list[int]:
        seen = []
        async with aclosing(records(journal, run_id)) as first:  # type: ignore[type-var]
            async for record in first:
                seen.append(record.event.seq)
                if len(seen) == first_part:
                    break
        return seen + [event.seq for event in await collect(journal, run_id, seen[-1])]

    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        following = [asyncio.create_task(follow_in_two_parts(part)) for part in range(1, 4)]
        await write_text(journal, run_id, PIECES)
        for seen in await asyncio.gather(*following):
            assert seen == list(range(1, len(seen) + 1))


async def test_a_slow_follower_costs_bounded_memory_and_still_gets_everything(
    database: SQLAlchemyAsyncConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BACKLOG_LIMIT", 3)
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        async with aclosing(journal.follow(run_id)) as batches:
            seen = [record.event.seq for record in await anext(batches)]
            for number in range(20):  # each its own batch, while nobody reads
                await journal.commit(run_id, [Interaction(agent="A", turn=1, kind="thought", content=str(number))], {})
            (follower,) = journal._logs[run_id].followers
            assert len(follower.batches) <= 3
            await journal.commit(run_id, [complete_event()], {})
            async for batch in batches:
                seen += [record.event.seq for record in batch]
    assert seen == list(range(1, 23))


async def test_readers_that_leave_in_the_middle_cost_no_connection(
    database: SQLAlchemyAsyncConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """A server cancels what it sends to somebody who has left, again and again until it ends."""
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        for moment in range(100):
            reading = asyncio.create_task(journal.history(run_id))
            await asyncio.wait([reading], timeout=moment / 20_000)
            while not reading.done():
                reading.cancel()
                await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("sqlalchemy")] == []
    assert [task for task in asyncio.all_tasks() if "terminate" in repr(task)] == []


async def test_silence_is_told(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        journal.heartbeat = 0.01
        run_id = await start_run(journal)
        async with aclosing(journal.follow(run_id, after=1)) as batches:
            assert await anext(batches) == []


async def test_a_refused_write_takes_no_other_run_with_it(database: SQLAlchemyAsyncConfig) -> None:
    """Needs both in one transaction to mean anything: the first commit keeps the writer busy while they gather."""
    async with journal_on(database) as journal:
        conversation_id = uuid7()
        await start_run(journal)
        good, bad = uuid7(), uuid7()
        journal.open(good)
        journal.open(bad)
        broken = {statement: list(rows) for statement, rows in rows_of(bad, conversation_id).items()}
        results = await asyncio.gather(
            journal.commit(good, [start_event()], rows_of(good)),
            journal.commit(bad, [start_event()], broken),  # its conversation does not exist
            return_exceptions=True,
        )
        assert not isinstance(results[0], BaseException)
        assert isinstance(results[1], IntegrityError)
        await journal.commit(good, [complete_event()], {})
        assert [event.seq for event in await collect(journal, good)] == [1, 2]


async def test_who_has_lost_a_run_cannot_write_into_it(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as loser, journal_on(database) as winner:
        run_id = await start_run(loser)
        async with database.get_engine().begin() as connection:
            await connection.execute(update(RUN).where(RUN.c.id == run_id).values(fence=2))
        with pytest.raises(Fenced):
            await loser.commit(run_id, [complete_event("lost")], {})
        with pytest.raises(StorageUnavailable):
            await loser.append(run_id, complete_event("lost"))
        winner.open(run_id, head=1, fence=2)
        await winner.commit(run_id, [complete_event("won")], {})
        assert [type_of(event) for event in await collect(loser, run_id)] == ["start", "complete"]


async def test_what_waits_behind_a_refused_write_is_not_written_either(database: SQLAlchemyAsyncConfig) -> None:
    """Its numbers are free, so the database would take it; the process that has the run now would be in its way."""
    async with journal_on(database) as loser, journal_on(database) as winner:
        run_id = await start_run(loser)
        async with database.get_engine().begin() as connection:
            await connection.execute(update(RUN).where(RUN.c.id == run_id).values(fence=2))
        winner.open(run_id, head=1, fence=2)
        await winner.commit(run_id, [AgentStart(agent="A", turn=1)], {})
        await loser.append(run_id, AgentStart(agent="A", turn=1))
        while loser._pending:  # noqa: ASYNC110  # until the writer has taken it
            await asyncio.sleep(0)
        await loser.append(run_id, AgentChunk(agent="A", turn=1, text="late", offset=0))
        with pytest.raises((Fenced, StorageUnavailable, IntegrityError)):
            await loser.commit(run_id, [complete_event("late")], {})
        await winner.commit(run_id, [complete_event("won")], {})
        assert [type_of(event) for event in await collect(loser, run_id)] == ["start", "agent_start", "complete"]


async def test_a_refused_write_leaves_no_gap(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        results = await asyncio.gather(
            journal.commit(run_id, [AgentStart(agent="A", turn=1)], rows_of(run_id)),  # there is such a run
            journal.commit(run_id, [complete_event()], {}),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [IntegrityError, IntegrityError]
        journal.open(run_id, head=1)
        await journal.commit(run_id, [complete_event()], {})
        assert [event.seq for event in await collect(journal, run_id)] == [1, 2]


async def test_two_runs_cannot_work_in_one_conversation(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        first = await start_run(journal)
        async with database.get_engine().connect() as connection:
            conversation_id = await connection.scalar(select(Run.conversation_id).where(Run.id == first))
        second = uuid7()
        journal.open(second)
        with pytest.raises(IntegrityError):
            await journal.commit(second, [start_event()], rows_of(second, conversation_id))


async def test_what_was_appended_is_saved_when_the_journal_closes(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        await journal.append(run_id, AgentStart(agent="A", turn=1))
        await journal.append(run_id, AgentChunk(agent="A", turn=1, text="last words"))
    async with journal_on(database) as journal:
        saved = [record.event async for batch in journal.read(run_id) for record in batch]
    assert text_of(saved) == "last words"


async def test_runs_wait_for_a_database_that_is_away_for_a_while(postgres: Postgres) -> None:
    with postgres.database() as url:
        database = configure(url)
        await migrate(database)
        async with journal_on(database) as journal:
            run_id = await start_run(journal)
            await journal.append(run_id, AgentStart(agent="A", turn=1))
            following = asyncio.create_task(collect(journal, run_id))
            postgres.stop()
            for number in range(100):
                await journal.append(run_id, AgentChunk(agent="A", turn=1, text=f"{number} ", offset=0))
            postgres.start()
            await journal.commit(run_id, [complete_event()], {})
            events = await following
        await database.get_engine().dispose()
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert "".join(event.text for event in events if isinstance(event, AgentChunk)) == "".join(
        f"{number} " for number in range(100)
    )


async def test_a_database_that_stays_away_ends_the_run_and_keeps_what_was_shown(postgres: Postgres) -> None:
    with postgres.database() as url:
        database = configure(url)
        await migrate(database)
        async with journal_on(database, patience=0.2) as journal:
            run_id = await start_run(journal)
            await journal.append(run_id, AgentChunk(agent="A", turn=1, text="shown"))
            following = records(journal, run_id)
            shown = [(await anext(following)).event, (await anext(following)).event]
            with postgres.away():
                with pytest.raises(StorageUnavailable):
                    await journal.commit(run_id, [complete_event()], {})
                with pytest.raises(StorageUnavailable):
                    await anext(following)
                with pytest.raises(StorageUnavailable):
                    await journal.append(run_id, AgentChunk(agent="A", turn=1, text="lost"))
            saved = [record.event async for batch in journal.read(run_id) for record in batch]
            await journal.save(rows_of(uuid7()))  # and the next one is served again
        await database.get_engine().dispose()
    assert saved == shown


async def test_data_that_the_database_cannot_take_is_no_outage(postgres: Postgres) -> None:
    with postgres.database() as url:
        database = configure(url)
        await migrate(database)
        async with journal_on(database) as journal:
            run_id = await start_run(journal)
            too_long = {"id": uuid7(), "title": "x" * 300, "team": "assistant", "active_at": now()}
            saving = journal.save({ADD_CONVERSATION: [too_long]})
            results = await asyncio.gather(
                saving, journal.commit(run_id, [complete_event()], {}), return_exceptions=True
            )
            assert isinstance(results[0], SQLAlchemyError)
            assert not isinstance(results[1], BaseException)
        await database.get_engine().dispose()


async def test_something_new_is_refused_at_once_while_runs_wait_for_the_database(postgres: Postgres) -> None:
    with postgres.database() as url:
        database = configure(url)
        await migrate(database)
        async with journal_on(database) as journal:
            run_id = await start_run(journal)
            with postgres.away():
                writing = asyncio.create_task(journal.commit(run_id, [complete_event()], {}))
                await wait_until(lambda: journal._writer.failing)
                with pytest.raises(StorageUnavailable):
                    await journal.save(rows_of(uuid7()))
            await writing
            journal.check()
        await database.get_engine().dispose()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the writer tells nobody
            await asyncio.sleep(0.01)


async def test_memory_is_bounded_while_the_database_is_away(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "PENDING_LIMIT", 1000)
    with postgres.database() as url:
        database = configure(url)
        await migrate(database)
        async with journal_on(database) as journal:
            run_id = await start_run(journal)
            postgres.stop()
            appended = 0

            async def write() -> None:
                nonlocal appended
                for _ in range(100):
                    await journal.append(run_id, AgentChunk(agent="A", turn=1, text="x" * 100, offset=appended))
                    appended += 100
                await journal.commit(run_id, [complete_event()], {})

            writing = asyncio.create_task(write())
            await asyncio.wait([writing], timeout=0.5)
            assert 1000 <= appended <= 2300  # what is being committed, and what waits behind it
            postgres.start()
            await writing
            assert len(text_of(await collect(journal, run_id))) == 10_000
        await database.get_engine().dispose()


async def test_a_full_disk_holds_the_run_until_there_is_room(tmp_path: Path) -> None:
    """SQLite's own limit on pages gives the same error as a disk without room."""
    database = configure(f"sqlite+aiosqlite:///{tmp_path / 'riverrun.db'}")
    await migrate(database)
    full = True

    def limit_size(connection: Any, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 8 if full else 1_000_000}").close()

    event.listen(Engine, "connect", limit_size)
    try:
        async with journal_on(database) as journal:
            run_id = await start_run(journal)
            writing = asyncio.create_task(write_text(journal, run_id, ["x" * 200_000]))
            await asyncio.wait([writing], timeout=0.5)
            assert not writing.done()
            full = False
            await writing
            assert text_of(await collect(journal, run_id)) == "x" * 200_000
    finally:
        event.remove(Engine, "connect", limit_size)
        await database.get_engine().dispose()
