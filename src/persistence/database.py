"""The engine of either database, and the migrations that bring it up to date."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
from advanced_alchemy.alembic.commands import AlembicCommands
from advanced_alchemy.extensions.litestar import (
    AlembicAsyncConfig,
    AsyncSessionConfig,
    EngineConfig,
    SQLAlchemyAsyncConfig,
)
from sqlalchemy import create_engine as create_blocking_engine
from sqlalchemy import event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .writer import AsyncLine, ThreadLine, Writer

MIGRATIONS = Path(__file__).with_name("migrations")
SILENCE = {"timeout": 10, "command_timeout": 30}  # seconds after which a PostgreSQL that says nothing counts as away
SQLITE_PRAGMAS = {
    "journal_mode": "WAL",  # readers do not wait for the writer
    "synchronous": "NORMAL",  # with WAL a killed process loses nothing; only a power cut may lose the last commits
    "foreign_keys": "ON",
    "busy_timeout": "5000",
    "temp_store": "MEMORY",
}


class DatabaseTaken(Exception):
    """Another process works on this database."""


def configure(url: str) -> SQLAlchemyAsyncConfig:
    """What the Litestar plugin, the command line and the journal share: one engine and its session maker."""
    return SQLAlchemyAsyncConfig(
        connection_string=url,
        create_engine_callable=create_engine,
        engine_config=EngineConfig()
        if is_sqlite(url)
        else EngineConfig(pool_size=15, max_overflow=25, pool_timeout=10, connect_args=SILENCE),
        session_config=AsyncSessionConfig(expire_on_commit=False),
        alembic_config=AlembicAsyncConfig(script_location=str(MIGRATIONS), version_table_name="alembic_version"),
        create_all=False,
    )


def is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def create_engine(url: str, **options: Any) -> AsyncEngine:
    if is_sqlite(url):
        options["connect_args"] = {"async_creator_fn": connect_to_sqlite}
    # What people said must not get into errors and logs.
    engine = create_async_engine(url, hide_parameters=True, **options)
    if is_sqlite(url):
        if database := make_url(url).database:
            Path(database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine.sync_engine, "connect", set_pragmas)
    return engine


def connect_to_sqlite(database: str, **options: Any) -> "SqliteConnection":
    connection = SqliteConnection(partial(sqlite3.connect, database, **options), iter_chunk_size=64)
    connection._thread.daemon = True
    return connection


class SqliteConnection(aiosqlite.Connection):
    """Is closed once, by its thread: whoever waits for that may be cancelled, and twice as well."""

    _stopped: asyncio.Future[Any] | None = None

    async def close(self) -> None:
        if stopped := self.stop():
            await asyncio.shield(stopped)

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopped is None:
            self._stopped = super().stop()
        return self._stopped


@contextmanager
def only_process(url: str) -> Iterator[None]:
    """Claims a SQLite database, for two processes would end each other's runs. The system lets go when one dies.

    Raises DatabaseTaken.
    """
    database = make_url(url).database if is_sqlite(url) else None
    if not database:
        yield
        return
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(f"{database}.lock", timeout=0, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as failure:
            raise DatabaseTaken(f"Another riverrun already works on {database}. Stop it first.") from failure
        yield


def create_writer(config: SQLAlchemyAsyncConfig, patience: float) -> Writer:
    engine = config.get_engine()
    if engine.dialect.name != "sqlite":
        return Writer(AsyncLine(engine), patience)
    blocking = create_blocking_engine(engine.url.set(drivername="sqlite"), hide_parameters=True)
    event.listen(blocking, "connect", set_pragmas)
    return Writer(ThreadLine(blocking), patience)


def set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
    cursor = connection.cursor()
    for name, value in SQLITE_PRAGMAS.items():
        cursor.execute(f"PRAGMA {name}={value}")
    cursor.close()


async def migrate(config: SQLAlchemyAsyncConfig) -> None:
    """Brings the database up to date. Alembic is synchronous and starts a loop of its own, so it gets a thread."""
    await asyncio.to_thread(AlembicCommands(config).upgrade)
