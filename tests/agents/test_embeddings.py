"""Embeddings of an OpenAI-compatible server: aiohttp's, that says what each test wants."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from riverrun.agents.model import ModelError
from tests.agents.conftest import Connect


class Server:
    """Gives the answers in turn, the last of them from then on; `asked` are the bodies that came in."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[Any] = []
        self.app = web.Application()
        self.models: list[str] = []
        self.app.router.add_post("/v1/embeddings", self.embed)
        self.app.router.add_get("/v1/models", self.offer)

    async def embed(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(body, status=status)

    async def offer(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in self.models]})


@pytest.fixture
async def embedding() -> AsyncIterator[tuple[Server, str]]:
    server = Server()
    async with TestServer(server.app, host="127.0.0.1") as running:
        yield server, str(running.make_url("/v1"))


def embeddings(*told: tuple[int, list[float]]) -> dict[str, Any]:
    return {"object": "list", "data": [{"index": index, "embedding": embedding} for index, embedding in told]}


async def test_texts_are_embedded_in_their_order(embedding: tuple[Server, str], connected: Connect) -> None:
    server, url = embedding
    server.answers = [(200, embeddings((1, [0.5, 1.0]), (0, [1.0, 0.25])))]
    assert await connected(url=url).embed(["one", "two"], "small-embedder") == [[1.0, 0.25], [0.5, 1.0]]
    assert server.asked == [{"model": "small-embedder", "input": ["one", "two"], "encoding_format": "float"}]
    assert await connected(url=url).embed([], "small-embedder") == []
    assert len(server.asked) == 1


async def test_a_server_that_is_busy_is_asked_again(embedding: tuple[Server, str], connected: Connect) -> None:
    server, url = embedding
    server.answers = [(503, {"error": {"message": "loading"}}), (200, embeddings((0, [1.0])))]
    assert await connected(url=url).embed(["one"], "small-embedder") == [[1.0]]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (404, {"error": {"message": "model 'x' not found"}}, "unknown_model"),
        (404, "Not Found", "wrong_url"),
        (401, {"error": {"message": "no"}}, "wrong_key"),
        (500, {"error": {"message": "out of memory"}}, "server_error"),
        (200, {"data": "none"}, "malformed"),
        (200, embeddings((0, [1.0])), "malformed"),
    ],
)
async def test_a_server_that_fails_is_told(
    status: int, body: Any, code: str, embedding: tuple[Server, str], connected: Connect
) -> None:
    server, url = embedding
    server.answers = [(status, body)]
    with pytest.raises(ModelError) as told:
        await connected(url=url).embed(["one", "two"], "x")
    assert told.value.code == code
    if status == 404:
        assert "RIVERRUN_EMBEDDING_MODEL" in told.value.message


async def test_which_model_embeds(embedding: tuple[Server, str], connected: Connect) -> None:
    server, url = embedding
    server.models = ["chat", "Nomic-Embed-Text", "embed-too"]
    assert await connected(url=url).embedding_model() == "Nomic-Embed-Text"
    assert await connected(url=url).embedding_model("wanted") == "wanted"
    server.models = ["chat"]
    assert await connected(url=url).embedding_model() is None
    with pytest.raises(ModelError):
        await connected(url=url.replace("v1", "v2")).embedding_model()


async def test_an_agents_own_model_leaves_the_connection_to_the_others(
    embedding: tuple[Server, str], connected: Connect
) -> None:
    server, url = embedding
    server.answers = [(200, embeddings((0, [1.0])))]
    model = connected(url=url)
    await model.named("other").aclose()
    assert await model.embed(["one"], "small-embedder") == [[1.0]]
