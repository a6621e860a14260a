"""Runs as they are saved, for whoever looks at them for the first time or comes back."""

from uuid import UUID

from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import delete

from riverrun.agents.events import AgentChunk, AgentComplete, AgentStart, Event, Interaction
from riverrun.persistence.repositories import Runs
from riverrun.persistence.statements import FINISH_RUN
from riverrun.persistence.tables import EventRow, Run
from riverrun.runs.history import view_of
from riverrun.runs.journal import Journal, now
from riverrun.runs.view import fold
from tests.runs.journal_kit import collect, complete_event, journal_on, start_run


async def row_of(database: SQLAlchemyAsyncConfig, run_id: UUID) -> Run:
    async with database.create_session_maker()() as session:
        return await Runs(session=session).get_one(id=run_id)


async def write(journal: Journal, run_id: UUID, *pieces: str) -> None:
    for piece in pieces:
        await journal.commit(run_id, [AgentChunk(agent="A", turn=1, text=piece)], {})


async def begin(journal: Journal, database: SQLAlchemyAsyncConfig) -> Run:
    """A run in which an agent has begun."""
    run_id = await start_run(journal)
    await journal.commit(run_id, [AgentStart(agent="A", turn=1)], {})
    return await row_of(database, run_id)


async def lose_log(database: SQLAlchemyAsyncConfig, run_id: UUID) -> None:
    """What is not there cannot be read."""
    async with database.create_session_maker()() as session:
        await session.execute(delete(EventRow).where(EventRow.run_id == run_id))
        await session.commit()


async def test_a_run_of_this_process_is_known_without_its_log(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        run = await begin(journal, database)
        await write(journal, run.id, "One ", "two")
        await lose_log(database, run.id)
        view = await view_of(run, journal)
        assert (view.content, view.seq, view.running) == ("One two", 4, True)


async def test_who_comes_back_to_a_run_of_another_process_reads_only_what_is_new(
    database: SQLAlchemyAsyncConfig,
) -> None:
    async with journal_on(database) as journal, journal_on(database) as other:
        run = await begin(other, database)
        await write(other, run.id, "One ", "two ")
        assert (await view_of(run, journal)).content == "One two "
        await lose_log(database, run.id)
        await write(other, run.id, "three")
        view = await view_of(run, journal)
        assert (view.content, view.seq, view.running) == ("One two three", 5, True)


async def test_a_run_that_another_process_went_on_with_is_known_as_it_is_saved(database: SQLAlchemyAsyncConfig) -> None:
    """What this process knows of it ends before what the other one wrote, and it is given back with that in it."""
    async with journal_on(database) as journal, journal_on(database) as other:
        run = await begin(journal, database)
        await write(journal, run.id, "One ")
        other.open(run.id, head=3)
        await write(other, run.id, "two ")
        journal.open(run.id, head=4)
        await write(journal, run.id, "three")
        view = await view_of(run, journal)
        assert (view.content, view.seq, view.running) == ("One two three", 5, True)


async def test_who_goes_on_with_a_view_changes_it_for_nobody_else(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        run = await begin(journal, database)
        await write(journal, run.id, "Ours")
        for _ in range(3):
            view = await view_of(run, journal)
            assert (view.content, view.seq, list(view.turns), len(view.activity)) == ("Ours", 3, [1], 2)
            assert not view.turns[1].steps
            assert not view.turns[1].calls
            for event in (
                AgentChunk(seq=4, agent="A", turn=1, text=", mine"),
                Interaction(seq=5, agent="A", turn=1, kind="tool_call", tool_name="look", call_id="1"),
                AgentStart(seq=6, agent="B", turn=2),
            ):
                view.apply(event)


async def test_a_run_is_seen_to_its_end(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        before = await row_of(database, run_id)
        await journal.commit(run_id, [AgentStart(agent="A", turn=1)], {})
        await write(journal, run_id, "To ", "the ")
        await view_of(before, journal)
        await write(journal, run_id, "end")
        last: list[Event] = [AgentComplete(agent="A", turn=1, content="To the end", duration_ms=1)]
        last.append(complete_event("To the end"))
        end = {"run": run_id, "new_status": "complete", "now": now(), "used": 0}
        await journal.commit(run_id, last, {FINISH_RUN: [end]})
        whole = fold(run_id, before.message_id, await collect(journal, run_id))
        assert await view_of(before, journal) == whole, "for one who asked when it was at work"
        assert await view_of(await row_of(database, run_id), journal) == whole
