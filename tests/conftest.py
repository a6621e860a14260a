"""The model, and both databases as the tests see them: migrated, empty, and a test's own."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig

from riverrun.persistence.database import configure, migrate
from tests.model_server import ModelServer
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    """The scripted model that all tests share: scripts are told apart by what the person writes."""
    with ModelServer.start() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'riverrun.db'}"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[SQLAlchemyAsyncConfig]:
    config = configure(database_url)
    await migrate(config)
    yield config
    await config.get_engine().dispose()
