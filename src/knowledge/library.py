"""The documents of all projects: read in the background, searched by agents, opened by people."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol
from uuid import UUID

from advanced_alchemy.repository import SQLAlchemyAsyncRepository
from msgspec import Struct
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..agents import context
from ..persistence.tables import Document, Passage
from .extract import SIZE_LIMIT, DocumentError, extract
from .passages import Piece, passages_of
from .search import Vectors, by_words, fuse, packed

log = logging.getLogger(__name__)

BATCH = 64  # passages that are embedded, and saved, at once
MOST_DOCUMENTS = 1_000  # of a project
PATIENCE = 5.0  # seconds for which a search waits for its embedding
READERS = 2  # documents that are read at the same time
INTERRUPTED = "The server was stopped while it was read. Add it again."

Sessions = Callable[[], AsyncSession]


class EmbeddingError(Exception):
    """The model server could not embed."""


class Embedder(Protocol):
    name: str

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One embedding for each text. Raises EmbeddingError."""
        ...


class Listed(Struct, frozen=True):
    """A document as people see it; `fraction` tells how much of it has been read, while it is."""

    id: UUID
    name: str
    size: int
    status: str
    reason: str
    passages: int
    embedded_by: str
    fraction: float | None


class Found(Struct, frozen=True):
    """A passage with its neighbours in the document."""

    document: Document
    passage: Passage
    before: Passage | None
    after: Passage | None


class Documents(SQLAlchemyAsyncRepository[Document]):
    model_type = Document


class Library:
    """`embedder`: None when the model server offers no embeddings; then passages are found by their words alone."""

    def __init__(self, sessions: Sessions, embedder: Embedder | None = None) -> None:
        self.sessions = sessions
        self.embedder = embedder
        self.fractions: dict[UUID, float] = {}
        self.vectors: dict[UUID, Vectors] = {}
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._readers = asyncio.Semaphore(READERS)

    def of(self, project_id: UUID) -> "Shelf":
        return Shelf(self, project_id)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """What a killed process was reading is marked as not read; what is being read when this is left, too."""
        await self._interrupt()
        try:
            yield
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            with suppress(SQLAlchemyError, OSError):
                await self._interrupt()

    async def _interrupt(self) -> None:
        async with self.sessions() as session:
            reading = update(Document).where(Document.status == "reading")
            await session.execute(reading.values(status="failed", reason=INTERRUPTED))
            await session.commit()

    def read(self, document: Document, content: bytes) -> None:
        self.fractions[document.id] = 0.0
        task = asyncio.create_task(self._read(document, content), name=f"read {document.id}")
        self._tasks[document.id] = task
        task.add_done_callback(lambda _: (self._tasks.pop(document.id, None), self.fractions.pop(document.id, None)))

    def stop_reading(self, document_id: UUID) -> None:
        if task := self._tasks.get(document_id):
            task.cancel()

    async def _read(self, document: Document, content: bytes) -> None:
        try:
            async with self._readers:
                markdown = await extract(document.name, content)
                pieces = await asyncio.to_thread(passages_of, markdown)
                self.fractions[document.id] = 0.2
                await self._store(document, pieces)
        except DocumentError as refusal:
            await self._give_up(document, refusal.message)
        except Exception:
            log.exception("Document %s cannot be read", document.id)
            await self._give_up(document, "It could not be saved. Try again in a moment.")

    async def _store(self, document: Document, pieces: Sequence[Piece]) -> None:
        """All passages or none, so that nobody finds half a document."""
        embedder = self.embedder
        rows: list[dict[str, object]] = []
        for start, batch in batches(pieces):
            embeddings: Sequence[bytes | None] = [None] * len(batch)
            if embedder is not None:
                try:
                    told = await embedder.embed([f"{piece.heading}\n{piece.text}" for piece in batch])
                    embeddings = [packed(one) for one in told]
                except EmbeddingError as failure:
                    log.warning("No embeddings for %s: %s", document.id, failure)
                    embedder, rows = None, [row | {"embedding": None} for row in rows]
            for number, (piece, embedding) in enumerate(zip(batch, embeddings, strict=True), start + 1):
                rows.append(self._row(document, number, piece, embedding))
            self.fractions[document.id] = 0.2 + 0.7 * (start + len(batch)) / len(pieces)
        async with self.sessions() as session:
            for start in range(0, len(rows), BATCH):
                await session.execute(insert(Passage), rows[start : start + BATCH])
            done = {"status": "ready", "passages": len(rows), "embedded_by": embedder.name if embedder else ""}
            await session.execute(update(Document).where(Document.id == document.id).values(**done))
            await session.commit()
        self.vectors.pop(document.project_id, None)

    def _row(self, document: Document, number: int, piece: Piece, embedding: bytes | None) -> dict[str, object]:
        return {
            "project_id": document.project_id,
            "document_id": document.id,
            "number": number,
            "heading": piece.heading,
            "text": piece.text,
            "embedding": embedding,
        }

    async def _give_up(self, document: Document, reason: str) -> None:
        with suppress(SQLAlchemyError, OSError):
            async with self.sessions() as session:
                failed = update(Document).where(Document.id == document.id)
                await session.execute(failed.values(status="failed", reason=reason))
                await session.commit()


