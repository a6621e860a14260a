"""Finds model servers on this machine, and a model that one can chat with among those a server offers."""

import asyncio
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import aiohttp
import msgspec

from .events import UNREADABLE

LOCAL_SERVERS = {"Ollama": 11434, "LM Studio": 1234, "llama.cpp": 8080, "vLLM": 8000}
PATIENCE = 0.4
"""Seconds for the whole search: what listens on loopback answers in a few milliseconds."""
OURS = "riverrun"
"""The owner of the models that another riverrun offers: its teams, which nobody wants as a model by accident."""

NOT_FOR_CHAT = re.compile(
    r"embed|rerank|bge-|whisper|transcri|tts|speech|audio|realtime|dall-e|image|sora|moderation|guard|davinci|babbage",
    re.IGNORECASE,
)


class LocalServer(NamedTuple):
    url: str
    models: list[str]


class Named(msgspec.Struct):
    id: str
    owned_by: str = ""


class ModelList(msgspec.Struct):
    """The answer to `/v1/models`."""

    data: list[Named]


async def find_local(
    candidates: Collection[int] = tuple(LOCAL_SERVERS.values()), skip_ports: Collection[int] = ()
) -> list[LocalServer]:
    """The servers that answer, in the order of the candidates. Never raises."""
    ports = [port for port in candidates if port not in skip_ports]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session:
        answers = await asyncio.gather(*(models_at(session, port) for port in ports))
    return [
        LocalServer(f"http://127.0.0.1:{port}/v1", models)
        for port, models in zip(ports, answers, strict=True)
        if models
    ]


async def models_at(session: aiohttp.ClientSession, port: int) -> list[str]:
    try:
        async with session.get(f"http://127.0.0.1:{port}/v1/models", allow_redirects=False) as response:
            return read_models(await response.read(), without=OURS) if response.status == 200 else []
    except (aiohttp.ClientError, OSError, TimeoutError):
        return []


def read_models(body: bytes, without: str | None = None) -> list[str]:
    """The models' names, without those of one owner; none when this is not a list of models."""
    try:
        return [model.id for model in msgspec.json.decode(body, type=ModelList).data if model.owned_by != without]
    except UNREADABLE:
        return []


def choose(models: Sequence[str], wanted: str = "") -> str | None:
    """The wanted model as the server calls it, or the first that looks like one to chat with."""
    if wanted:  # Ollama lets people leave out the tag
        return next((name for name in models if name in (wanted, f"{wanted}:latest")), None)
    return next((name for name in models if not NOT_FOR_CHAT.search(name)), None)
