"""The migrations, on both databases."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import pytest
from advanced_alchemy.alembic.commands import AlembicCommands
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import ForeignKeyConstraint, MetaData, Table, insert, select
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

from riverrun.persistence.database import configure, migrate
from riverrun.persistence.statements import CONVERSATION, MESSAGE, RUN
from riverrun.persistence.tables import (
    DEFAULT_PROJECT,
    FIRST_ACCOUNT,
    Account,
    ApiToken,
    OwnAgent,
    OwnTeam,
    Project,
    Run,
)


def table_before(name: str, later: Collection[str], table: Table) -> Table:
    """A table as it was when it did not have these columns."""
    return Table(name, MetaData(), *(column._copy() for column in table.columns if column.name not in later))


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


async def test_what_was_said_before_projects_and_branches_is_one_branch_of_the_default_project(
    database_url: str,
) -> None:
    old_conversation = table_before("conversation", {"project_id", "leaf_id"}, CONVERSATION)
    old_message = table_before("message", {"parent_id", "status"}, MESSAGE)
    old_run = table_before(
        "run", {"owner", "leased_until", "fence", "stopping", "account_id", "attended", "tokens"}, RUN
    )
    config = configure(database_url)
    await asyncio.to_thread(AlembicCommands(config).upgrade, "0001")
    at = datetime.now(UTC)
    times = {"created_at": at, "updated_at": at}
    conversation, asked, failed, again, thanks = (uuid7() for _ in range(5))
    async with config.get_engine().begin() as connection:
        row = {"id": conversation, "title": "Old", "team": "assistant", "active_at": at, **times}
        await connection.execute(insert(old_conversation).values(row))
        for message, role in ((asked, "user"), (failed, "assistant"), (again, "assistant"), (thanks, "user")):
            said = {"id": message, "conversation_id": conversation, "role": role, "content": role, **times}
            await connection.execute(insert(old_message).values(said))
        for reply in (failed, again):
            run: dict[str, Any] = {
                "id": uuid7(),
                "conversation_id": conversation,
                "user_message_id": asked,
                "message_id": reply,
            }
            run |= {"team": "assistant", "model": "m", "status": "complete", **times}
            await connection.execute(insert(old_run).values(run))
    await migrate(config)
    async with config.get_engine().connect() as connection:
        found = await connection.execute(select(MESSAGE.c.id, MESSAGE.c.parent_id).order_by(MESSAGE.c.id))
        assert found.all() == [(asked, None), (failed, asked), (again, asked), (thanks, again)]
        shown = select(CONVERSATION.c.project_id, CONVERSATION.c.leaf_id)
        assert (await connection.execute(shown)).all() == [(DEFAULT_PROJECT, thanks)]
    await config.get_engine().dispose()


async def test_what_there_was_before_accounts_belongs_to_the_first_one(database_url: str) -> None:
    config = configure(database_url)
    await asyncio.to_thread(AlembicCommands(config).upgrade, "0005")
    at = datetime.now(UTC)
    kept: dict[Any, dict[str, Any]] = {
        Project: {"name": "Harbour", "instructions": "", "team": "assistant"},
        OwnAgent: {"name": "Ida", "role": "", "instructions": "Help.", "model": "", "tools": []},
        OwnTeam: {"name": "harbour", "title": "Harbour", "description": "", "members": []},
        ApiToken: {"name": "backup", "hash": "0" * 64, "start": "abc", "scope": "read"},
    }
    ids = {entity: uuid7() for entity in kept}
    async with config.get_engine().begin() as connection:
        for entity, values in kept.items():
            old = table_before(entity.__tablename__, {"owner_id"}, entity.__table__)
            row = {"id": ids[entity], "created_at": at, "updated_at": at, **values}
            await connection.execute(insert(old).values(row))
    await migrate(config)
    async with config.get_session() as session:
        for entity, kept_id in ids.items():
            found = await session.get_one(entity, kept_id)
            assert found.owner_id == FIRST_ACCOUNT
            assert {name: getattr(found, name) for name in kept[entity]} == kept[entity]
        assert (await session.get_one(Project, DEFAULT_PROJECT)).owner_id == FIRST_ACCOUNT
        first = await session.get_one(Account, FIRST_ACCOUNT)
        assert (first.name, first.role, first.password, first.home_id) == ("", "admin", "", DEFAULT_PROJECT)
        # Names are one's own now.
        for entity in (OwnAgent, ApiToken):
            values = kept[entity] | ({"hash": "1" * 64} if entity is ApiToken else {})
            session.add(entity(owner_id=uuid7(), **values))
        await session.commit()
        session.add(OwnAgent(owner_id=FIRST_ACCOUNT, **kept[OwnAgent]))
        with pytest.raises(IntegrityError):
            await session.commit()
    await config.get_engine().dispose()
