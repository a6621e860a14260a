"""The documents of all projects: read in the background, searched by agents, opened by people."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from uuid import UUID

from msgspec import Struct
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError
from uuid_utils.compat import uuid7

from ..agents import context
from ..persistence.tables import Document, Passage
from .extract import SIZE_LIMIT, UNPRINTABLE, DocumentError, extract
from .meaning import AGAIN, Embedder, EmbeddingError, Meaning
from .passages import Piece
from .repositories import Documents, Passages, Sessions, batches
from .search import by_words, fuse

__all__ = ["Embedder", "EmbeddingError", "Found", "Library", "Listed", "Shelf"]

log = logging.getLogger(__name__)

MOST_DOCUMENTS = 1_000  # of a project
MOST_PASSAGES = 100_000  # of a project: beyond that, comparing them one by one takes too long
READERS = 2  # documents that are read at the same time
MOST_WAITING = 200_000_000  # bytes of documents that wait for that, in memory
BATCH = 32  # passages that are saved or removed at once: SQLite lets nobody else write meanwhile, and replies are
INTERRUPTED = "The server was stopped while it was read. Add it again."


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


@dataclass
class Reading:
    task: asyncio.Task[None]
    size: int
    fraction: float = 0.0


class Library:
    """`embedder`: None where there can be none; then passages are found by their words alone."""

    def __init__(self, sessions: Sessions, embedder: Embedder | None = None) -> None:
        self.sessions = sessions
        self.embedder = embedder
        self.meaning = Meaning(sessions)
        self.readings: dict[UUID, Reading] = {}
        self._readers = asyncio.Semaphore(READERS)
        self._added = asyncio.Event()

    def of(self, project_id: UUID) -> "Shelf":
        return Shelf(self, project_id)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """What a killed process was reading is marked as not read; what is being read when this is left, too."""
        await self._interrupt()
        embedding = asyncio.create_task(self._embed_for_ever(), name="embed documents")
        try:
            yield
        finally:
            tasks = [embedding, *(reading.task for reading in self.readings.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(SQLAlchemyError, OSError):
                await self._interrupt()

    async def _interrupt(self) -> None:
        async with self.sessions() as session:
            interrupted = await Documents(session=session).being_read()
        for document_id in interrupted:
            await self.discard(document_id, INTERRUPTED)

    async def _embed_for_ever(self) -> None:
        while True:
            self._added.clear()
            await self.embed()
            with suppress(TimeoutError):
                async with asyncio.timeout(AGAIN):
                    await self._added.wait()

    async def embed(self) -> None:
        """Embeds what has no embeddings of the present model, as far as the model's server lets us."""
        if self.embedder:
            await self.meaning.embed(self.embedder)

    def read(self, document: Document, content: bytes) -> None:
        task = asyncio.create_task(self._read(document, content), name=f"read {document.id}")
        self.readings[document.id] = Reading(task, len(content))
        task.add_done_callback(lambda _: self.readings.pop(document.id, None))

    def has_room_for(self, content: bytes) -> bool:
        return sum(reading.size for reading in self.readings.values()) + len(content) <= MOST_WAITING

    async def stop_reading(self, document_id: UUID) -> None:
        if reading := self.readings.get(document_id):
            reading.task.cancel()
            await asyncio.gather(reading.task, return_exceptions=True)

    async def _read(self, document: Document, content: bytes) -> None:
        try:
            async with self._readers:
                await self._store(document, await extract(document.name, content))
        except DocumentError as refusal:
            await self._give_up(document, refusal.message)
        except Exception:
            log.exception("Document %s cannot be read", document.id)
            await self._give_up(document, "It could not be saved. Try again in a moment.")
        self._added.set()

    async def _store(self, document: Document, pieces: Sequence[Piece]) -> None:
        """In short transactions; nothing of a document is found before all of it is saved."""
        async with self.sessions() as session:
            _, passages = await Documents(session=session).count_in(document.project_id)
        if passages + len(pieces) > MOST_PASSAGES:
            raise DocumentError(f"It has {len(pieces):,} passages, and a project holds {MOST_PASSAGES:,} of them.")
        owner = {"project_id": document.project_id, "document_id": document.id}
        for start, batch in batches(pieces, BATCH):
            rows = [
                {**owner, "number": number, "heading": piece.heading, "text": piece.text}
                for number, piece in enumerate(batch, start + 1)
            ]
            async with self.sessions() as session:
                await session.execute(insert(Passage), rows)
                await session.commit()
            self.readings[document.id].fraction = 0.3 + 0.7 * (start + len(batch)) / len(pieces)
        async with self.sessions() as session:
            await Documents(session=session).finish(document.id, len(pieces))
            await session.commit()

    async def _give_up(self, document: Document, reason: str) -> None:
        with suppress(SQLAlchemyError, OSError):
            await self.discard(document.id, reason)

    async def discard(self, document_id: UUID, reason: str) -> None:
        """Takes all passages away, a few at a time as they came."""
        async with self.sessions() as session:
            await Documents(session=session).fail(document_id, reason)
            await session.commit()
        removed = True
        while removed:
            async with self.sessions() as session:
                removed = await Passages(session=session).remove_some(document_id, BATCH)
                await session.commit()


