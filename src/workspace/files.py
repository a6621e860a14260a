"""A project's files with all their past: what people and agents see of them and do with them.

A change is written in this order, so that a killed process loses nothing and invents nothing: the contents before and
after, an intent beside the files, the revision in the database, the file itself. Whoever changes the files next finds
the intent: if the revision is in the database the change is carried out, otherwise it never was.
"""

import asyncio
import json
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Literal, ParamSpec, TypeVar
from uuid import UUID

from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..agents.context import Change, File, Match, WorkspaceError
from ..persistence.tables import Revision
from .diffs import diff_of
from .folder import Entry, Folder
from .paths import checked
from .revisions import Revisions

TEXT_LIMIT = 1_000_000  # bytes of a file that is read or written as text
UPLOAD_LIMIT = 20_000_000  # bytes
MOST_FILES = 2_000
MOST_BYTES = 200_000_000  # of all files of a project
MOST_MATCHES = 200
LONGEST_MATCH = 300  # characters of a line
PIECE = 256 * 1024  # bytes of a download

Sessions = Callable[[], AsyncSession]
Kind = Literal["created", "modified", "deleted"]
P = ParamSpec("P")
T = TypeVar("T")


class Step(Struct, frozen=True):
    """One file's way from a content to another; None: there is no file."""

    path: str
    before: bytes | None
    after: bytes | None

    @property
    def change(self) -> Kind:
        if self.before is None:
            return "created"
        return "modified" if self.after is not None else "deleted"


class Shown(Struct, frozen=True):
    """`text` is None where the file is not text, or too large for it."""

    path: str
    size: int
    sha256: str
    text: str | None


class Files:
    """The files of all projects, each project's in a folder of its own below `root`."""

    def __init__(self, root: Path, sessions: Sessions) -> None:
        self._root = root
        self._sessions = sessions
        self._projects: dict[UUID, ProjectFiles] = {}

    def of(self, project_id: UUID) -> "ProjectFiles":
        if project_id not in self._projects:
            self._projects[project_id] = ProjectFiles(self._root / str(project_id), project_id, self._sessions)
        return self._projects[project_id]

    async def discard(self, project_id: UUID) -> None:
        """All files of a project and all their past, for good."""
        await self.of(project_id).discard()
        del self._projects[project_id]

    async def revision(self, id: UUID) -> Revision:
        async with self._sessions() as session:
            revision = await Revisions(session=session).get_one_or_none(id=id)
        if revision is None:
            raise WorkspaceError("There is no such change.")
        return revision


