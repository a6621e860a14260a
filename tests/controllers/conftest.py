"""One riverrun for all tests that do not stop it."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.controllers.api_kit import Program
from tests.model_server import ModelServer
from tests.server import Server


@pytest.fixture(scope="session")
def server(model: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("riverrun")
    settings = {"RIVERRUN_MODEL_URL": model.url, "RIVERRUN_MESSAGE_LIMIT": "5000", "RIVERRUN_HEARTBEAT": "0.2"}
    settings["RIVERRUN_ALLOWED_ORIGINS"] = "https://chat.example.org/, https://other.example.org"
    settings["RIVERRUN_HOSTS"] = "chat.example.org, *.Lan.example.org"
    settings |= {"RIVERRUN_TRUSTED_PROXIES": "127.0.0.2", "RIVERRUN_HSTS": "600"}
    with Server(folder, **settings).start() as running:
        yield running


@pytest.fixture
async def program(server: Server) -> AsyncIterator[Program]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Program(client)
