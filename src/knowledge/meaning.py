"""Passages by what they mean: embedded in the background, compared exactly, in memory.

A document is found by its words as soon as it is read, and by its meaning once all its passages are embedded. What
cannot be embedded because the model server is away, or is embedded by another model than the present one, waits for it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from .repositories import Documents, Passages, Sessions, batches
from .search import Vectors, packed

log = logging.getLogger(__name__)

BATCH = 32  # passages that are embedded at once; some servers take no more
AGAIN = 300.0  # seconds after which what could not be embedded is tried again
PATIENCE = 10.0  # seconds for which a search waits for the model server
KEPT = 512_000_000  # bytes of embeddings that stay in memory


class EmbeddingError(Exception):
    """The model server could not embed."""


class Embedder(Protocol):
    """`name` is the model's."""

    name: str

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """One embedding for each text. Raises EmbeddingError."""
        ...


class Meaning:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._kept: OrderedDict[UUID, tuple[str, frozenset[UUID], Vectors]] = OrderedDict()  # the latest used last
        self._loading = asyncio.Lock()
        self._embedding = asyncio.Lock()
        self._at_fault: set[tuple[UUID, str]] = set()

    async def nearest(self, embedder: Embedder, project_id: UUID, query: str) -> Sequence[int]:
        """Ids of passages, nearest first; none while the model server is away."""
        vectors = await self._vectors(project_id, embedder.name)
        if not vectors.size:
            return []
        try:
            async with asyncio.timeout(PATIENCE):
                [embedding] = await embedder.embed([query])
        except (EmbeddingError, TimeoutError) as failure:
            log.warning("Searching by words alone: %s", failure or "the model's server took too long to embed")
            return []
        return await asyncio.to_thread(vectors.nearest, packed(embedding))

    async def _vectors(self, project_id: UUID, model: str) -> Vectors:
        """Those of the documents that are there now: what another process adds or removes counts as well."""
        async with self._loading, self._sessions() as session:
            documents = await Documents(session=session).embedded_by(project_id, model)
            known = self._kept.get(project_id)
            if known is None or known[:2] != (model, documents):
                ids, embeddings = await Passages(session=session).embeddings(documents)
                vectors = await asyncio.to_thread(Vectors, ids, embeddings)
                known = self._kept[project_id] = (model, documents, vectors)
            self._kept.move_to_end(project_id)
            while len(self._kept) > 1 and sum(vectors.size for *_, vectors in self._kept.values()) > KEPT:
                self._kept.popitem(last=False)
        return known[2]

    async def embed(self, embedder: Embedder) -> None:
        """All passages that have no embedding of this model."""
        async with self._embedding:
            try:
                while document := await self._next(embedder.name):
                    await self._embed_or_put_off(document, embedder)
            except (EmbeddingError, SQLAlchemyError, OSError) as failure:
                log.warning("New documents are found by their words alone for now: %s", failure)

    async def _next(self, model: str) -> UUID | None:
        put_off = [document for document, by in self._at_fault if by == model]
        async with self._sessions() as session:
            return await Documents(session=session).next_to_embed(model, put_off)

    async def _embed_or_put_off(self, document: UUID, embedder: Embedder) -> None:
        """Raises EmbeddingError when it is the server's fault and not the document's."""
        try:
            await self._embed(document, embedder)
        except EmbeddingError as failure:
            await embedder.embed(["Is it the document or the server?"])
            self._at_fault.add((document, embedder.name))
            log.warning("Document %s is found by its words alone: %s", document, failure)

    async def _embed(self, document: UUID, embedder: Embedder) -> None:
        async with self._sessions() as session:
            passages = await Passages(session=session).texts(document)
            await Documents(session=session).embedded(document, "")  # until all are from the same model
            await session.commit()
        for _, batch in batches(passages, BATCH):
            told = await embedder.embed([text for _, text in batch])
            rows = [(passage, packed(embedding)) for (passage, _), embedding in zip(batch, told, strict=True)]
            async with self._sessions() as session:
                await Passages(session=session).embed(rows)
                await session.commit()
        async with self._sessions() as session:
            await Documents(session=session).embedded(document, embedder.name)
            await session.commit()
