"""For those who keep it running."""

from litestar import get
from litestar.di import NamedDependency
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from ..runs.runner import Runner
from .limits import UNCOUNTED


class Health(Struct):
    """`model` is the one that is asked, `runs` how many are at work."""

    status: str
    model: str
    runs: int


@get("/health", tags=("operation",), opt={"exclude_from_compression": True, "public": True, **UNCOUNTED})
async def check_health(db_session: NamedDependency[AsyncSession], runner: NamedDependency[Runner]) -> Health:
    """Tells whether riverrun works. 200 when the database answers, 503 otherwise."""
    await db_session.execute(text("SELECT 1"))
    return Health("ok", runner.model.name, runner.working_count)