class Shelf:
    """The documents of one project. Satisfies `agents.context.Knowledge`."""

    def __init__(self, library: Library, project_id: UUID) -> None:
        self.library = library
        self._sessions = library.sessions
        self._project_id = project_id

    # Searching

    async def search(self, query: str, limit: int = 6) -> Sequence[context.Passage]:
        near = await self._by_meaning(query)
        async with self._sessions() as session:
            ranked = fuse(await by_words(session, self._project_id, query), near)
            found = await Passages(session=session).named(ranked) if ranked else {}
        return [self._told(*found[place]) for place in ranked if place in found][:limit]

    async def _by_meaning(self, query: str) -> Sequence[int]:
        embedder = self.library.embedder
        if embedder is None or not query.strip():
            return []
        return await self.library.meaning.nearest(embedder, self._project_id, query)

    def _told(self, passage: Passage, name: str) -> context.Passage:
        address = f"/p/{self._project_id}/passages/{passage.id}"
        return context.Passage(passage.id, name, passage.heading, passage.text, address)

    # Adding, looking and removing

    async def add(self, name: str, content: bytes) -> Document:
        """The document is there at once, and is read in the background. Raises DocumentError."""
        name = " ".join(UNPRINTABLE.sub("", name).replace("\\", "/").rsplit("/", 1)[-1].split())[:255] or "Document"
        if len(content) > SIZE_LIMIT:
            raise DocumentError(f"{name} is larger than {SIZE_LIMIT // 1_000_000} MB, which is too large.")
        if not self.library.has_room_for(content):
            raise DocumentError(f"Other documents are waiting to be read. Add {name} in a moment.")
        async with self._sessions() as session:
            documents = Documents(session=session)
            if (await documents.count_in(self._project_id))[0] >= MOST_DOCUMENTS:
                raise DocumentError(f"The project has {MOST_DOCUMENTS:,} documents already, and may have no more.")
            document = await documents.add(
                Document(id=uuid7(), project_id=self._project_id, name=name, size=len(content))
            )
            await session.commit()
        self.library.read(document, content)
        return document

    async def documents(self) -> Sequence[Listed]:
        """The newest first."""
        async with self._sessions() as session:
            return [self._listed(row) for row in await Documents(session=session).of_project(self._project_id)]

    def _listed(self, document: Document) -> Listed:
        reading = self.library.readings.get(document.id)
        return Listed(
            document.id,
            document.name,
            document.size,
            document.status,
            document.reason,
            document.passages,
            document.embedded_by,
            reading.fraction if reading else None,
        )

    async def document(self, id: UUID) -> Document | None:
        async with self._sessions() as session:
            return await Documents(session=session).get_one_or_none(id=id, project_id=self._project_id)

    async def passages(self, document_id: UUID) -> Sequence[Passage]:
        async with self._sessions() as session:
            return await Passages(session=session).of_document(self._project_id, document_id)

    async def passage(self, id: int) -> Found | None:
        async with self._sessions() as session:
            passages = Passages(session=session)
            passage = await passages.get_one_or_none(id=id, project_id=self._project_id)
            if passage is None:
                return None
            document = await Documents(session=session).get(passage.document_id)
            around = await passages.with_neighbours(passage)
        return Found(document, passage, around.get(-1), around.get(1))

    async def clear(self) -> None:
        for document in await self.documents():
            await self.remove(document.id)

    async def remove(self, id: UUID) -> bool:
        """With all its passages. False: there is no such document in this project."""
        if await self.document(id) is None:
            return False
        await self.library.stop_reading(id)
        await self.library.discard(id, "It is being removed.")
        async with self._sessions() as session:
            await Documents(session=session).delete(id)
            await session.commit()
        return True
