"""The model, and both databases as the tests see them: migrated, empty, and a test's own."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig

from riverrun.persistence.database import configure, migrate
from tests.model_server import ModelServer
from tests.postgres import Postgres, postgres, run_apart

__all__ = ["postgres"]

# A change is judged by the same inputs wherever it is tested.
hypothesis.settings.register_profile("tests", derandomize=True, deadline=None)
hypothesis.settings.load_profile("tests")
# For a night: `make fuzz`. Every test of any input tries as many as this, and none is too slow.
hypothesis.settings.register_profile(
    "fuzz", max_examples=20_000, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, for which nobody has to wait at the end."""
    items.sort(key=lambda item: "test_torture" not in item.nodeid)


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    """The scripted model that all tests share: scripts are told apart by what the person writes."""
    with ModelServer.start() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty database; of one with its tables where the test has `database` too."""
    migrated = "database" in request.fixturenames
    if request.param == "sqlite":
        path = tmp_path / "riverrun.db"
        if migrated:
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield sqlite_url(path)
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.database(request.getfixturevalue("postgres_template") if migrated else None) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[SQLAlchemyAsyncConfig]:
    config = configure(database_url)
    yield config
    await config.get_engine().dispose()


# The migrations take longer than most tests: they run once for each kind of database, and every test gets a copy.


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "riverrun.db"
    run_apart(make_tables(sqlite_url(path)))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as url:
        run_apart(make_tables(url))
        yield url


async def make_tables(url: str) -> None:
    """Leaves no connection, for PostgreSQL copies only what nobody uses, and SQLite then leaves all in one file."""
    config = configure(url)
    await migrate(config)
    await config.get_engine().dispose()


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"
