"""Documents in, passages out, on both databases."""

import asyncio
import hashlib
import sys
from collections.abc import Sequence

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text, update
from uuid_utils.compat import uuid7

from riverrun.knowledge import library as limits
from riverrun.knowledge.extract import DocumentError
from riverrun.knowledge.library import INTERRUPTED, EmbeddingError, Library, Shelf
from riverrun.knowledge.search import fuse
from riverrun.persistence.tables import DEFAULT_PROJECT, Document, Passage, Project
from tests.knowledge.conftest import read

RIVERS = "# Rivers\n\n## Bends\n\nA meander is a bend of a river.\n\n## Ends\n\nMost of them end in the sea.\n"
CAKES = "# Cakes\n\nSugar, butter, flour and eggs: a cake is soon made.\n"


SAME = {"loop": "bend", "curve": "bend", "ocean": "sea"}


class Meaning:
    """Embeds by words, where some words mean the same: what a model server would answer, in small."""

    def __init__(self, name: str = "meaning") -> None:
        self.name = name
        self.fails = False
        self.dislikes = "nothing"

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        if self.fails or any(self.dislikes in text for text in texts):
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
    await read(shelf, "many.md", "Река впадает в море.\n\nΟ ποταμός ρέει.\n\nनदी समुद्र में मिलती है।")
    assert len(await shelf.search("नदी")) == 1
    assert await shelf.search("मीना") == [], "of which only single letters are there"
    assert len(await shelf.search("река")) == 1
    assert len(await shelf.search("ποταμός")) == 1


async def test_rare_words_count_more_than_words_that_are_repeated(shelf: Shelf) -> None:
    common = "".join(f"# Part {number}\n\nThe river is a river of rivers.\n\n" for number in range(20))
    await read(shelf, "many.md", common + "# Rare\n\nAn oxbow is left behind.\n")
    assert (await shelf.search("river oxbow"))[0].heading == "Rare"


async def test_a_project_finds_only_what_is_its_own(library: Library, shelf: Shelf) -> None:
    await read(shelf, "rivers.md", RIVERS)
    other = library.of(uuid7())
    [found] = await shelf.search("meander")
    assert await other.search("meander") == []
    assert await other.passage(found.id) is None
    [document] = await shelf.documents()
    assert await other.document(document.id) is None
    assert await other.passages(document.id) == []
    await other.remove(document.id)
    assert await shelf.search("meander")


async def test_a_project_cannot_stop_what_another_reads(library: Library, shelf: Shelf) -> None:
    document = await shelf.add("rivers.md", RIVERS.encode())
    await library.of(uuid7()).remove(document.id)
    await library.readings[document.id].task
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
    task = shelf.library.readings[document.id].task
    await shelf.remove(document.id)
    assert task.cancelled()
    assert await shelf.documents() == []
    assert await shelf.search("words") == []


async def test_nothing_is_found_in_a_document_before_all_of_it_is_saved(library: Library, shelf: Shelf) -> None:
    async with library.sessions() as session:
        document = Document(id=uuid7(), project_id=DEFAULT_PROJECT, name="half.md", size=1)
        session.add(document)
        await session.flush()
        session.add(Passage(project_id=DEFAULT_PROJECT, document_id=document.id, number=1, text="meander"))
        await session.commit()
    assert await shelf.search("meander") == []
    async with Library(library.sessions).working():
        assert await shelf.passages(document.id) == [], "nor left over when the rest never comes"


async def test_a_document_tells_how_far_it_has_been_read(shelf: Shelf) -> None:
    document = await shelf.add("rivers.md", RIVERS.encode())
    [listed] = await shelf.documents()
    assert (listed.status, listed.fraction) == ("reading", 0.0)
    await shelf.library.readings[document.id].task
    [listed] = await shelf.documents()
    assert (listed.status, listed.fraction) == ("ready", None)


async def test_what_is_too_much_is_refused(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DocumentError, match="20 MB"):
        await shelf.add("big.txt", b"x" * 20_000_001)
    monkeypatch.setattr(limits, "MOST_WAITING", 15)
    first = await shelf.add("small.txt", b"words")
    with pytest.raises(DocumentError, match=r"Add large\.txt in a moment"):
        await shelf.add("large.txt", b"many more words")
    await shelf.library.readings[first.id].task
    monkeypatch.setattr(limits, "MOST_PASSAGES", 2)
    refused = await read(shelf, "rivers.md", "# a\n\nb\n\n# c\n\nd")
    assert (refused.status, refused.passages) == ("failed", 0)
    assert "2 of them" in refused.reason
    monkeypatch.setattr(limits, "MOST_DOCUMENTS", 2)
    with pytest.raises(DocumentError, match="may have no more"):
        await shelf.add("one more.txt", b"words")


async def test_a_name_that_no_database_or_process_takes_is_mended(shelf: Shelf) -> None:
    assert (await read(shelf, "a\0/b\0c \n.txt", b"words\0"[:5])).name == "bc .txt"


