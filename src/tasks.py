"""Work that goes on beside other work: for as long as that, or to its own end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """While this is entered the work goes on; then it is cancelled. Raises what it failed with."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def to_the_end(work: Awaitable[T]) -> T:
    """Cancelling takes effect when the work is done, for a thread or a commit that has begun cannot be called back."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as called:
            cancelled = called
    if cancelled is not None:
        task.exception()
        raise cancelled
    return task.result()
