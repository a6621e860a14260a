"""Model servers on this machine are found; what only listens there is not mistaken for one."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from riverrun.agents.discovery import choose, find_local
from tests.model_server import ModelServer


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def test_servers_are_found_in_the_order_of_preference(silent_port: int, free_port: int) -> None:
    with ExitStack() as stack:
        first, second = (stack.enter_context(ModelServer.start("--models", names)) for names in ("a,b", "c"))

        found = await find_local([silent_port, second.port, free_port, first.port])

    assert [(server.url, server.models) for server in found] == [
        (second.url, ["c"]),
        (first.url, ["a", "b"]),
    ]


async def test_our_own_port_is_not_asked(server: ModelServer) -> None:
    assert await find_local([server.port], skip_ports=[server.port]) == []
    assert server.requests() == []


async def test_another_kind_of_server_is_no_model(silent_port: int) -> None:
    with ModelServer.start("--key", "secret") as guarded:
        async with asyncio.timeout(5):  # a silent one must not hold up the start
            assert await find_local([guarded.port, silent_port]) == []


def test_which_model_to_use() -> None:
    offered = ["nomic-embed-text:latest", "whisper-1", "llama3:latest", "qwen3"]

    assert choose(offered) == "llama3:latest"
    assert choose(offered, "qwen3") == "qwen3"
    assert choose(offered, "llama3") == "llama3:latest"
    assert choose(offered, "nomic-embed-text") == "nomic-embed-text:latest", "who asks for it gets it"
    assert choose(offered, "gpt-5") is None
    assert choose(["bge-m3"]) is None
