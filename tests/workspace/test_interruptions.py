"""A killed process, a lost database and a full disk: a change is there with its revision, or it never was."""

import asyncio
import errno
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from riverrun.agents.context import WorkspaceError
from riverrun.persistence.tables import DEFAULT_PROJECT
from riverrun.workspace.files import Files, ProjectFiles
from riverrun.workspace.folder import Folder
from riverrun.workspace.run import RunFiles
from riverrun.workspace.text import hash_of

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

# Writes one file over and over, each time another content, and says so when a change is done.
WRITER = """
import asyncio, sys
from pathlib import Path
from uuid import uuid4
from riverrun.persistence.database import configure
from riverrun.persistence.tables import DEFAULT_PROJECT
from riverrun.workspace.files import Files

async def main(url, root):
    run = Files(Path(root), configure(url).create_session_maker()).of(DEFAULT_PROJECT).for_run(uuid4())
    for number in range(10_000):
        await run.write("counter.txt", f"{number}\\n" * 1000)
        print(number, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_process_that_is_killed_leaves_files_that_fit_their_revisions(
    database: SQLAlchemyAsyncConfig, database_url: str, root: Path, folder: Path
) -> None:
    for said in (1, 3, 7):
        command = [sys.executable, "-c", WRITER, database_url, str(root)]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(said):
            await process.stdout.readline()
        process.kill()
        done = [int(line) for line in (await process.stdout.read()).split()]
        await process.wait()

        project = Files(root, database.create_session_maker()).of(DEFAULT_PROJECT)
        shown = await project.show("counter.txt")
        assert await unbroken(project) == shown.sha256
        assert shown.text is not None
        number = int(shown.text.split("\n", 1)[0])
        assert shown.text == f"{number}\n" * 1000
        assert number >= max(done, default=0)
        await project.delete("counter.txt")
        assert await asyncio.to_thread(lambda: list(folder.iterdir())) == []


async def unbroken(project: ProjectFiles, path: str | None = None) -> str | None:
    """The SHA-256 of what the file should be now, after revisions each of which began with what the last one left."""
    content = None
    for revision in reversed(await project.history(20_000, path)):
        assert revision.before == content
        content = revision.after
    return content


async def test_a_run_that_is_stopped_in_the_middle_of_a_change_leaves_it_whole(
    run: RunFiles, project: ProjectFiles, database: SQLAlchemyAsyncConfig
) -> None:
    await run.write("a.txt", "base")
    base = await project.show("a.txt")
    working = asyncio.create_task(run.write("a.txt", "the agent's"))
    event.listen(database.get_engine().sync_engine, "commit", lambda _: working.cancel())
    with pytest.raises(asyncio.CancelledError):
        await working
    shown = await project.show("a.txt")
    assert shown.text == "the agent's"
    assert await unbroken(project) == shown.sha256
    with pytest.raises(WorkspaceError, match="changed meanwhile"):
        await project.save("a.txt", "mine", base.sha256)


class AnswerLost(AsyncSession):
    """The database commits, and the connection breaks before it says so."""

    async def commit(self) -> None:
        await super().commit()
        raise ConnectionResetError


async def test_a_change_whose_commit_was_not_confirmed_is_carried_out_before_the_next(
    database: SQLAlchemyAsyncConfig, project: ProjectFiles, root: Path
) -> None:
    await project.save("a.txt", "base")
    base = (await project.show("a.txt")).sha256
    project = Files(root, async_sessionmaker(database.get_engine(), class_=AnswerLost)).of(DEFAULT_PROJECT)
    with pytest.raises(WorkspaceError, match="database"):
        await project.save("a.txt", "saved after all", base)
    with pytest.raises(WorkspaceError, match="changed meanwhile"):
        await project.save("a.txt", "too late", base)
    shown = await project.show("a.txt")
    assert shown.text == "saved after all"
    assert await unbroken(project) == shown.sha256


async def test_a_change_that_was_carried_out_but_not_ticked_off_is_not_lost(
    run: RunFiles, project: ProjectFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run.write("a.txt", "one")
    with monkeypatch.context() as broken:
        broken.setattr(Folder, "forget", partial(os.listdir, "/there/is/no/such/folder"))
        with pytest.raises(WorkspaceError):
            await run.move("a.txt", "b.txt")
    await project.save("c.txt", "works again")
    assert [entry.path for entry in await project.list()] == ["b.txt", "c.txt"]
    assert await unbroken(project, "a.txt") is None
    assert await unbroken(project, "b.txt") == hash_of(b"one")


@pytest.mark.parametrize("write", range(3))  # the content, the new file, the intent
async def test_wherever_the_disk_is_full_nothing_has_happened_yet(
    write: int, run: RunFiles, project: ProjectFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run.write("a.txt", "one")
    writes = iter(range(write + 1))

    def fill(_: int) -> None:
        if next(writes, None) == write:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(WorkspaceError, match="No space left"):
        await run.write("a.txt", "two")
    assert await run.read("a.txt") == "one"
    assert await unbroken(project) == hash_of(b"one")
    await run.write("a.txt", "three")
    assert await unbroken(project) == hash_of(b"three") == (await project.show("a.txt")).sha256
    assert os.listdir(folder.parent / "making") == []


async def test_without_the_database_nothing_changes_and_later_everything_works(
    run: RunFiles, project: ProjectFiles, database: SQLAlchemyAsyncConfig
) -> None:
    await run.write("a.txt", "one")
    async with database.get_engine().begin() as connection:
        await connection.execute(text("ALTER TABLE revision RENAME TO gone"))
    with pytest.raises(WorkspaceError, match="database"):
        await run.write("a.txt", "two")
    assert await run.read("a.txt") == "one"
    async with database.get_engine().begin() as connection:
        await connection.execute(text("ALTER TABLE gone RENAME TO revision"))
    await run.write("a.txt", "three")
    [newest, *rest] = await project.history(5)
    assert newest.after == hash_of(b"three")
    assert len(rest) == 1


# A limit of the size of files is met exactly where a full disk is: in the middle of a write.
FULL = """
import asyncio, resource, signal, sys
from pathlib import Path
from uuid import uuid4
from riverrun.agents.context import WorkspaceError
from riverrun.persistence.database import configure
from riverrun.persistence.tables import DEFAULT_PROJECT
from riverrun.workspace.files import Files

async def main(url, root):
    run = Files(Path(root), configure(url).create_session_maker()).of(DEFAULT_PROJECT).for_run(uuid4())
    await run.write("a.txt", "small")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    try:
        await run.write("a.txt", "x" * 900_000)
    except WorkspaceError as refusal:
        print(refusal, await run.read("a.txt"), sep="|")

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_full_disk_is_told_and_leaves_the_file_as_it_was(
    database: SQLAlchemyAsyncConfig, database_url: str, root: Path
) -> None:
    command = [sys.executable, "-c", FULL, database_url, str(root)]
    told = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    reason, _, content = told.stdout.strip().partition("|")
    assert "cannot be used" in reason, told.stderr
    assert content == "small"
    project = Files(root, database.create_session_maker()).of(DEFAULT_PROJECT)
    [only] = await project.history(5)
    assert only.after == (await project.show("a.txt")).sha256
    making = root / str(DEFAULT_PROJECT) / "making"
    assert os.listdir(making) == []