async def test_a_killed_server_tells_what_it_was_reading(
    library: Library, shelf: Shelf, database: SQLAlchemyAsyncConfig
) -> None:
    """A process of its own that is killed while it reads, as late as can be: with passages saved."""
    program = """
import asyncio, sys
from riverrun.knowledge import library
from riverrun.persistence.database import configure
from riverrun.persistence.tables import DEFAULT_PROJECT

class Slow(library.Documents):
    async def finish(self, *_):
        print("saved", flush=True)
        await asyncio.Event().wait()

async def main():
    library.Documents = Slow
    reading = library.Library(configure(sys.argv[1]).create_session_maker())
    async with reading.working():
        await reading.of(DEFAULT_PROJECT).add("rivers.md", b"# Rivers\\n\\nA meander is a bend.")
        await asyncio.Event().wait()

asyncio.run(main())
"""
    url = database.get_engine().url.render_as_string(hide_password=False)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, url, stdout=pipe)
    assert process.stdout
    assert await process.stdout.readline() == b"saved\n"
    process.kill()
    await process.wait()
    [document] = await shelf.documents()
    assert document.status == "reading"
    async with Library(library.sessions).working():
        [document] = await shelf.documents()
    assert (document.status, document.reason) == ("failed", INTERRUPTED)
    assert await shelf.passages(document.id) == []
    assert await shelf.search("meander") == []


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


async def test_what_could_not_be_embedded_is_embedded_later(library: Library, shelf: Shelf) -> None:
    library.embedder = meaning = Meaning()
    meaning.fails = True
    await read(shelf, "rivers.md", RIVERS)
    assert await shelf.search("loop") == []
    meaning.fails = False
    await library.embed()
    assert (await shelf.search("loop"))[0].heading == "Rivers › Bends"


async def test_a_document_that_no_model_takes_does_not_hold_up_the_others(library: Library, shelf: Shelf) -> None:
    library.embedder = meaning = Meaning()
    meaning.dislikes = "butter"
    cakes = await read(shelf, "cakes.md", CAKES)
    rivers = await read(shelf, "rivers.md", RIVERS)
    assert (cakes.embedded_by, rivers.embedded_by) == ("", "meaning")
    assert (await shelf.search("flour"))[0].document == "cakes.md"


async def test_another_model_embeds_all_again_and_until_then_words_are_enough(library: Library, shelf: Shelf) -> None:
    library.embedder = Meaning()
    await read(shelf, "rivers.md", RIVERS)
    library.embedder = other = Meaning("other")
    assert await shelf.search("loop") == []
    assert await shelf.search("meander")
    await library.embed()
    assert (await shelf.documents())[0].embedded_by == other.name
    assert (await shelf.search("loop"))[0].heading == "Rivers › Bends"


async def test_documents_are_embedded_in_the_background(library: Library, shelf: Shelf) -> None:
    await read(shelf, "rivers.md", RIVERS)
    second = Library(library.sessions, Meaning())
    shelf = second.of(DEFAULT_PROJECT)
    async with second.working(), asyncio.timeout(20):
        await found(shelf, "loop", {"rivers.md"})
        await shelf.add("coasts.md", b"Where the sea begins.")
        await found(shelf, "ocean", {"rivers.md", "coasts.md"})


async def found(shelf: Shelf, query: str, documents: set[str]) -> None:
    """Waits for that: the background tells nobody when it is done."""
    while {passage.document for passage in await shelf.search(query)} != documents:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_what_another_process_adds_and_removes_is_known(library: Library, shelf: Shelf) -> None:
    library.embedder = Meaning()
    rivers = await read(shelf, "rivers.md", RIVERS)
    other = Library(library.sessions, Meaning()).of(DEFAULT_PROJECT)
    assert (await other.search("loop"))[0].document == "rivers.md"
    await read(shelf, "cakes.md", CAKES + "\nNot at the ocean.\n")
    assert {passage.document for passage in await other.search("sea")} == {"rivers.md", "cakes.md"}
    await shelf.remove(rivers.id)
    assert [passage.document for passage in await other.search("loop ocean")] == ["cakes.md"]


async def test_embeddings_of_other_lengths_are_left_out(library: Library, shelf: Shelf) -> None:
    library.embedder = Meaning()
    await read(shelf, "rivers.md", RIVERS)
    async with library.sessions() as session:
        [bends, ends] = await shelf.passages((await shelf.documents())[0].id)
        await session.execute(update(Passage).where(Passage.id == ends.id).values(embedding=b"\0" * 8))
        await session.commit()
    assert await shelf.search("loop") == []
    async with library.sessions() as session:
        await session.execute(update(Passage).where(Passage.id == bends.id).values(embedding=None))
        await session.commit()
    assert await shelf.search("meander")


def test_what_several_ranks_hold_high_comes_first() -> None:
    assert fuse([1, 2, 3], [3, 4]) == [3, 1, 2, 4]
    assert fuse([], []) == []


async def test_a_project_is_cleared_of_all_its_documents_and_of_no_others(library: Library, shelf: Shelf) -> None:
    async with library.sessions() as session:
        other = Project(id=uuid7(), name="Other")
        session.add(other)
        await session.commit()
    await read(shelf, "rivers.md", RIVERS)
    await read(shelf, "cakes.md", CAKES)
    await read(library.of(other.id), "cakes.md", CAKES)
    await shelf.clear()
    assert await shelf.documents() == []
    async with library.sessions() as session:
        left = await session.scalars(select(Passage.project_id).distinct())
        assert list(left) == [other.id]
