"""Works that go on side by side: what they tell as one stream, in the order in which it happens."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

from .events import Event

Tell = Callable[[Event], Awaitable[None]]
Told = Event | Exception | None


async def merged(works: Sequence[Callable[[Tell], Awaitable[None]]]) -> AsyncGenerator[Event, None]:
    """Until all have ended. Closing this stops them all, and so does an error in one of them."""
    told: asyncio.Queue[Told] = asyncio.Queue(maxsize=len(works) or 1)  # who is ahead waits for the journal
    tasks = [asyncio.create_task(follow(work, told)) for work in works]
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


async def follow(work: Callable[[Tell], Awaitable[None]], told: asyncio.Queue[Told]) -> None:
    try:
        await work(told.put)
        await told.put(None)
    except Exception as failure:
        await told.put(failure)
