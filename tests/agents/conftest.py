"""A scripted model server of these tests' own, and models connected to it."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from riverrun.agents.model import ModelOptions, OpenAIModel
from tests.model_server import ModelServer

Connect = Callable[..., OpenAIModel]


@pytest.fixture(scope="package")
def running_server() -> Iterator[ModelServer]:
    with ModelServer.start("--models", "text-embedding-3,scripted-model") as server:
        yield server


@pytest.fixture
def server(running_server: ModelServer) -> ModelServer:
    running_server.reset()
    return running_server


@pytest.fixture
async def connected(server: ModelServer) -> AsyncIterator[Connect]:
    """Makes a model of the scripted server, or of another, that does not linger."""
    models: list[OpenAIModel] = []

    def connect(**options: Any) -> OpenAIModel:
        quick: dict[str, Any] = {
            "url": server.url,
            "model": "scripted-model",
            "retry_delay": 0.001,
            "simulate_delay": 0,
            "simulate_thought_delay": 0,
            "simulate_code_delay": 0,
        }
        models.append(OpenAIModel(ModelOptions(**(quick | options))))
        return models[-1]

    yield connect
    for model in models:
        await model.aclose()