class ProjectFiles:
    """As a person works on them. One change at a time; everything raises WorkspaceError."""

    def __init__(self, root: Path, project_id: UUID, sessions: Sessions) -> None:
        self._folder = Folder(root)
        self._project_id = project_id
        self._sessions = sessions
        self._opened = False
        self._opening = asyncio.Lock()
        self._unsettled = False
        self.lock = asyncio.Lock()

    def for_run(self, run_id: UUID) -> "RunFiles":
        return RunFiles(self, run_id)

    # Looking

    async def any(self) -> bool:
        return bool(await self.list())

    async def list(self, folder: str = "") -> Sequence[Entry]:
        below = checked(folder.rstrip("/")) if folder.strip("/.") else ""
        return await self._on_disk(self._folder.entries, below)

    async def show(self, path: str) -> Shown:
        content = await self.read_bytes(path)
        text = None if len(content) > TEXT_LIMIT else text_of(content)
        return Shown(checked(path), len(content), hash_of(content), text)

    async def read_bytes(self, path: str) -> bytes:
        content = await self.content(checked(path))
        if content is None:
            raise missing(path)
        return content

    async def content(self, path: str, limit: int | None = None) -> bytes | None:
        return await self._on_disk(self._folder.read, path, limit)

    async def search(self, text: str, folder: str = "") -> Sequence[Match]:
        if not text:
            raise WorkspaceError("Say what to look for.")
        return await self._on_disk(self._matches, text.casefold(), await self.list(folder))

    def _matches(self, text: str, entries: Sequence[Entry]) -> Sequence[Match]:
        found: list[Match] = []
        for entry in entries:
            content = self._folder.read(entry.path) if entry.size <= TEXT_LIMIT else None
            for number, line in enumerate((text_of(content or b"") or "").splitlines(), 1):
                if text in line.casefold():
                    found.append(Match(entry.path, number, line.strip()[:LONGEST_MATCH]))
                    if len(found) == MOST_MATCHES:
                        return found
        return found

    async def zip(self) -> AsyncIterator[bytes]:
        """All files as one archive, piece by piece."""
        entries = await self.list()
        with await asyncio.to_thread(self._pack, entries) as packed:
            while piece := await asyncio.to_thread(packed.read, PIECE):
                yield piece

    def _pack(self, entries: Sequence[Entry]) -> BinaryIO:
        packed: BinaryIO = TemporaryFile()  # noqa: SIM115
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry in entries:
                if (content := self._folder.read(entry.path)) is not None:
                    archive.writestr(entry.path, content)
        packed.seek(0)
        return packed

    async def discard(self) -> None:
        async with self.lock:
            await self._threaded(self._folder.discard)
            self._opened = False

    # Changing

    async def upload(self, path: str, pieces: AsyncIterator[bytes]) -> Sequence[Change]:
        path, content = checked(path), bytearray()
        async for piece in pieces:
            content += piece
            if len(content) > UPLOAD_LIMIT:
                raise WorkspaceError(f"{path} is larger than {UPLOAD_LIMIT // 1_000_000} MB, which is too large.")
        async with self.lock:
            return await self.change([Step(path, await self.content(path), bytes(content))])

    async def save(self, path: str, content: str, base: str | None = None) -> Sequence[Change]:
        """`base`: the SHA-256 of what the person began with; None: the file shall be new."""
        path, written = checked(path), encoded(path, content)
        async with self.lock:
            before = await self.content(path)
            if base is None and before is not None:
                raise WorkspaceError(f"There is already a file {path}.")
            if base is not None and (before is None or hash_of(before) != base):
                raise WorkspaceError(f"{path} was changed meanwhile. Look at what it is now; what you wrote is below.")
            return await self.change([Step(path, before, written)])

    async def delete(self, path: str) -> Sequence[Change]:
        path = checked(path)
        async with self.lock:
            before = await self.content(path)
            if before is None:
                raise missing(path)
            return await self.change([Step(path, before, None)])

    async def history(self, limit: int, path: str | None = None) -> Sequence[Revision]:
        async with self._sessions() as session:
            return await Revisions(session=session).newest(self._project_id, limit, path)

    async def revert(self, revision_id: UUID) -> Sequence[Change]:
        """Takes one change back, as a change of its own, unless the file was changed again since."""
        async with self.lock:
            async with self._sessions() as session:
                revision = await Revisions(session=session).get_one_or_none(id=revision_id, project_id=self._project_id)
            if revision is None:
                raise WorkspaceError("There is no such change.")
            now = await self.content(revision.path)
            if (None if now is None else hash_of(now)) != revision.after:
                raise WorkspaceError(
                    f"{revision.path} was changed again since. Take the later changes back first, or edit it by hand."
                )
            before = None if revision.before is None else await self._on_disk(self._folder.kept, revision.before)
            return await self.change([Step(revision.path, now, before)])

    async def change(self, steps: Sequence[Step], run_id: UUID | None = None, author: str = "") -> Sequence[Change]:
        """All of the steps or none. For who holds the lock."""
        steps = [step for step in steps if step.before != step.after]
        if not steps:
            return []
        if self._unsettled:
            await self._settle()
        await self._on_disk(self._check_room, steps)
        revisions = [await self._on_disk(self._prepared, step, run_id, author) for step in steps]
        intent = {str(row.id): [row.path, row.after] for row in revisions}
        await self._on_disk(self._folder.note, json.dumps(intent))
        self._unsettled = True
        try:
            async with self._sessions() as session:
                session.add_all(revisions)
                await session.commit()
            await self._settle()
        except (SQLAlchemyError, OSError) as failure:
            raise WorkspaceError("The database cannot be reached, so the files are left as they are.") from failure
        return [Change(step.path, step.change, row.diff, row.id) for step, row in zip(steps, revisions, strict=True)]

    def _check_room(self, steps: Sequence[Step]) -> None:
        entries = self._folder.entries()
        count, size = len(entries), sum(entry.size for entry in entries)
        for step in steps:
            if step.before is None:
                self._folder.check_place(step.path)
            count += (step.before is None) - (step.after is None)
            size += len(step.after or b"") - len(step.before or b"")
        if count > max(MOST_FILES, len(entries)):
            raise WorkspaceError(f"The project has {len(entries):,} files already; {MOST_FILES:,} at most.")
        if size > MOST_BYTES:
            raise WorkspaceError(f"The project's files would take more than {MOST_BYTES // 1_000_000} MB.")

    def _prepared(self, step: Step, run_id: UUID | None, author: str) -> Revision:
        before, after = map(self._kept, (step.before, step.after))
        old, new = map(text_of, (step.before or b"", step.after or b""))
        diff = ""
        if old is not None and new is not None:
            diff = diff_of(step.path, None if before is None else old, None if after is None else new)
        return Revision(
            id=uuid7(),
            project_id=self._project_id,
            run_id=run_id,
            author=author,
            path=step.path,
            change=step.change,
            before=before,
            after=after,
            diff=diff,
        )

    def _kept(self, content: bytes | None) -> str | None:
        return None if content is None else self._folder.keep(content)

    # Settling what a killed process, or a lost database, left open

    async def _settle(self) -> None:
        intent = await self._threaded(self._folder.noted)
        for revision_id, (path, after) in json.loads(intent or "{}").items():
            async with self._sessions() as session:
                is_saved = await Revisions(session=session).exists(id=UUID(revision_id))
            if is_saved:
                await self._threaded(self._carry_out, path, after)
        await self._threaded(self._folder.forget)
        self._unsettled = False

    def _carry_out(self, path: str, after: str | None) -> None:
        if after is None:
            self._folder.remove(path)
        else:
            self._folder.put(path, self._folder.kept(after))

    async def _on_disk(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._opening:
            if not self._opened:
                await self._threaded(self._folder.prepare)
                await self._settle()
                self._opened = True
        return await self._threaded(function, *args, **kwargs)

    async def _threaded(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(function, *args, **kwargs)
        except OSError as failure:
            raise WorkspaceError(f"The project's files cannot be used: {failure.strerror or failure}.") from failure


class RunFiles:
    """As the agents of one run work on them. What the run has seen of a file is what it may change."""

    def __init__(self, files: ProjectFiles, run_id: UUID, author: str = "", seen: dict[str, str] | None = None) -> None:
        self._files = files
        self._run_id = run_id
        self._author = author
        self._seen = {} if seen is None else seen

    def by(self, author: str) -> "RunFiles":
        return RunFiles(self._files, self._run_id, author, self._seen)

    async def files(self, folder: str = "") -> Sequence[File]:
        return [File(entry.path, entry.size) for entry in await self._files.list(folder)]

    async def read(self, path: str) -> str:
        path = checked(path)
        content = await self._files.content(path, TEXT_LIMIT)
        if content is None:
            raise missing(path)
        text = text_of(content)
        if text is None:
            raise WorkspaceError(f"{path} is a binary file ({len(content) // 1000 + 1} kB) and cannot be read as text.")
        self._seen[path] = hash_of(content)
        return text

    async def search(self, text: str, folder: str = "") -> Sequence[Match]:
        return await self._files.search(text, folder)

    async def write(self, path: str, content: str) -> Sequence[Change]:
        path, written = checked(path), encoded(path, content)
        async with self._files.lock:
            return await self._change(Step(path, await self._known(path), written))

    async def edit(self, path: str, old: str, new: str) -> Sequence[Change]:
        path = checked(path)
        if not old:
            raise WorkspaceError("The text to replace is empty. To write a whole file, use write_file.")
        async with self._files.lock:
            before = await self._known(path)
            if before is None:
                raise missing(path)
            text = text_of(before)
            if text is None:
                raise WorkspaceError(f"{path} is a binary file and cannot be edited.")
            ends = "\r\n" if "\r\n" in text else "\n"
            old, new = (said.replace("\r\n", "\n").replace("\n", ends) for said in (old, new))
            if (count := text.count(old)) != 1:
                raise WorkspaceError(not_once(path, text, old, count))
            return await self._change(Step(path, before, encoded(path, text.replace(old, new))))

    async def move(self, path: str, to: str) -> Sequence[Change]:
        path, to = checked(path), checked(to)
        async with self._files.lock:
            content = await self._known(path, unread=True)
            if content is None:
                raise missing(path)
            if await self._files.content(to) is not None:
                raise WorkspaceError(f"There is already a file {to}.")
            return await self._change(Step(to, None, content), Step(path, content, None))

    async def delete(self, path: str) -> Sequence[Change]:
        path = checked(path)
        async with self._files.lock:
            content = await self._known(path)
            if content is None:
                raise missing(path)
            return await self._change(Step(path, content, None))

    async def _known(self, path: str, unread: bool = False) -> bytes | None:
        """The content as this run knows it. Raises WorkspaceError when the run has to read it first, or again."""
        content = await self._files.content(path)
        seen = self._seen.get(path)
        if content is None and seen is not None:
            del self._seen[path]
            raise WorkspaceError(f"{path} was deleted by somebody else since it was read.")
        if content is not None and seen is None and not unread and text_of(content) is not None:
            raise WorkspaceError(f"{path} exists and has not been read yet. Read it before you change it.")
        if content is not None and seen is not None and seen != hash_of(content):
            del self._seen[path]
            raise WorkspaceError(
                f"{path} was changed by somebody else since it was read. Read it again before you change it."
            )
        return content

    async def _change(self, *steps: Step) -> Sequence[Change]:
        changes = await self._files.change(steps, self._run_id, self._author)
        for step in steps:
            if step.after is None:
                self._seen.pop(step.path, None)
            else:
                self._seen[step.path] = hash_of(step.after)
        return changes


def missing(path: str) -> WorkspaceError:
    return WorkspaceError(f"There is no file {path}.")


def not_once(path: str, text: str, old: str, count: int) -> str:
    if count:
        return f"The text stands {count} times in {path}. Give more of what is around it, so that it is found once."
    if "".join(old.split()) in "".join(text.split()):
        return f"{path} has the text with other spaces or line breaks only. Read it again and copy it exactly."
    return f"The text does not stand in {path}. Read the file and copy the text exactly."


def text_of(content: bytes) -> str | None:
    """None for what is not text: with a NUL, or not in UTF-8."""
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def encoded(path: str, content: str) -> bytes:
    try:
        written = content.encode()
    except UnicodeEncodeError as failure:
        raise WorkspaceError("The content has characters that cannot be saved.") from failure
    if b"\0" in written:
        raise WorkspaceError("The content has a NUL character, so it is not text.")
    if len(written) > TEXT_LIMIT:
        raise WorkspaceError(f"{path} would have {len(written):,} bytes; {TEXT_LIMIT:,} at most.")
    return written


def hash_of(content: bytes) -> str:
    return sha256(content).hexdigest()
