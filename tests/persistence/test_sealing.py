"""What stands in the database where secrets are saved, byte for byte."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from cryptography.fernet import Fernet
from sqlalchemy import make_url, select, text

from riverrun.persistence.database import configure
from riverrun.persistence.keyring import Keyring, Sealed
from riverrun.persistence.sealing import seal_all
from riverrun.persistence.tables import DEFAULT_PROJECT, ToolServer

SECRET = "0pen-sesame"
ADDRESS = f"https://{SECRET}@tools.example.org/mcp"
OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


async def add(database: SQLAlchemyAsyncConfig, *addresses: str) -> None:
    async with database.get_session() as session:
        session.add_all(
            ToolServer(project_id=DEFAULT_PROJECT, name=f"n{number}", address=address)
            for number, address in enumerate(addresses)
        )
        await session.commit()


async def remove(database: SQLAlchemyAsyncConfig, name: str) -> None:
    async with database.get_session() as session:
        await session.delete((await session.scalars(select(ToolServer).where(ToolServer.name == name))).one())
        await session.commit()


async def saved(database: SQLAlchemyAsyncConfig) -> list[Sealed]:
    async with database.get_session() as session:
        return list(await session.scalars(select(ToolServer.address).order_by(ToolServer.name)))


async def bytes_of(database: SQLAlchemyAsyncConfig) -> bytes:
    """All that lies on the disk: SQLite's files, the log of what is to be written among them, or PostgreSQL's table."""
    url = make_url(str(database.connection_string))
    if url.get_backend_name() == "sqlite":
        assert url.database is not None
        file = Path(url.database)
        return b"".join(path.read_bytes() for path in sorted(file.parent.glob(f"{file.name}*")))
    async with database.get_engine().connect() as connection:
        alone = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await alone.execute(text("CHECKPOINT"))
        content = await alone.scalar(text("SELECT pg_read_binary_file(pg_relation_filepath('tool_server'))"))
        assert isinstance(content, bytes)
        return content


@pytest.fixture
async def late(database: SQLAlchemyAsyncConfig) -> AsyncIterator[SQLAlchemyAsyncConfig]:
    """The same database as a process sees it that starts later."""
    config = configure(str(database.connection_string))
    yield config
    await config.get_engine().dispose()


async def test_what_was_saved_in_the_clear_is_sealed_and_leaves_no_trace(database: SQLAlchemyAsyncConfig) -> None:
    await add(database, ADDRESS, f"env KEY={SECRET} serve", f"gone {SECRET}")
    await remove(database, "n2")
    assert SECRET.encode() in await bytes_of(database), "otherwise what follows shows nothing"
    keyring = Keyring([NEW])
    await seal_all(database, keyring)
    assert SECRET.encode() not in await bytes_of(database)
    assert [keyring.open(address) for address in await saved(database)] == [ADDRESS, f"env KEY={SECRET} serve"]


async def test_what_is_sealed_before_it_is_saved_never_stands_there(database: SQLAlchemyAsyncConfig) -> None:
    sealed = Keyring([NEW]).seal(ADDRESS)
    await add(database, sealed)
    content = await bytes_of(database)
    assert sealed.encode() in content
    assert SECRET.encode() not in content


async def test_a_start_with_a_new_key_before_the_old_one_seals_everything_with_it(
    database: SQLAlchemyAsyncConfig,
) -> None:
    with_old = Keyring([OLD]).seal(ADDRESS)
    await add(database, with_old, Keyring([NEW]).seal(ADDRESS))
    await seal_all(database, Keyring([NEW, OLD]))
    assert [Keyring([NEW]).open(address) for address in await saved(database)] == [ADDRESS, ADDRESS]
    assert with_old.encode() not in await bytes_of(database)


async def test_a_start_without_the_key_says_so_and_changes_nothing(
    database: SQLAlchemyAsyncConfig, caplog: pytest.LogCaptureFixture
) -> None:
    before = [Keyring([OLD]).seal(ADDRESS), Keyring([NEW]).seal(ADDRESS)]
    await add(database, *before)
    with caplog.at_level(logging.DEBUG):
        await seal_all(database, Keyring([NEW]))
    assert await saved(database) == before
    assert "1 of the saved secrets were encrypted with a key that is not here" in caplog.text
    assert SECRET not in caplog.text


async def test_a_start_at_the_same_time_as_another_seals_once(
    database: SQLAlchemyAsyncConfig, late: SQLAlchemyAsyncConfig
) -> None:
    await add(database, ADDRESS)
    keyring = Keyring([NEW])
    await seal_all(database, keyring)
    first = await saved(database)
    await seal_all(late, keyring)
    assert await saved(database) == first
