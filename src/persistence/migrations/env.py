"""How Alembic reaches the database. Several processes may start at once: then one migrates and the others wait."""

import asyncio
from typing import Any

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.pool import NullPool

from riverrun.persistence.database import create_engine
from riverrun.persistence.tables import Conversation

LOCK = 7_230_114  # any number, as long as it stays the same

config: Any = context.config


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Conversation.metadata,
        version_table=config.version_table_name,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=False,
    )
    with context.begin_transaction():
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        context.run_migrations()


async def run_online() -> None:
    url = config.engine.url.render_as_string(hide_password=False)
    engine = create_engine(url, poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


asyncio.run(run_online())
