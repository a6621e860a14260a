"""What is asked of the revisions, by name."""

from collections.abc import Sequence
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from sqlalchemy import select

from ..persistence.tables import Revision


class Revisions(SQLAlchemyAsyncRepository[Revision]):
    model_type = Revision

    async def newest(self, project_id: UUID, limit: int, path: str | None = None) -> Sequence[Revision]:
        """The newest first."""
        query = select(Revision).where(Revision.project_id == project_id)
        if path is not None:
            query = query.where(Revision.path == path)
        return (await self.session.scalars(query.order_by(Revision.id.desc()).limit(limit))).all()
