"""Agents at work side by side: their events as one stream, in the order in which they happen."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing

from .events import AgentChunk, AgentComplete, Event, Interaction
from .exchange import ModelError
from .past import LEFT_OUT

Message = Event | Exception | None


class Lane:
    """One agent's turn among others. A failure ends this lane alone; `failure` then says why, in a sentence."""

    def __init__(self, agent: str, turn: int, events: AsyncGenerator[Event, None], time_limit: float) -> None:
        self.agent = agent
        self.turn = turn
        self.events = events
        self.time_limit = time_limit
        self.content = ""
        self.failure: str | None = None
        self._began = asyncio.get_running_loop().time()

    def see(self, event: Event) -> None:
        match event:
            case AgentChunk():
                self.content += event.text
            case AgentComplete():
                self.content = event.content

    def fail(self, reason: str) -> Iterator[Event]:
        self.failure = reason
        yield Interaction(agent=self.agent, turn=self.turn, kind="message", content=f"{LEFT_OUT}{reason}")
        spent = asyncio.get_running_loop().time() - self._began
        yield AgentComplete(
            agent=self.agent,
            turn=self.turn,
            content=self.content,
            duration_ms=round(spent * 1000),
            finish_reason="error",
        )


async def together(lanes: Sequence[Lane]) -> AsyncGenerator[Event, None]:
    """What all of them tell. Closing this stops them all, and so does an error that is not the model's."""
    told: asyncio.Queue[Message] = asyncio.Queue(maxsize=len(lanes) or 1)  # who is ahead waits for the journal
    tasks = [asyncio.create_task(follow(lane, told), name=f"lane {lane.agent}") for lane in lanes]
    working = len(tasks)
    try:
        while working:
            match await told.get():
                case None:
                    working -= 1
                case Exception() as failure:
                    raise failure
                case event:
                    yield event
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def follow(lane: Lane, told: asyncio.Queue[Message]) -> None:
    try:
        reason = await pump(lane, told)
        for event in lane.fail(reason) if reason else ():
            await told.put(event)
        await told.put(None)
    except Exception as failure:
        await told.put(failure)


async def pump(lane: Lane, told: asyncio.Queue[Message]) -> str:
    """Why it ended early; empty when it did not."""
    try:
        async with asyncio.timeout(lane.time_limit), aclosing(lane.events) as events:
            async for event in events:
                lane.see(event)
                await told.put(event)
    except TimeoutError:
        return f"{lane.agent} took longer than {lane.time_limit:g} s."
    except ModelError as failure:
        return failure.message
    return ""
