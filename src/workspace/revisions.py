"""What is asked of the revisions, by name."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, select
from sqlalchemy.orm import aliased

from ..persistence.repositories import Repository
from ..persistence.tables import Revision


class Revisions(Repository[Revision]):
    model_type = Revision

    async def newest(self, project_id: UUID, limit: int, path: str | None = None) -> Sequence[Revision]:
        """The newest first."""
        query = select(Revision).where(Revision.project_id == project_id)
        if path is not None:
            query = query.where(Revision.path == path)
        return (await self.session.scalars(query.order_by(Revision.id.desc()).limit(limit))).all()

    async def of_run(self, run_id: UUID) -> Sequence[Revision]:
        return (
            await self.session.scalars(select(Revision).where(Revision.run_id == run_id).order_by(Revision.id))
        ).all()

    async def taken_back(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those whose file a person has brought back since to what it was before."""
        newest, newer = aliased(Revision), aliased(Revision)

        def same_file(one: type[Revision], other: type[Revision]) -> ColumnElement[bool]:
            return and_(one.project_id == other.project_id, one.path == other.path)

        query = (
            select(Revision.id)
            .join(newest, and_(same_file(newest, Revision), newest.id > Revision.id))
            .where(
                Revision.id.in_(ids),
                newest.run_id.is_(None),
                newest.after.is_not_distinct_from(Revision.before),
                ~exists().where(same_file(newer, newest), newer.id > newest.id),
            )
        )
        return frozenset(await self.session.scalars(query))
