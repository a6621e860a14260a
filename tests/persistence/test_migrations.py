"""The migrations, on both databases."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from advanced_alchemy.alembic.commands import AlembicCommands
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import ForeignKeyConstraint, MetaData, Table, insert, select

from riverrun.persistence.database import configure, migrate
from riverrun.persistence.statements import CONVERSATION, MESSAGE
from riverrun.persistence.tables import DEFAULT_PROJECT, Run

OLD_CONVERSATION = Table(
    "conversation",
    MetaData(),
    *(column._copy() for column in CONVERSATION.columns if column.name != "project_id"),
)


async def test_the_migrations_make_the_tables_that_the_code_names(database: SQLAlchemyAsyncConfig) -> None:
    def differences(connection: Any) -> list[Any]:
        # SQLite keeps no exact types to compare, nor what the key of an added column does on delete.
        exact = connection.dialect.name == "postgresql"
        options = {"compare_type": exact, "include_object": lambda thing, *_: is_in_tables(thing, exact)}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Run.metadata))

    async with database.get_engine().connect() as connection:
        assert await connection.run_sync(differences) == []


def is_in_tables(thing: Any, exact: bool) -> bool:
    """The full-text index is the migrations' alone."""
    if isinstance(thing, ForeignKeyConstraint):
        return exact or thing.column_keys != ["project_id"]
    name = thing.name or ""
    return not name.startswith(("passage_index", "ix_passage_words")) and name != "words"


async def test_migrating_again_changes_nothing(database: SQLAlchemyAsyncConfig) -> None:
    await migrate(database)


async def test_conversations_from_before_projects_keep_their_messages_and_join_the_default_one(
    database_url: str,
) -> None:
    config = configure(database_url)
    await asyncio.to_thread(AlembicCommands(config).upgrade, "0001")
    conversation, message, at = uuid4(), uuid4(), datetime.now(UTC)
    async with config.get_engine().begin() as connection:
        times = {"created_at": at, "updated_at": at}
        row = {"id": conversation, "title": "Old", "team": "assistant", "active_at": at, **times}
        await connection.execute(insert(OLD_CONVERSATION).values(row))
        said = {"id": message, "conversation_id": conversation, "role": "user", "content": "Keep me", **times}
        await connection.execute(insert(MESSAGE).values(said))
    await migrate(config)
    async with config.get_engine().connect() as connection:
        joined = select(CONVERSATION.c.project_id, MESSAGE.c.content).join(MESSAGE)
        assert (await connection.execute(joined)).all() == [(DEFAULT_PROJECT, "Keep me")]
    await config.get_engine().dispose()
