"""What is saved already, sealed at every start with the key of the day."""

import logging

from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import Table, bindparam, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from .keyring import Keyring
from .tables import ToolServer

log = logging.getLogger(__name__)

TOOL_SERVER: Table = ToolServer.__table__  # type: ignore[assignment]


async def seal_all(config: SQLAlchemyAsyncConfig, keyring: Keyring) -> None:
    """Seals what was saved before there were keys, or with a key that is no longer the first, and erases what was."""
    engine = config.get_engine()
    async with engine.begin() as connection:
        changed, closed = await seal_addresses(connection, keyring)
    if changed:
        await erase(engine)
    if closed:
        log.warning(
            "%s of the saved secrets were encrypted with a key that is not here: tool servers that need them do not "
            "work. Add the key to RIVERRUN_SECRET_KEY, or to secret.key in the data folder.",
            closed,
        )


async def seal_addresses(connection: AsyncConnection, keyring: Keyring) -> tuple[int, int]:
    """How many were sealed, and how many cannot be opened."""
    # Another process that starts at the same time waits here, and then finds nothing left to do.
    query = select(TOOL_SERVER.c.id, TOOL_SERVER.c.address).with_for_update()
    rows = (await connection.execute(query)).all()
    changes = [
        {"row": row.id, "sealed": sealed} for row in rows if (sealed := keyring.sealed_anew(row.address)) is not None
    ]
    if changes:
        change = update(TOOL_SERVER).where(TOOL_SERVER.c.id == bindparam("row"))
        await connection.execute(change.values(address=bindparam("sealed")), changes)
    changed = {change["row"] for change in changes}
    closed = [row for row in rows if row.id not in changed and keyring.open(row.address) is None]
    return len(changes), len(closed)


async def erase(engine: AsyncEngine) -> None:
    """Both databases keep what was overwritten until the space is needed. Writes anew what is in use, and only that."""
    statements = (
        ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"]
        if engine.dialect.name == "sqlite"
        else [f"VACUUM FULL {TOOL_SERVER.name}"]
    )
    try:
        async with engine.connect() as connection:
            alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
            for statement in statements:
                await alone.execute(text(statement))
    except SQLAlchemyError as failure:
        log.warning("Secrets are encrypted now, but traces of them may be left in the database: %s", failure)
