"""What is let go in time, and what must not be."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import update
from uuid_utils.compat import uuid7

from riverrun.agents.events import AgentChunk
from riverrun.persistence.repositories import Conversations, Projects
from riverrun.persistence.tables import Conversation, Project, Run
from riverrun.runs.housekeeping import tidy
from riverrun.runs.journal import Journal, now
from riverrun.workspace.files import Files
from tests.runs.journal_kit import collect, complete_event, journal_on, start_run, text_of

MONTH = timedelta(days=30)


async def no_files(_: UUID) -> None:
    """No project was deleted here."""
    raise AssertionError


async def old_run(journal: Journal, database: SQLAlchemyAsyncConfig, age: timedelta) -> UUID:
    run_id = await start_run(journal)
    for turn, offset, text in ((1, 0, "a"), (2, 0, "x"), (1, 1, "b"), (2, 1, "y"), (1, 2, "c")):
        await journal.commit(run_id, [AgentChunk(agent="A", turn=turn, text=text, offset=offset)], {})
    await journal.commit(run_id, [complete_event("abc")], {})
    async with database.get_session() as session:
        await session.execute(update(Run).where(Run.id == run_id).values(status="complete", ended_at=now() - age))
        await session.commit()
    return run_id


async def test_the_chunks_of_an_old_run_are_merged_by_turn(database: SQLAlchemyAsyncConfig) -> None:
    sessions = database.create_session_maker()
    async with journal_on(database) as journal:
        run_id = await old_run(journal, database, timedelta(days=31))
        before = await collect(journal, run_id)
        await tidy(sessions, now(), MONTH, no_files)
        after = await collect(journal, run_id)
        merged = [(event.turn, event.seq, event.offset, event.text) for event in after if isinstance(event, AgentChunk)]
        assert merged == [(2, 5, 0, "xy"), (1, 6, 0, "abc")]
        rest = [event for event in before if not isinstance(event, AgentChunk)]
        assert [event for event in after if not isinstance(event, AgentChunk)] == rest
        await tidy(sessions, now(), MONTH, no_files)
        assert await collect(journal, run_id) == after


async def test_the_chunks_of_a_young_run_are_left_alone(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        run_id = await old_run(journal, database, timedelta(days=29))
        before = await collect(journal, run_id)
        await tidy(database.create_session_maker(), now(), MONTH, no_files)
        assert await collect(journal, run_id) == before


async def test_a_deleted_conversation_goes_for_good_after_a_day(database: SQLAlchemyAsyncConfig) -> None:
    sessions = database.create_session_maker()
    async with sessions() as session:
        rows = Conversations(session=session)
        long_gone, just_gone, kept = [
            await rows.add(Conversation(id=uuid7(), title="", team="assistant", active_at=now(), deleted_at=deleted))
            for deleted in (now() - timedelta(hours=25), now() - timedelta(hours=23), None)
        ]
        await session.commit()
    await tidy(sessions, now(), MONTH, no_files)
    async with sessions() as session:
        rows = Conversations(session=session)
        assert {row.id for row in await rows.get_many()} == {just_gone.id, kept.id}
        assert not await rows.restore(long_gone.id)
        assert await rows.restore(just_gone.id)


async def test_text_is_the_same_after_merging(database: SQLAlchemyAsyncConfig) -> None:
    async with journal_on(database) as journal:
        run_id = await start_run(journal)
        for offset, text in enumerate("river"):
            await journal.commit(run_id, [AgentChunk(agent="A", turn=1, text=text, offset=offset)], {})
        await journal.commit(run_id, [complete_event("river")], {})
        async with database.get_session() as session:
            await session.execute(update(Run).values(ended_at=now() - timedelta(days=40)))
            await session.commit()
        await tidy(database.create_session_maker(), now(), MONTH, no_files)
        assert text_of(await collect(journal, run_id)) == "river"


async def test_a_deleted_project_goes_for_good_after_a_day_with_its_files(
    database: SQLAlchemyAsyncConfig, tmp_path: Path
) -> None:
    sessions = database.create_session_maker()
    folder = tmp_path / "projects"
    files = Files(folder, sessions)
    projects = [
        Project(id=uuid7(), name=name, deleted_at=deleted)
        for name, deleted in (("long gone", now() - timedelta(hours=25)), ("just gone", now() - timedelta(hours=23)))
    ]
    async with sessions() as session:
        session.add_all(projects)
        await session.commit()
    for project in projects:
        await files.of(project.id).save("a.txt", "x")
    await tidy(sessions, now(), MONTH, files.discard)
    async with sessions() as session:
        left = [project.name for project in await Projects(session=session).get_many() if project.deleted_at]
    assert left == ["just gone"]
    assert [one.name for one in folder.iterdir()] == [str(projects[1].id)]
    assert (await files.of(projects[1].id).show("a.txt")).text == "x"
