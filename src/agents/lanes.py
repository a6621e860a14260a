"""Agents at work side by side: their events as one stream, in the order in which they happen."""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from functools import partial

from .events import AgentChunk, AgentComplete, Asked, Decided, Event, Interaction, Progress, approval_in
from .exchange import ModelError
from .merging import Tell, merged
from .past import LEFT_OUT


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
        self._asked: set[str] = set()  # calls that wait for a person
        self._left = 0.0  # seconds that it had when it began to wait

    def see(self, event: Event) -> None:
        match event:
            case AgentChunk():
                self.content += event.text
            case AgentComplete():
                self.content = event.content
            case Progress():
                match approval_in(event):
                    case Asked(call_id=call_id):
                        self._asked.add(call_id)
                    case Decided(call_id=call_id):
                        self._asked.discard(call_id)

    def adjust(self, clock: asyncio.Timeout) -> None:
        """The time in which a person is waited for is not the agent's."""
        now, until = asyncio.get_running_loop().time(), clock.when()
        if self._asked and until is not None:
            self._left = until - now
            clock.reschedule(None)
        elif not self._asked and until is None:
            clock.reschedule(now + self._left)

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


def together(lanes: Sequence[Lane]) -> AsyncGenerator[Event, None]:
    """What all of them tell. Closing this stops them all, and so does an error that is not the model's."""
    return merged([partial(follow, lane) for lane in lanes])


async def follow(lane: Lane, tell: Tell) -> None:
    reason = await pump(lane, tell)
    for event in lane.fail(reason) if reason else ():
        await tell(event)


async def pump(lane: Lane, tell: Tell) -> str:
    """Why it ended early; empty when it did not."""
    try:
        async with asyncio.timeout(lane.time_limit) as clock, aclosing(lane.events) as events:
            async for event in events:
                lane.see(event)
                lane.adjust(clock)
                await tell(event)
    except TimeoutError:
        return f"{lane.agent} took longer than {lane.time_limit:g} s."
    except ModelError as failure:
        return failure.message
    return ""
