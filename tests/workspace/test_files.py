"""A project's files: every change is a revision, nothing is overwritten unseen, and every change can be taken back."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from uuid_utils.compat import uuid7

from riverrun.agents.context import WorkspaceError
from riverrun.persistence.tables import DEFAULT_PROJECT
from riverrun.workspace import store as limits
from riverrun.workspace.files import Files, ProjectFiles
from riverrun.workspace.run import RunFiles
from riverrun.workspace.text import TEXT_LIMIT

IMAGE = b"\x89PNG\r\n\x1a\n\0\0"


async def in_pieces(content: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def test_every_change_is_a_revision_with_its_diff(run: RunFiles, project: ProjectFiles) -> None:
    created = await run.write("notes/todo.md", "one\ntwo\n")
    edited = await run.edit("notes/todo.md", "two", "three")
    moved = await run.move("notes/todo.md", "done.md")
    deleted = await run.delete("done.md")
    changes = [*created, *edited, *moved, *deleted]
    assert [(change.path, change.change) for change in changes] == [
        ("notes/todo.md", "created"),
        ("notes/todo.md", "modified"),
        ("done.md", "created"),
        ("notes/todo.md", "deleted"),
        ("done.md", "deleted"),
    ]
    assert edited[0].diff == "--- a/notes/todo.md\n+++ b/notes/todo.md\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n"
    assert created[0].diff.startswith("--- /dev/null\n+++ b/notes/todo.md\n@@ -0,0 +1,2 @@\n")
    history = await project.history(10)
    assert [row.id for row in reversed(history)] == [change.revision_id for change in changes]
    assert {row.author for row in history} == {"Coder"}
    assert await run.files() == []


async def test_a_text_is_replaced_only_where_it_stands_once(run: RunFiles) -> None:
    await run.write("a.py", "x = 1\ny = 1\n\tz = 1\n")
    with pytest.raises(WorkspaceError, match="3 times"):
        await run.edit("a.py", "= 1", "= 2")
    with pytest.raises(WorkspaceError, match="other spaces"):
        await run.edit("a.py", "    z = 1", "z = 2")
    with pytest.raises(WorkspaceError, match="does not stand"):
        await run.edit("a.py", "w = 1", "w = 2")
    with pytest.raises(WorkspaceError, match="empty"):
        await run.edit("a.py", "", "w = 2")
    assert await run.edit("a.py", "x = 1", "x = 1") == []
    assert await run.read("a.py") == "x = 1\ny = 1\n\tz = 1\n"


async def test_what_stands_twice_is_found_twice_even_if_it_overlaps(run: RunFiles) -> None:
    await run.write("a.txt", "abababa")
    with pytest.raises(WorkspaceError, match="2 times"):
        await run.edit("a.txt", "ababa", "x")


async def test_line_ends_stay_as_the_file_has_them(run: RunFiles, project: ProjectFiles, folder: Path) -> None:
    await run.write("dos.txt", "one\r\ntwo\r\nthree\r\n")
    await run.edit("dos.txt", "one\ntwo", "1\n2")
    assert (folder / "dos.txt").read_bytes() == b"1\r\n2\r\nthree\r\n"
    await project.save("dos.txt", "1\n2\n3\n", (await project.show("dos.txt")).sha256)
    assert (folder / "dos.txt").read_bytes() == b"1\r\n2\r\n3\r\n"
    await run.write("mixed.txt", "one\ntwo\nthree\r\n")
    await run.edit("mixed.txt", "one\ntwo\n", "1\n2\n")
    await run.edit("mixed.txt", "three\r\n", "3\r\n")
    assert (folder / "mixed.txt").read_bytes() == b"1\n2\n3\n"


async def test_what_lies_beside_a_file_stays_when_it_goes(run: RunFiles, folder: Path) -> None:
    for path in ("a/b/one.txt", "a/b/two.txt", "a/three.txt"):
        await run.write(path, "x")
    await run.delete("a/b/one.txt")
    await run.move("a/b/two.txt", "a/two.txt")
    assert [file.path for file in await run.files()] == ["a/three.txt", "a/two.txt"]
    assert not (folder / "a" / "b").exists()


async def test_a_file_that_the_run_has_not_read_is_not_overwritten(project: ProjectFiles, run: RunFiles) -> None:
    await project.save("plan.md", "mine\n")
    for attempt in (run.write("plan.md", "theirs\n"), run.edit("plan.md", "mine", "theirs"), run.delete("plan.md")):
        with pytest.raises(WorkspaceError, match="Read it before"):
            await attempt
    assert await run.read("plan.md") == "mine\n"
    await run.write("plan.md", "theirs\n")
    assert (await project.show("plan.md")).text == "theirs\n"


async def test_a_file_that_cannot_be_read_as_text_is_changed_only_after_a_look(
    project: ProjectFiles, run: RunFiles
) -> None:
    await project.upload("dot.png", in_pieces(IMAGE))
    await project.upload("large.txt", in_pieces(b"x" * (TEXT_LIMIT + 1), 100_000))
    for path, reason in (("dot.png", "binary file"), ("large.txt", "too large")):
        for attempt in (run.write(path, "text"), run.delete(path)):
            with pytest.raises(WorkspaceError, match="Read it before"):
                await attempt
        with pytest.raises(WorkspaceError, match=reason):
            await run.read(path)
        await run.delete(path)
    assert await run.files() == []


async def test_a_file_may_be_moved_unread_and_stays_unread(project: ProjectFiles, run: RunFiles) -> None:
    await project.save("mine.txt", "mine")
    await run.move("mine.txt", "moved.txt")
    with pytest.raises(WorkspaceError, match="Read it before"):
        await run.write("moved.txt", "theirs")
    await run.read("moved.txt")
    await project.save("moved.txt", "mine again", (await project.show("moved.txt")).sha256)
    with pytest.raises(WorkspaceError, match="changed by somebody else"):
        await run.move("moved.txt", "further.txt")
    await project.save("there.txt", "there")
    with pytest.raises(WorkspaceError, match="already a file"):
        await run.move("moved.txt", "there.txt")


async def test_agents_of_a_run_share_what_they_have_seen(project: ProjectFiles, run: RunFiles) -> None:
    await project.save("a.txt", "one")
    await run.by("Reader").read("a.txt")
    await run.by("Writer " * 20).write("a.txt", "two")
    [newest, _] = await project.history(5, "./a.txt")
    assert newest.author.startswith("Writer")


async def test_two_runs_do_not_destroy_each_others_work(project: ProjectFiles) -> None:
    first, second = (project.for_run(uuid7()).by(name) for name in ("First", "Second"))
    await project.save("shared.txt", "base\n")
    await asyncio.gather(first.read("shared.txt"), second.read("shared.txt"))
    outcomes = await asyncio.gather(
        first.edit("shared.txt", "base", "first"),
        second.edit("shared.txt", "base", "second"),
        return_exceptions=True,
    )
    refusals = [outcome for outcome in outcomes if isinstance(outcome, WorkspaceError)]
    assert len(refusals) == 1
    assert "changed by somebody else" in str(refusals[0])
    winner, loser = (first, second) if isinstance(outcomes[1], WorkspaceError) else (second, first)
    with pytest.raises(WorkspaceError, match="Read it before"):
        await loser.write("shared.txt", "blind")
    text = await loser.read("shared.txt")
    await loser.write("shared.txt", text + "and I\n")
    assert await winner.read("shared.txt") == text + "and I\n"


async def test_what_somebody_deleted_is_not_brought_back_unseen(project: ProjectFiles, run: RunFiles) -> None:
    await project.save("old.txt", "old")
    await run.read("old.txt")
    await project.delete("old.txt")
    with pytest.raises(WorkspaceError, match="deleted by somebody else"):
        await run.write("old.txt", "new")
    await run.write("old.txt", "new")


async def test_a_person_edits_what_they_saw(project: ProjectFiles) -> None:
    await project.save("a.txt", "one")
    shown = await project.show("a.txt")
    await project.save("a.txt", "two", shown.sha256)
    with pytest.raises(WorkspaceError, match="changed meanwhile"):
        await project.save("a.txt", "three", shown.sha256)
    with pytest.raises(WorkspaceError, match="already"):
        await project.save("a.txt", "four")
    assert (await project.show("a.txt")).text == "two"


async def test_every_change_can_be_taken_back_unless_another_followed(project: ProjectFiles, run: RunFiles) -> None:
    [made] = await run.write("a.txt", "one")
    [changed] = await run.write("a.txt", "two")
    with pytest.raises(WorkspaceError, match="changed again since"):
        await project.revert(made.revision_id)
    [back] = await project.revert(changed.revision_id)
    assert (await project.show("a.txt")).text == "one"
    await project.revert(back.revision_id)
    assert (await project.show("a.txt")).text == "two"
    [gone] = await project.delete("a.txt")
    await project.revert(gone.revision_id)
    assert (await project.show("a.txt")).text == "two"
    await project.save("empty.txt", "")
    [emptied] = await project.delete("empty.txt")
    await project.revert(emptied.revision_id)
    assert (await project.show("empty.txt")).text == ""


async def test_taking_back_a_creation_deletes_the_file(project: ProjectFiles, run: RunFiles) -> None:
    [made] = await run.write("a.txt", "one")
    [gone] = await project.revert(made.revision_id)
    assert gone.change == "deleted"
    assert await run.files() == []


async def test_binary_files_are_kept_exactly_and_never_read_as_text(project: ProjectFiles, run: RunFiles) -> None:
    await project.upload("pictures/dot.png", in_pieces(IMAGE, 3))
    assert await project.read_bytes("pictures/dot.png") == IMAGE
    assert (await project.show("pictures/dot.png")).text is None
    with pytest.raises(WorkspaceError, match="binary file"):
        await run.read("pictures/dot.png")
    with pytest.raises(WorkspaceError, match="binary file"):
        await run.edit("pictures/dot.png", "PNG", "GIF")
    assert await run.search("PNG") == []
    [changed] = await project.upload("pictures/dot.png", in_pieces(b"\0other"))
    assert changed.diff == ""
    await project.revert(changed.revision_id)
    assert await project.read_bytes("pictures/dot.png") == IMAGE


async def test_what_is_not_text_is_not_written_as_text(run: RunFiles, project: ProjectFiles) -> None:
    for content in ("a\0b", "\ud800"):
        with pytest.raises(WorkspaceError):
            await run.write("a.txt", content)
    await project.upload("zero.txt", in_pieces(b"a\0b"))
    with pytest.raises(WorkspaceError, match="binary file"):
        await run.read("zero.txt")


async def test_search_finds_lines_in_whatever_case(run: RunFiles) -> None:
    await run.write("src/a.py", "import os\nOS = 1\n")
    await run.write("b.txt", "os\n")
    found = [(match.path, match.line, match.text) for match in await run.search("OS")]
    assert found == [("b.txt", 1, "os"), ("src/a.py", 1, "import os"), ("src/a.py", 2, "OS = 1")]
    assert [match.path for match in await run.search("os", "src")] == ["src/a.py", "src/a.py"]


async def test_a_search_is_bounded_in_matches_length_and_time(
    run: RunFiles, project: ProjectFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run.write("long.txt", f"needle {'x' * 1000}\n" * 300)
    found = await run.search("needle")
    assert len(found) == 200
    assert {len(match.text) for match in found} == {300}
    await project.upload("large.txt", in_pieces(b"needle2\n" * 200_000, 100_000))
    assert await run.search("needle2") == []
    monkeypatch.setattr(limits, "LONGEST_SEARCH", -1)
    with pytest.raises(WorkspaceError, match="too long"):
        await run.search("not there")
    with pytest.raises(WorkspaceError, match="what to look for"):
        await run.search("")


async def test_sizes_and_counts_are_limited(
    run: RunFiles, project: ProjectFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorkspaceError, match="at most"):
        await run.write("big.txt", "x" * (TEXT_LIMIT + 1))
    with pytest.raises(WorkspaceError, match="20 MB"):
        await project.upload("big.bin", in_pieces(b"x" * 21_000_000, 1_000_000))
    await project.upload("large.txt", in_pieces(b"x" * 1_500_000, 100_000))
    with pytest.raises(WorkspaceError, match="too large"):
        await run.read("large.txt")
    monkeypatch.setattr(limits, "MOST_FILES", 2)
    await run.write("second.txt", "x")
    with pytest.raises(WorkspaceError, match="2 at most"):
        await run.write("third.txt", "x")
    await run.write("second.txt", "what is there may still change")
    monkeypatch.setattr(limits, "MOST_BYTES", 1_600_000)
    with pytest.raises(WorkspaceError, match="would take more"):
        await run.write("second.txt", "x" * 500_000)
    monkeypatch.setattr(limits, "MOST_FILES", 1)
    monkeypatch.setattr(limits, "MOST_BYTES", 1)
    await run.move("second.txt", "moved.txt")
    await run.delete("moved.txt")


async def test_all_files_come_as_one_archive(project: ProjectFiles) -> None:
    await project.save("a/b.txt", "text")
    await project.upload("c.bin", in_pieces(IMAGE))
    packed = io.BytesIO(b"".join([piece async for piece in project.zip()]))
    with zipfile.ZipFile(packed) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a/b.txt": b"text", "c.bin": IMAGE}


async def test_projects_see_nothing_of_each_other(store: Files, run: RunFiles) -> None:
    await run.write("mine.txt", "mine")
    assert await store.of(uuid7()).list() == []
    [change] = await run.write("more.txt", "more")
    with pytest.raises(WorkspaceError, match="no such change"):
        await store.of(uuid7()).revert(change.revision_id)


async def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(run: RunFiles, root: Path) -> None:
    root.write_text("a file stands where the folder should be")
    with pytest.raises(WorkspaceError, match="cannot be used"):
        await run.write("a.txt", "x")
    root.unlink()
    await run.write("a.txt", "x")


async def test_the_project_of_the_default_is_known_by_its_id(folder: Path, run: RunFiles) -> None:
    await run.write("a.txt", "x")
    assert folder.parent.name == str(DEFAULT_PROJECT)
    assert (folder / "a.txt").read_text() == "x"


async def test_it_is_known_which_changes_were_taken_back(store: Files, project: ProjectFiles, run: RunFiles) -> None:
    [made] = await run.write("a.txt", "one")
    [changed] = await run.write("a.txt", "two")
    [other] = await run.write("b.txt", "one")
    both = [made.revision_id, changed.revision_id, other.revision_id]
    assert await store.taken_back(both) == frozenset()
    [back] = await project.revert(changed.revision_id)
    assert await store.taken_back(both) == {changed.revision_id}
    await project.revert(back.revision_id)
    assert await store.taken_back(both) == frozenset()
    await project.revert(other.revision_id)
    assert await store.taken_back(both) == {other.revision_id}
    [again] = await project.save("b.txt", "three")
    assert again.change == "created"
    assert await store.taken_back(both) == frozenset()
