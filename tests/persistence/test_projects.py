"""What a project holds and where its memories come from, as both databases tell it."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig

from riverrun.persistence.repositories import Conversations, Memories, Projects, Runs
from riverrun.persistence.tables import (
    DEFAULT_PROJECT,
    Conversation,
    Document,
    Memory,
    Message,
    Project,
    Revision,
    Run,
    ToolServer,
)


@pytest.fixture
async def project_id(database: SQLAlchemyAsyncConfig) -> UUID:
    async with database.get_session() as session:
        project = Project(name="Harbour")
        session.add(project)
        await session.commit()
        return project.id


async def converse(database: SQLAlchemyAsyncConfig, project_id: UUID, status: str = "complete") -> Run:
    async with database.get_session() as session:
        conversation = Conversation(project_id=project_id, title="At the pier", active_at=datetime.now(UTC))
        session.add(conversation)
        await session.flush()
        asked = Message(conversation_id=conversation.id, role="user", content="?")
        answer = Message(conversation_id=conversation.id, role="assistant")
        session.add_all([asked, answer])
        await session.flush()
        run = Run(
            conversation_id=conversation.id,
            user_message_id=asked.id,
            message_id=answer.id,
            team="planning",
            model="m",
            status=status,
        )
        session.add(run)
        await session.commit()
        return run


async def test_a_memory_tells_the_message_that_it_comes_from(database: SQLAlchemyAsyncConfig, project_id: UUID) -> None:
    run, gone = await converse(database, project_id), await converse(database, project_id)
    async with database.get_session() as session:
        await Conversations(session=session).discard(gone.conversation_id)
        for run_id, content in ((run.id, "found"), (gone.id, "found elsewhere"), (None, "written")):
            session.add(Memory(project_id=project_id, run_id=run_id, content=content))
            await session.flush()
        session.add(Memory(project_id=DEFAULT_PROJECT, content="another project's"))
        await session.commit()
        told = await Memories(session=session).with_sources(project_id, 10)
    assert [(known.memory.content, known.conversation_id, known.title) for known in told] == [
        ("written", None, None),
        ("found elsewhere", None, None),
        ("found", run.conversation_id, "At the pier"),
    ]
    assert told[2].message_id == run.message_id


async def test_a_project_tells_how_much_it_holds(database: SQLAlchemyAsyncConfig, project_id: UUID) -> None:
    await converse(database, project_id)
    async with database.get_session() as session:
        for path, after in (("a", "1"), ("b", "1"), ("a", "2"), ("b", None)):
            session.add(Revision(project_id=project_id, path=path, change="modified", after=after))
            await session.flush()
        session.add(Revision(project_id=DEFAULT_PROJECT, path="c", change="created", after="1"))
        session.add(Document(project_id=project_id, name="d", size=1))
        session.add(Memory(project_id=project_id, content="m"))
        session.add_all([ToolServer(project_id=project_id, name=name, address="http://a") for name in ("s", "t")])
        await session.commit()
        held = await Projects(session=session).holdings(project_id)
    assert held == (1, 1, 1, 1, 2)


async def test_a_project_goes_and_comes_back_with_what_was_there(
    database: SQLAlchemyAsyncConfig, project_id: UUID
) -> None:
    gone, elsewhere = await converse(database, project_id), await converse(database, DEFAULT_PROJECT)
    running = await converse(database, project_id, status="running")
    async with database.get_session() as session:
        projects, conversations = Projects(session=session), Conversations(session=session)
        await conversations.discard(gone.conversation_id)
        await session.commit()
        await projects.discard(project_id)
        await session.commit()
        assert await projects.find(project_id) is None
        assert await conversations.find(running.conversation_id) is None
        assert await conversations.find(elsewhere.conversation_id) is not None
        assert await Runs(session=session).running_in_project(project_id) == [running.id]
        assert await projects.restore(project_id)
        await session.commit()
        assert await conversations.find(running.conversation_id) is not None
        assert await conversations.find(gone.conversation_id) is None
        assert not await projects.restore(project_id)