class Shelf:
    """The documents of one project. Satisfies `agents.context.Knowledge`."""

    def __init__(self, library: Library, project_id: UUID) -> None:
        self._library = library
        self._sessions = library.sessions
        self._project_id = project_id

    # Searching

    async def search(self, query: str, limit: int = 6) -> Sequence[context.Passage]:
        near = await self._by_meaning(query)
        async with self._sessions() as session:
            ranked = fuse(await by_words(session, self._project_id, query), near)[:limit]
            wanted = select(Passage, Document.name).join(Document, Document.id == Passage.document_id)
            rows = (await session.execute(wanted.where(Passage.id.in_(ranked)))).all() if ranked else []
        found = {passage.id: self._told(passage, name) for passage, name in rows}
        return [found[place] for place in ranked if place in found]

    def _told(self, passage: Passage, name: str) -> context.Passage:
        address = f"/p/{self._project_id}/passages/{passage.id}"
        return context.Passage(passage.id, name, passage.heading, passage.text, address)

    async def _by_meaning(self, query: str) -> Sequence[int]:
        embedder = self._library.embedder
        if embedder is None or not query.strip():
            return []
        vectors = await self._vectors(embedder.name)
        if vectors is None:
            return []
        try:
            async with asyncio.timeout(PATIENCE):
                [embedding] = await embedder.embed([query])
        except (EmbeddingError, TimeoutError, ValueError) as failure:
            log.warning("Searching by words alone: %s", failure)
            return []
        return await asyncio.to_thread(vectors.nearest, packed(embedding))

    async def _vectors(self, embedded_by: str) -> Vectors | None:
        """None when no passage has an embedding of this model."""
        known = self._library.vectors.get(self._project_id)
        if known is None:
            async with self._sessions() as session:
                query = select(Passage.id, Passage.embedding).join(Document, Document.id == Passage.document_id)
                query = query.where(Passage.project_id == self._project_id, Document.embedded_by == embedded_by)
                rows = (await session.execute(query.where(Passage.embedding.is_not(None)))).all()
            if not rows:
                return None
            known = await asyncio.to_thread(Vectors, [row.id for row in rows], [row.embedding for row in rows])
            self._library.vectors[self._project_id] = known
        return known

    # Adding, looking and removing

    async def add(self, name: str, content: bytes) -> Document:
        """The document is there at once, and is read in the background. Raises DocumentError."""
        name = " ".join(name.replace("\\", "/").rsplit("/", 1)[-1].split())[:255] or "Document"
        if len(content) > SIZE_LIMIT:
            raise DocumentError(f"{name} is larger than {SIZE_LIMIT // 1_000_000} MB, which is too large.")
        async with self._sessions() as session:
            counted = select(func.count()).select_from(Document).where(Document.project_id == self._project_id)
            if (await session.scalar(counted) or 0) >= MOST_DOCUMENTS:
                raise DocumentError(f"The project has {MOST_DOCUMENTS:,} documents already, and may have no more.")
            document = Document(id=uuid7(), project_id=self._project_id, name=name, size=len(content))
            session.add(document)
            await session.commit()
        self._library.read(document, content)
        return document

    async def documents(self) -> Sequence[Listed]:
        """The newest first."""
        async with self._sessions() as session:
            query = select(Document).where(Document.project_id == self._project_id).order_by(Document.id.desc())
            return [self._listed(document) for document in await session.scalars(query)]

    def _listed(self, document: Document) -> Listed:
        return Listed(
            document.id,
            document.name,
            document.size,
            document.status,
            document.reason,
            document.passages,
            document.embedded_by,
            self._library.fractions.get(document.id),
        )

    async def document(self, id: UUID) -> Document | None:
        async with self._sessions() as session:
            return await Documents(session=session).get_one_or_none(id=id, project_id=self._project_id)

    async def passages(self, document_id: UUID) -> Sequence[Passage]:
        async with self._sessions() as session:
            query = select(Passage).where(Passage.document_id == document_id, Passage.project_id == self._project_id)
            return (await session.scalars(query.order_by(Passage.number))).all()

    async def passage(self, id: int) -> Found | None:
        async with self._sessions() as session:
            query = select(Passage).where(Passage.id == id, Passage.project_id == self._project_id)
            passage = (await session.scalars(query)).one_or_none()
            if passage is None:
                return None
            document = await Documents(session=session).get(passage.document_id)
            beside = select(Passage).where(
                Passage.document_id == passage.document_id,
                Passage.number.in_((passage.number - 1, passage.number + 1)),
            )
            around = {other.number - passage.number: other for other in await session.scalars(beside)}
        return Found(document, passage, around.get(-1), around.get(1))

    async def remove(self, id: UUID) -> None:
        """With all its passages."""
        self._library.stop_reading(id)
        async with self._sessions() as session:
            await session.execute(delete(Document).where(Document.id == id, Document.project_id == self._project_id))
            await session.commit()
        self._library.vectors.pop(self._project_id, None)


def batches(pieces: Sequence[Piece]) -> Iterator[tuple[int, Sequence[Piece]]]:
    return ((start, pieces[start : start + BATCH]) for start in range(0, len(pieces), BATCH))
