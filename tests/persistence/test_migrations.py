"""The migrations, on both databases."""

from typing import Any

from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from riverrun.persistence.database import migrate
from riverrun.persistence.tables import Run


async def test_the_migrations_make_the_tables_that_the_code_names(database: SQLAlchemyAsyncConfig) -> None:
    def differences(connection: Any) -> list[Any]:
        # SQLite keeps no exact types to compare.
        options = {"compare_type": connection.dialect.name == "postgresql"}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), Run.metadata))

    async with database.get_engine().connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_migrating_again_changes_nothing(database: SQLAlchemyAsyncConfig) -> None:
    await migrate(database)
