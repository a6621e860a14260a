"""Passages that fit a query: by their words, by their meaning where there are embeddings, and both ranks as one."""

import re
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

CANDIDATES = 50  # of each rank
FLATTENING = 60  # k of reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009
MOST_WORDS = 32  # of a query

WORD = re.compile(r"\w+")
# What nearly every passage has; PostgreSQL's dictionary leaves such words out by itself.
STOP = re.compile(
    "a|about|an|and|are|as|at|be|been|but|by|can|could|did|do|does|for|from|had|has|have|he|her|his|how|i|if|in|into|is"
    "|it|its|me|my|not|of|on|or|our|she|should|so|than|that|the|their|them|then|there|these|they|this|those|to|was|we"
    "|were|what|when|where|which|who|why|will|with|would|you|your"
)

# A word in the headings counts four times one in the text.
BY_WORDS_SQLITE = text(
    """SELECT passage.id FROM passage_index JOIN passage ON passage.id = passage_index.rowid
    WHERE passage_index MATCH :query AND passage.project_id = :project
    ORDER BY bm25(passage_index, 4.0, 1.0) LIMIT :most"""
)
BY_WORDS_POSTGRESQL = text(
    """SELECT passage.id FROM passage, to_tsquery('english', :query) AS query
    WHERE words @@ query AND project_id = :project
    ORDER BY ts_rank_cd(words, query, 1) DESC, id LIMIT :most"""
)


async def by_words(session: AsyncSession, project_id: UUID, query: str) -> list[int]:
    """Ids, best first. Any text is a query: of its words, those that are rare in the passages count most."""
    words = list(dict.fromkeys(word for word in WORD.findall(query.lower()) if not STOP.fullmatch(word)))[:MOST_WORDS]
    if not words:
        return []
    if session.get_bind().dialect.name == "sqlite":
        statement, joined, project = BY_WORDS_SQLITE, " OR ".join(f'"{word}"' for word in words), project_id.bytes
        values: dict[str, object] = {"query": joined, "project": project, "most": CANDIDATES}
    else:
        statement = BY_WORDS_POSTGRESQL
        values = {"query": " | ".join(f"'{word}'" for word in words), "project": project_id, "most": CANDIDATES}
    return list((await session.scalars(statement, values)).all())


class Vectors:
    """The embeddings of a project's passages, as rows of unit length."""

    def __init__(self, ids: Sequence[int], embeddings: Sequence[bytes]) -> None:
        self._ids = np.array(ids, dtype=np.int64)
        self._rows = np.frombuffer(b"".join(embeddings), dtype=np.float32).reshape(len(ids), -1)

    def nearest(self, embedding: bytes) -> list[int]:
        """Ids by cosine, nearest first. Nothing for an embedding of another length."""
        wanted = np.frombuffer(embedding, dtype=np.float32)
        if not len(self._ids) or wanted.shape[0] != self._rows.shape[1]:
            return []
        # Not `@`: that wakes a thread for each processor, which takes far longer than this when they are busy.
        likeness = np.einsum("ij,j->i", self._rows, wanted)
        count = min(CANDIDATES, len(likeness))
        best = np.argpartition(-likeness, count - 1)[:count]
        return [int(found) for found in self._ids[best[np.argsort(-likeness[best])]]]


def packed(embedding: Sequence[float]) -> bytes:
    """As it is stored: float32 of unit length."""
    row = np.asarray(embedding, dtype=np.float32)
    length = float(np.linalg.norm(row))
    return (row / length if length else row).tobytes()


def fuse(*ranks: Sequence[int]) -> list[int]:
    """Reciprocal rank fusion: what is high in several ranks comes first."""
    scores: dict[int, float] = defaultdict(float)
    for rank in ranks:
        for place, found in enumerate(rank, 1):
            scores[found] += 1 / (FLATTENING + place)
    return sorted(scores, key=lambda found: -scores[found])
