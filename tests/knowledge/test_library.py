"""Documents in, passages out, on both databases."""

import asyncio
import hashlib
from collections.abc import Sequence

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from uuid_utils.compat import uuid7

from riverrun.knowledge.library import INTERRUPTED, EmbeddingError, Library, Shelf
from riverrun.knowledge.search import fuse
from riverrun.persistence.tables import DEFAULT_PROJECT, Document, Passage, Project
from tests.knowledge.conftest import read

RIVERS = "# Rivers\n\n## Bends\n\nA meander is a bend of a river.\n\n## Ends\n\nMost of them end in the sea.\n"
CAKES = "# Cakes\n\nSugar, butter, flour and eggs: a cake is soon made.\n"


SAME = {"loop": "bend", "curve": "bend", "ocean": "sea"}


class Meaning:
    """Embeds by words, where some words mean the same: what a model server would answer, in small."""

    name = "meaning"

    def __init__(self) -> None:
        self.fails = False

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if self.fails:
            raise EmbeddingError("the model server is gone")
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> list[float]:
        row = [0.0] * 64
        for word in text.lower().replace(".", " ").split():
            meant = SAME.get(word, word)
            row[int(hashlib.sha256(meant.encode()).hexdigest(), 16) % 64] += 1.0
        return row


async def test_a_document_is_read_and_found_with_its_headings(shelf: Shelf) -> None:
    document = await read(shelf, "rivers.md", RIVERS)
    await read(shelf, "cakes.md", CAKES)
    assert (document.status, document.passages) == ("ready", 2)
    [found, *_] = await shelf.search("What is a meander?")
    assert (found.document, found.heading, found.text) == (
        "rivers.md",
        "Rivers › Bends",
        "A meander is a bend of a river.",
    )
    assert found.address == f"/p/{DEFAULT_PROJECT}/passages/{found.id}"
    assert [passage.document for passage in await shelf.search("flour")] == ["cakes.md"]


async def test_words_are_found_in_other_forms_and_headings_count_more(shelf: Shelf) -> None:
    await read(shelf, "a.md", "# Swimming\n\nHow to move in water.\n\n# Other\n\nSome swimming is mentioned here.\n")
    assert [passage.heading for passage in await shelf.search("swims")] == ["Swimming", "Other"]


@pytest.mark.parametrize(
    "query", ["", "   ", "the of and", '"', "' OR 1=1 --", "a AND (", "NEAR(", "*", "\0", "!&|:<->"]
)
async def test_any_text_is_a_query(query: str, shelf: Shelf) -> None:
    await read(shelf, "rivers.md", RIVERS)
    assert await shelf.search(query) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=60))
async def test_no_query_breaks_the_search(query: str, shelf: Shelf) -> None:
    await shelf.search(query)


async def test_other_scripts_are_found(shelf: Shelf) -> None:
    await read(shelf, "ru.md", "Река впадает в море.\n\nΟ ποταμός ρέει.")
    assert len(await shelf.search("река")) == 1
    assert len(await shelf.search("ποταμός")) == 1


async def test_a_project_finds_only_what_is_its_own(library: Library, shelf: Shelf) -> None:
    await read(shelf, "rivers.md", RIVERS)
    other = library.of(uuid7())
    [found] = await shelf.search("meander")
    assert await other.search("meander") == []
    assert await other.passage(found.id) is None
    [document] = await shelf.documents()
    assert await other.document(document.id) is None
    await other.remove(document.id)
    assert await shelf.search("meander")


async def test_a_removed_document_leaves_nothing_to_find(library: Library, shelf: Shelf) -> None:
    document = await read(shelf, "rivers.md", RIVERS)
    await shelf.remove(document.id)
    assert await shelf.search("meander") == []
    assert await shelf.documents() == []
    await read(shelf, "cakes.md", CAKES)
    assert [passage.document for passage in await shelf.search("meander sugar")] == ["cakes.md"]


