"""A killed process, a lost database and a full disk: a change is there with its revision, or it never was."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig
from sqlalchemy import text

from riverrun.agents.context import WorkspaceError
from riverrun.persistence.tables import DEFAULT_PROJECT
from riverrun.workspace.files import Files, ProjectFiles
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
        [newest, *_] = await project.history(1)
        assert newest.after == shown.sha256
        assert shown.text is not None
        number = int(shown.text.split("\n", 1)[0])
        assert shown.text == f"{number}\n" * 1000
        assert number >= max(done, default=0)
        await project.delete("counter.txt")
        assert await asyncio.to_thread(lambda: list(folder.iterdir())) == []


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
