"""What is left of a connection when whoever uses it is cancelled."""

import asyncio

from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import event, text

SLOW = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT count(*) FROM n")


async def test_who_is_cancelled_again_while_reading_leaves_nothing_behind(database: SQLAlchemyAsyncConfig) -> None:
    """As a stream is whose client has left: in the middle of a read, and until it ends."""
    asked = asyncio.Event()
    event.listen(database.get_engine().sync_engine, "before_cursor_execute", lambda *_: asked.set())

    async def read() -> None:
        async with database.create_session_maker()() as session:
            await session.execute(SLOW)

    before = asyncio.all_tasks()
    reading = asyncio.create_task(read())
    await asked.wait()
    while not reading.done():
        await asyncio.sleep(0)
        reading.cancel()
    if left := asyncio.all_tasks() - before:
        _, left = await asyncio.wait(left, timeout=5)
    assert not left
