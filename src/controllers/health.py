"""For those who keep it running."""

from litestar import get
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..runs.runner import Runner


class Health(Struct):
    status: str
    model: str
    runs: int


@get("/health", tags=("operation",), opt={"exclude_from_compression": True})
async def health(db_session: NamedDependency[AsyncSession], runner: NamedDependency[Runner]) -> Health:
    """200 when the database answers, 503 otherwise. `runs`: how many are at work."""
    await db_session.execute(text("SELECT 1"))
    return Health("ok", runner.model.name, runner.working_count)
