"""What is asked of the database about documents and their passages, by name."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar
from uuid import UUID

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..persistence.repositories import Repository
from ..persistence.tables import Document, Passage

Sessions = Callable[[], AbstractAsyncContextManager[AsyncSession]]
T = TypeVar("T")

EMBED = (
    update(Passage.__table__)  # type: ignore[arg-type]  # the table, because the mapped class wants to find every row
    .where(Passage.__table__.c.id == bindparam("passage"))
    .values(embedding=bindparam("embedding"))
)


class Documents(Repository[Document]):
    model_type = Document

    async def of_project(self, project_id: UUID) -> Sequence[Document]:
        """The newest first."""
        query = select(Document).where(Document.project_id == project_id).order_by(Document.id.desc())
        return (await self.session.scalars(query)).all()

    async def count_in(self, project_id: UUID) -> tuple[int, int]:
        """How many documents, and how many passages."""
        query = select(func.count(), func.coalesce(func.sum(Document.passages), 0))
        documents, passages = (await self.session.execute(query.where(Document.project_id == project_id))).one()
        return documents, passages

    async def being_read(self) -> Sequence[UUID]:
        return (await self.session.scalars(select(Document.id).where(Document.status == "reading"))).all()

    async def finish(self, id: UUID, passages: int) -> None:
        await self.session.execute(update(Document).where(Document.id == id).values(status="ready", passages=passages))

    async def fail(self, id: UUID, reason: str) -> None:
        await self.session.execute(update(Document).where(Document.id == id).values(status="failed", reason=reason))

    async def next_to_embed(self, model: str, but: Collection[UUID]) -> UUID | None:
        query = select(Document.id).where(Document.status == "ready", Document.embedded_by != model)
        return await self.session.scalar(query.where(Document.id.not_in(but)).order_by(Document.id).limit(1))

    async def embedded(self, id: UUID, model: str) -> None:
        await self.session.execute(update(Document).where(Document.id == id).values(embedded_by=model))

    async def embedded_by(self, project_id: UUID, model: str) -> frozenset[UUID]:
        query = select(Document.id).where(Document.project_id == project_id, Document.status == "ready")
        return frozenset(await self.session.scalars(query.where(Document.embedded_by == model)))


class Passages(Repository[Passage]):
    model_type = Passage

    async def of_document(self, project_id: UUID, document_id: UUID) -> Sequence[Passage]:
        query = select(Passage).where(Passage.document_id == document_id, Passage.project_id == project_id)
        return (await self.session.scalars(query.order_by(Passage.number))).all()

    async def with_neighbours(self, passage: Passage) -> dict[int, Passage]:
        """By how far they are from it: -1, 0 and 1, as far as they exist."""
        near = Passage.number.between(passage.number - 1, passage.number + 1)
        rows = await self.session.scalars(select(Passage).where(Passage.document_id == passage.document_id, near))
        return {row.number - passage.number: row for row in rows}

    async def named(self, ids: Sequence[int]) -> dict[int, tuple[Passage, str]]:
        """Each with its document's name; none of a document that is still being read."""
        query = select(Passage, Document.name).join(Document, Document.id == Passage.document_id)
        rows = await self.session.execute(query.where(Passage.id.in_(ids), Document.status == "ready"))
        return {passage.id: (passage, name) for passage, name in rows}

    async def remove_some(self, document_id: UUID, limit: int) -> bool:
        """Whether there were any."""
        some = select(Passage.id).where(Passage.document_id == document_id).limit(limit)
        removed = await self.session.execute(delete(Passage).where(Passage.id.in_(some)).returning(Passage.id))
        return removed.first() is not None

    async def texts(self, document_id: UUID) -> Sequence[tuple[int, str]]:
        """Each with its headings, by id."""
        query = select(Passage.id, Passage.heading, Passage.text).where(Passage.document_id == document_id)
        rows = await self.session.execute(query.order_by(Passage.id))
        return [(row.id, f"{row.heading}\n{row.text}".strip()) for row in rows]

    async def embed(self, embeddings: Sequence[tuple[int, bytes]]) -> None:
        rows = [{"passage": passage, "embedding": embedding} for passage, embedding in embeddings]
        await self.session.execute(EMBED, rows)

    async def embeddings(self, document_ids: Collection[UUID]) -> tuple[list[int], list[bytes]]:
        """Ids and embeddings, in the same order."""
        query = select(Passage.id, Passage.embedding).where(Passage.document_id.in_(document_ids))
        rows = await self.session.execute(query.where(Passage.embedding.is_not(None)).order_by(Passage.id))
        found = [(row.id, row.embedding) for row in rows]
        return [passage for passage, _ in found], [embedding for _, embedding in found]


def batches(rows: Sequence[T], size: int) -> Iterator[tuple[int, Sequence[T]]]:
    """Each with how many came before it."""
    return ((start, rows[start : start + size]) for start in range(0, len(rows), size))
