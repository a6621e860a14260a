"""Agents at work side by side have a limited time, which does not count while they wait for a person."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec

from riverrun.agents.events import EPOCH, Asked, Decided, Event, Progress
from riverrun.agents.lanes import Lane, together

SHORT = 0.05  # seconds


def approval(told: Asked | Decided) -> Progress:
    return Progress(fraction=0.0, step="approval", metadata=msgspec.to_builtins(told))


async def worked(decided: asyncio.Event, *, asks: bool) -> Lane:
    """A lane whose agent waits for something that takes longer than its time, and then goes on for ever."""

    async def turn() -> AsyncGenerator[Event, None]:
        if asks:
            yield approval(Asked("1.1", 1, "post", "send", {}, EPOCH))
        await decided.wait()
        if asks:
            yield approval(Decided("1.1", 1, "post", "send", "once"))
        yield Progress(fraction=0.5, step="after")
        await asyncio.Event().wait()

    lane = Lane("Ada", 1, turn(), SHORT)
    asyncio.get_running_loop().call_later(4 * SHORT, decided.set)
    told = [event async for event in together([lane])]
    assert any(isinstance(event, Progress) and event.step == "after" for event in told) is asks
    return lane


async def test_the_time_of_an_agent_stands_still_while_it_waits_for_a_person() -> None:
    lane = await worked(asyncio.Event(), asks=True)
    assert lane.failure == "Ada took longer than 0.05 s.", "once it goes on, its time does too"


async def test_other_waiting_takes_its_time() -> None:
    lane = await worked(asyncio.Event(), asks=False)
    assert lane.failure == "Ada took longer than 0.05 s."
