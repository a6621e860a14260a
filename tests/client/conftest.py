"""One riverrun for all tests that do not stop it, and a client of it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from riverrun.client import Client
from tests.model_server import ModelServer
from tests.server import Server


@pytest.fixture(scope="session")
def server(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("riverrun"), RIVERRUN_MODEL_URL=model.url).start() as running:
        yield running


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client(server.url) as client:
        yield client
