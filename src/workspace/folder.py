"""A folder on the disk from which no path leads out: each step goes from an open folder to the next, over no link."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from uuid import uuid4

from msgspec import Struct

from ..agents.context import WorkspaceError
from .paths import alike, is_path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe that nobody writes to must not hold us
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(Struct, frozen=True):
    """`size` in bytes, `modified` in UTC."""

    path: str
    size: int
    modified: datetime


class Folder:
    """Paths are checked ones. Blocks, so it is for threads. Raises WorkspaceError for what cannot be done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files = root / "files"
        self._objects = root / "objects"
        self._making = root / "making"
        self._intent = root / "intent"

    def prepare(self) -> None:
        for folder in (self._files, self._objects, self._making):
            folder.mkdir(parents=True, exist_ok=True)

    def entries(self, below: str = "") -> list[Entry]:
        """Plain files alone, by path. Links, pipes, devices and what no path can name are passed over."""
        return sorted((entry for entry in self._walk() if is_below(entry.path, below)), key=lambda entry: entry.path)

    def has_entries(self) -> bool:
        return any(self._walk())

    def _walk(self) -> Iterator[Entry]:
        if not self._files.is_dir():
            return
        for top, folders, names, fd in os.fwalk(self._files, follow_symlinks=False):
            place = top[len(str(self._files)) + 1 :]
            # What no path can name is not entered: somebody's tree may be too deep to walk.
            folders[:] = [name for name in folders if is_path(joined(place, name))]
            for name in names:
                with suppress(FileNotFoundError):  # somebody else may be deleting
                    known = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISREG(known.st_mode) and is_path(path := joined(place, name)):
                        yield Entry(path, known.st_size, datetime.fromtimestamp(known.st_mtime, UTC))

    def read(self, path: str, limit: int | None = None) -> bytes | None:
        """None when there is no such file. Raises WorkspaceError when it has more than `limit` bytes."""
        try:
            with self._parent(path) as (parent, name):
                fd = os.open(name, FILE, dir_fd=parent)
        except FileNotFoundError:
            return None
        except OSError as failure:
            raise WorkspaceError(f"{path} is not a file that can be read.") from failure
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise WorkspaceError(f"{path} is not a file that can be read.")
            content = file.read() if limit is None else file.read(limit + 1)
        if limit is not None and len(content) > limit:
            raise WorkspaceError(f"{path} is larger than {limit // 1000:,} kB, which is too large for this.")
        return content

    def stage(self, content: bytes) -> str:
        """Writes a file that only has to be put in its place, which takes no room on the disk. Returns its name."""
        name = uuid4().hex
        self._write(self._making / name, content)
        return name

    def place(self, staged: str, path: str) -> None:
        """The file has the old content or the new one, whatever happens in between. Does nothing a second time."""
        made = self._making / staged
        if made.exists():
            with self._parent(path, make=True) as (parent, name):
                os.replace(made, name, dst_dir_fd=parent)

    def remove(self, path: str) -> None:
        """With the folders that are empty then. Does nothing a second time."""
        with suppress(FileNotFoundError), self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)
        for folder in PurePosixPath(path).parents[:-1]:
            with suppress(OSError), self._parent(str(folder)) as (parent, name):
                os.rmdir(name, dir_fd=parent)

    def check_place(self, path: str) -> None:
        """Raises WorkspaceError for a new path that some system would take for one that is there."""
        fd = os.open(self._files, FOLDER)
        try:
            *folders, name = path.split("/")
            for part in folders:
                if not self._fits(fd, part, path):
                    return
                try:
                    inner = os.open(part, FOLDER, dir_fd=fd)
                except OSError as failure:
                    raise WorkspaceError(f"{part} in {path} is not a folder.") from failure
                os.close(fd)
                fd = inner
            if self._fits(fd, name, path) and stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                raise WorkspaceError(f"{path} is a folder.")
        finally:
            os.close(fd)

    def _fits(self, fd: int, part: str, path: str) -> bool:
        """Whether it is there already, exactly so."""
        names = os.listdir(fd)
        if part in names:
            return True
        if other := next((name for name in names if alike(name) == alike(part)), None):
            raise WorkspaceError(f"{path} differs from what is there only in how {other!r} is written. Use that name.")
        return False

    # Contents of revisions

    def keep(self, content: bytes) -> str:
        """Stores a content under its SHA-256, which is the answer."""
        name = sha256(content).hexdigest()
        kept = self._objects / name
        if not kept.exists():
            os.replace(self._making / self.stage(content), kept)
        return name

    def kept(self, name: str) -> bytes:
        try:
            return (self._objects / name).read_bytes()
        except FileNotFoundError as failure:
            raise WorkspaceError("What the file contained then is not there any more.") from failure

    # What is being done

    def note(self, intent: bytes) -> None:
        os.replace(self._making / self.stage(intent), self._intent)

    def noted(self) -> bytes | None:
        try:
            return self._intent.read_bytes()
        except FileNotFoundError:
            return None

    def forget(self) -> None:
        self._intent.unlink(missing_ok=True)
        for left in self._making.iterdir():
            left.unlink()

    def discard(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    def _write(self, place: Path, content: bytes) -> None:
        with open(os.open(place, NEW, 0o644), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    @contextmanager
    def _parent(self, path: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open folder in which a path's file lies, and the file's name."""
        *folders, name = path.split("/")
        fd = os.open(self._files, FOLDER)
        try:
            for part in folders:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=fd)
                inner = os.open(part, FOLDER, dir_fd=fd)
                os.close(fd)
                fd = inner
            yield fd, name
        finally:
            os.close(fd)


def is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
