"""A program that uses the JSON surface."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse

Json = dict[str, Any]


class Program:
    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def new_conversation(self, **body: str) -> str:
        answer = await self.client.post("/api/conversations", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def start(self, conversation: str, content: str) -> Json:
        answer = await self.client.post(f"/api/conversations/{conversation}/runs", json={"content": content})
        assert answer.status_code == 202, answer.text
        started: Json = answer.json()
        return started

    async def messages(self, conversation: str) -> list[Json]:
        answer = await self.client.get(f"/api/conversations/{conversation}")
        assert answer.status_code == 200, answer.text
        messages: list[Json] = answer.json()["messages"]
        return messages

    async def events(self, run: str, after: int = 0, headers: dict[str, str] | None = None) -> list[Json]:
        """All events after a cursor, until the stream ends."""
        async with self.follow(run, after, headers) as stream:
            return [event async for event in stream]

    @asynccontextmanager
    async def follow(
        self, run: str, after: int = 0, headers: dict[str, str] | None = None
    ) -> AsyncIterator[AsyncIterator[Json]]:
        path = f"/api/runs/{run}/events?after={after}"
        async with aconnect_sse(self.client, "GET", path, headers=dict(headers or {})) as source:
            assert source.response.status_code == 200, await source.response.aread()
            yield checked(source.aiter_sse())


async def checked(messages: AsyncIterator[ServerSentEvent]) -> AsyncIterator[Json]:
    """Events as objects. What SSE says of them beside the data must agree with the data."""
    async for message in messages:
        event = json.loads(message.data)
        assert message.event == event["type"]
        assert message.id == str(event["seq"])
        yield event


def types_of(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


def text_of(events: list[Json]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "agent_chunk")
