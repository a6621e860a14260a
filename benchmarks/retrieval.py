"""How long it takes to find passages among many.

    python -m benchmarks.retrieval

Fills a project with passages of words drawn as in a language (Zipf's law) and asks questions of three to eight words,
first by words alone, then by embeddings as well (random ones of 768 numbers, which cost as much as real ones; the model
server that would embed the question is left out). PostgreSQL is asked when RIVERRUN_DATABASE_URL names one.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import insert
from uuid_utils.compat import uuid7

from riverrun.knowledge.library import Library
from riverrun.knowledge.search import packed
from riverrun.persistence.database import configure, migrate
from riverrun.persistence.tables import Document, Passage, Project

SIZE = 768  # numbers of an embedding
STOP_WORDS = 60  # the most common words, which a search leaves out as it does English ones
AIM = 50.0  # ms, p99
SYLLABLES = ["ba", "co", "di", "fu", "ga", "hel", "ir", "jo", "ka", "lum", "mer", "no", "or", "pi", "qua", "riv", "sto"]


class Random:
    """Embeds every question as something else."""

    name = "random"

    def __init__(self) -> None:
        self._numbers = np.random.default_rng(7)

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        return [self._numbers.standard_normal(SIZE).tolist() for _ in texts]


def vocabulary(count: int) -> list[str]:
    chance = random.Random(7)
    return ["".join(chance.choices(SYLLABLES, k=chance.randint(2, 4))) + str(n % 97) for n in range(count)]


async def fill(library: Library, words: list[str], count: int) -> Project:
    chance, numbers = random.Random(11), np.random.default_rng(11)
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    project = Project(id=uuid7(), name="Benchmark")
    document = Document(id=uuid7(), project_id=project.id, name="all", size=1, status="ready", embedded_by=Random.name)
    async with library.sessions() as session:
        session.add(project)
        await session.flush()
        session.add(document)
        await session.flush()
        for start in range(0, count, 500):
            rows = [
                {
                    "project_id": project.id,
                    "document_id": document.id,
                    "number": number,
                    "heading": " ".join(chance.choices(words, weights, k=3)),
                    "text": " ".join(chance.choices(words, weights, k=140)),
                    "embedding": packed(numbers.standard_normal(SIZE).tolist()),
                }
                for number in range(start, start + 500)
            ]
            await session.execute(insert(Passage), rows)
        await session.commit()
    return project


async def measure(name: str, database: SQLAlchemyAsyncConfig, count: int, times: int) -> None:
    await migrate(database)
    library = Library(database.create_session_maker())
    words = vocabulary(20_000)
    project = await fill(library, words, count)
    shelf, chance = library.of(project.id), random.Random(13)
    asked = words[STOP_WORDS:]
    weights = [1 / rank for rank in range(STOP_WORDS + 1, len(words) + 1)]
    for how, embedder in (("words", None), ("words and meaning", Random())):
        library.embedder = embedder
        took = []
        await shelf.search(" ".join(words[:3]))  # reads the embeddings
        for _ in range(times):
            question = " ".join(chance.choices(asked, weights, k=chance.randint(3, 8)))
            began = time.perf_counter()
            await shelf.search(question)
            took.append((time.perf_counter() - began) * 1000)
        p50, p99 = statistics.median(took), sorted(took)[int(len(took) * 0.99)]
        verdict = "met" if p99 < AIM else "missed"
        print(f"{name:10} {count:,} passages, {how:18} p50 {p50:5.1f}   p99 {p99:5.1f} ms   aim {AIM:.0f}: {verdict}")
    async with library.sessions() as session:
        await session.delete(project)
        await session.commit()
    await database.get_engine().dispose()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passages", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=500)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sqlite = configure(f"sqlite+aiosqlite:///{Path(folder) / 'riverrun.db'}")
        await measure("SQLite", sqlite, chosen.passages, chosen.times)
    if url := os.environ.get("RIVERRUN_DATABASE_URL"):
        await measure("PostgreSQL", configure(url), chosen.passages, chosen.times)


if __name__ == "__main__":
    asyncio.run(main())
