"""Passages that fit a query: by their words, by their meaning where there are embeddings, and both ranks as one."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from uuid import UUID

import numpy as np
from sqlalchemy import Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

CANDIDATES = 50  # of each rank
RANKED = 2_000  # passages that PostgreSQL looks at more closely
FLATTENING = 60  # k of reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009
MOST_WORDS = 32  # of a query

# What nearly every passage has; PostgreSQL's dictionary leaves such words out by itself.
STOP = re.compile(
    "a|about|an|and|are|as|at|be|been|but|by|can|could|did|do|does|for|from|had|has|have|he|her|his|how|i|if|in|into|is"
    "|it|its|me|my|not|of|on|or|our|she|should|so|than|that|the|their|them|then|there|these|they|this|those|to|was|we"
    "|were|what|when|where|which|who|why|will|with|would|you|your"
)

# A word in the headings counts four times one in the text. CROSS JOIN: SQLite would like to look each of a project's
# passages up in the index, which takes seconds.
BY_WORDS_SQLITE = text(
    """SELECT passage.id FROM passage_index CROSS JOIN passage ON passage.id = passage_index.rowid
    WHERE passage_index MATCH :words AND passage.project_id = :project
    ORDER BY bm25(passage_index, 4.0, 1.0) LIMIT :most"""
)
# PostgreSQL ranks without regard to how rare a word is, so that is counted here, word by word. To rank is slow, so only
# those passages are ranked that have the rarest words.
BY_WORDS_POSTGRESQL = text(
    """SELECT id FROM passage JOIN (
        SELECT id, sum(rarity) AS rarity FROM unnest(:words) AS word CROSS JOIN LATERAL (
            SELECT id, ln(1 + (SELECT count(*) FROM passage WHERE project_id = :project)::float
                / count(*) OVER ()) AS rarity
            FROM passage WHERE words @@ to_tsquery('english', word) AND project_id = :project) AS found
        GROUP BY id ORDER BY 2 DESC, id LIMIT :ranked) AS fitting USING (id)
    ORDER BY rarity * ts_rank('{0.25, 0.25, 0.25, 1}', words, to_tsquery('english', :any_word), 1) DESC, id
    LIMIT :most"""
).bindparams(bindparam("words", type_=ARRAY(Text)))


async def by_words(session: AsyncSession, project_id: UUID, query: str) -> list[int]:
    """Ids, best first. Any text is a query: of its words, those that are rare in the passages count most."""
    words = words_of(query)
    if not words:
        return []
    values: dict[str, object] = {"project": project_id, "most": CANDIDATES}
    if session.get_bind().dialect.name == "sqlite":
        values |= {"project": project_id.bytes, "words": " OR ".join(f'"{word}"' for word in words)}
        return list(await session.scalars(BY_WORDS_SQLITE, values))
    quoted = [f"'{word}'" for word in words]
    values |= {"words": quoted, "any_word": " | ".join(quoted), "ranked": RANKED}
    return list(await session.scalars(BY_WORDS_POSTGRESQL, values))


def words_of(query: str) -> list[str]:
    """Letters and digits, with the marks that many scripts write their vowels as; nothing that has a meaning in SQL."""
    spaced = "".join(sign if sign.isalnum() or unicodedata.category(sign)[0] == "M" else " " for sign in query.lower())
    words = (word for word in spaced.split() if not STOP.fullmatch(word))
    return list(dict.fromkeys(words))[:MOST_WORDS]


class Vectors:
    """The embeddings of passages, as rows of unit length."""

    def __init__(self, ids: Sequence[int], embeddings: Sequence[bytes]) -> None:
        width = len(embeddings[-1]) if embeddings else 0
        fitting = [number for number, embedding in enumerate(embeddings) if len(embedding) == width]
        self._ids = np.array([ids[number] for number in fitting], dtype=np.int64)
        self._rows = np.frombuffer(b"".join(embeddings[number] for number in fitting), dtype=np.float32)
        self._rows = self._rows.reshape(len(fitting), width // 4)

    @property
    def size(self) -> int:
        """In bytes."""
        return self._rows.nbytes

    def nearest(self, embedding: bytes) -> list[int]:
        """Ids by cosine, nearest first, as long as there is any likeness; none for an embedding of another length."""
        wanted = np.frombuffer(embedding, dtype=np.float32)
        if not len(self._ids) or wanted.shape[0] != self._rows.shape[1]:
            return []
        # Not `@`: that wakes a thread for each processor, which takes far longer than this when they are busy.
        likeness = np.einsum("ij,j->i", self._rows, wanted)
        count = min(CANDIDATES, len(likeness))
        best = np.argpartition(-likeness, count - 1)[:count]
        ranked = best[np.argsort(-likeness[best])]
        return [int(found) for found in self._ids[ranked[likeness[ranked] > 0]]]


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