async def test_a_deleted_project_takes_its_passages_out_of_the_index(
    library: Library, database: SQLAlchemyAsyncConfig
) -> None:
    async with library.sessions() as session:
        project = Project(id=uuid7(), name="Gone")
        session.add(project)
        await session.commit()
    await read(library.of(project.id), "rivers.md", RIVERS)
    async with library.sessions() as session:
        await session.delete(project)
        await session.commit()
        assert await session.scalar(select(func.count()).select_from(Passage)) == 0
        if database.get_engine().dialect.name == "sqlite":
            query = "SELECT count(*) FROM passage_index WHERE passage_index MATCH 'meander'"
            assert await session.scalar(text(query)) == 0


async def test_a_passage_is_opened_with_what_stands_around_it(shelf: Shelf) -> None:
    await read(shelf, "many.md", "".join(f"# Part {number}\n\nword{number}\n\n" for number in range(3)))
    [hit] = await shelf.search("word1")
    found = await shelf.passage(hit.id)
    assert found is not None
    assert found.before is not None
    assert found.after is not None
    assert (found.document.name, found.before.text, found.passage.text, found.after.text) == (
        "many.md",
        "word0",
        "word1",
        "word2",
    )


async def test_a_bad_file_is_listed_with_its_reason(shelf: Shelf) -> None:
    document = await read(shelf, "folder\\..\\scan.pdf", b"%PDF-1.4 broken")
    assert (document.name, document.status) == ("scan.pdf", "failed")
    assert document.reason
    assert await shelf.search("scan") == []


async def test_what_a_killed_process_was_reading_is_told(library: Library, shelf: Shelf) -> None:
    async with library.sessions() as session:
        session.add(Document(id=uuid7(), project_id=DEFAULT_PROJECT, name="half.md", size=1))
        await session.commit()
    async with Library(library.sessions).working():
        [document] = await shelf.documents()
    assert (document.status, document.reason) == ("failed", INTERRUPTED)


async def test_what_is_being_read_when_the_server_stops_is_told(library: Library) -> None:
    second = Library(library.sessions)
    async with second.working():
        await second.of(DEFAULT_PROJECT).add("long.md", b"words")
    [document] = await library.of(DEFAULT_PROJECT).documents()
    assert (document.status, document.reason) == ("failed", INTERRUPTED)


async def test_a_document_that_is_removed_while_it_is_read_stays_away(shelf: Shelf) -> None:
    document = await shelf.add("long.md", b"words")
    [task] = [task for task in asyncio.all_tasks() if task.get_name() == f"read {document.id}"]
    await shelf.remove(document.id)
    await asyncio.gather(task, return_exceptions=True)
    assert await shelf.documents() == []
    assert await shelf.search("words") == []


async def test_meaning_finds_what_words_do_not(library: Library, shelf: Shelf) -> None:
    library.embedder = Meaning()
    document = await read(shelf, "rivers.md", RIVERS)
    await read(shelf, "cakes.md", CAKES)
    assert document.embedded_by == "meaning"
    assert (await shelf.search("loop"))[0].heading == "Rivers › Bends"
    assert (await shelf.search("ocean sugar"))[0].document == "cakes.md"  # both ranks know it


async def test_without_the_model_server_words_are_enough(library: Library, shelf: Shelf) -> None:
    library.embedder = meaning = Meaning()
    await read(shelf, "rivers.md", RIVERS)
    meaning.fails = True
    assert (await shelf.search("meander"))[0].heading == "Rivers › Bends"
    cakes = await read(shelf, "cakes.md", CAKES)
    assert (cakes.status, cakes.embedded_by) == ("ready", "")
    assert [passage.document for passage in await shelf.search("flour")] == ["cakes.md"]


async def test_embeddings_of_another_model_are_not_compared(library: Library, shelf: Shelf) -> None:
    library.embedder = Meaning()
    await read(shelf, "rivers.md", RIVERS)
    library.embedder = other = Meaning()
    other.name = "other"
    library.vectors.clear()
    assert await shelf.search("loop") == []
    assert await shelf.search("meander")


def test_what_several_ranks_hold_high_comes_first() -> None:
    assert fuse([1, 2, 3], [3, 4]) == [3, 1, 2, 4] or fuse([1, 2, 3], [3, 4])[0] == 3
    assert fuse([], []) == []
