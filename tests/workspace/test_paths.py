"""Hostile names: none leads out of the folder, and none is another one's double."""

import asyncio
import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from riverrun.agents.context import WorkspaceError
from riverrun.workspace.files import ProjectFiles
from riverrun.workspace.folder import Folder
from riverrun.workspace.paths import checked
from riverrun.workspace.run import RunFiles

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

HOSTILE = [
    "",
    "/etc/passwd",
    "//server/share",
    "../outside.txt",
    "a/../../outside.txt",
    "a/./b",
    "a//b",
    "a/",
    "..",
    ".",
    "./",
    "..\\outside.txt",
    "C:\\outside.txt",
    "C:/outside.txt",
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
    "a\u202etxt.exe",
    "a\ufeff",
    "\ud800",
    "CON",
    "nul.txt",
    "folder/Com1.log",
    "LPT¹",
    "file.",
    "file ",
    " file",
    "file::$DATA",
    "what?",
    "star*",
    "p" * 101,
    "ü" * 101,
    "/".join(["deep"] * 21),
    "/".join(["p" * 90] * 6),
    "~root/../../etc\x7f",
]


@pytest.mark.parametrize("path", HOSTILE)
async def test_a_hostile_path_is_refused_everywhere(path: str, run: RunFiles, project: ProjectFiles) -> None:
    await run.write("here.txt", "here")
    for attempt in (
        run.write(path, "x"),
        run.read(path),
        run.edit(path, "a", "b"),
        run.move("here.txt", path),
        run.move(path, "there.txt"),
        run.delete(path),
        project.save(path, "x"),
        project.show(path),
        project.delete(path),
    ):
        with pytest.raises(WorkspaceError):
            await attempt
    assert [file.path for file in await run.files()] == ["here.txt"]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.text(alphabet=st.sampled_from("ab./\\~ :\0\nÄäﬁK") | st.characters(), max_size=30))
def test_whatever_the_path_nothing_outside_the_folder_appears(path: str, tmp_path: Path, database_url: str) -> None:
    folder = Folder(tmp_path / "inner" / "project")
    folder.prepare()
    (tmp_path / "outside").write_text("outside")
    before = set(tmp_path.rglob("*"))
    try:
        kept = checked(path)
        folder.check_place(kept)
        folder.place(folder.stage(b"hostile"), kept)
    except WorkspaceError:
        assert set(tmp_path.rglob("*")) == before
        return
    assert checked(kept) == kept
    assert [entry.path for entry in folder.entries()] == [kept]
    appeared = set(tmp_path.rglob("*")) - before
    assert appeared
    assert all(place.is_relative_to(tmp_path / "inner" / "project" / "files") for place in appeared)
    folder.remove(kept)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ("Readme.md", "README.md"),
        ("src/app.py", "SRC/app.py"),
        ("src/app.py", "Src/other.py"),
        ("straße.txt", "STRASSE.txt"),
        ("ﬁle.txt", "file.txt"),
        ("src/app.py", "src"),
        ("src", "src/app.py"),
    ],
)
async def test_names_that_some_systems_cannot_tell_apart_are_refused(there: str, wanted: str, run: RunFiles) -> None:
    await run.write(there, "one")
    with pytest.raises(WorkspaceError):
        await run.write(wanted, "two")
    assert [file.path for file in await run.files()] == [there]
    assert await run.read(there) == "one"


async def test_the_same_letters_written_otherwise_are_the_same_file(run: RunFiles) -> None:
    await run.write("u\u0308ber.txt", "one")
    assert await run.read("\u00fcber.txt") == "one"
    assert [file.path for file in await run.files()] == ["\u00fcber.txt"]


async def test_links_pipes_and_sockets_planted_from_outside_are_as_good_as_not_there(
    run: RunFiles, project: ProjectFiles, folder: Path, tmp_path: Path
) -> None:
    await run.write("real.txt", "real")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("the secret")
    (folder / "link.txt").symlink_to(secret / "key.txt")
    (folder / "linked").symlink_to(secret)
    os.mkfifo(folder / "pipe.txt")
    os.mknod(folder / "socket.txt", stat.S_IFSOCK | 0o600)
    assert [file.path for file in await run.files()] == ["real.txt"]
    assert await run.search("secret") == []
    for path in ("link.txt", "linked/key.txt", "pipe.txt", "socket.txt", "linked"):
        for attempt in (run.read(path), run.write(path, "x"), run.edit(path, "secret", "x"), run.move(path, "y.txt")):
            with pytest.raises(WorkspaceError):
                await asyncio.wait_for(attempt, 5)
    with pytest.raises(WorkspaceError):
        await run.write("linked/new.txt", "x")
    assert (secret / "key.txt").read_text() == "the secret"
    assert [path.name for path in secret.iterdir()] == ["key.txt"]
    assert await names_in_archive(project) == ["real.txt"]


async def test_names_that_no_path_can_have_are_passed_over(run: RunFiles, project: ProjectFiles, folder: Path) -> None:
    await run.write("real.txt", "real")
    for name in (b"latin\xff.txt", b"what?.txt", b"new\nline.txt", "u\u0308ber.txt".encode(), b"dot."):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_text("real")
    deep = folder.joinpath(*["deep"] * 21)
    deep.mkdir(parents=True)
    (deep / "file.txt").write_text("real")
    assert [file.path for file in await run.files()] == ["real.txt"]
    assert [match.path for match in await run.search("real")] == ["real.txt"]
    assert await names_in_archive(project) == ["real.txt"]


async def names_in_archive(project: ProjectFiles) -> list[str]:
    packed = b"".join([piece async for piece in project.zip()])
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return archive.namelist()


async def test_a_project_folder_that_was_replaced_by_a_link_is_not_followed(
    run: RunFiles, folder: Path, tmp_path: Path
) -> None:
    await run.write("real.txt", "real")
    elsewhere = tmp_path / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    with pytest.raises(WorkspaceError):
        await run.read("real.txt")
    with pytest.raises(WorkspaceError):
        await run.write("new.txt", "x")
    assert await run.files() == []
    assert [path.name for path in elsewhere.iterdir()] == ["real.txt"]
