"""The files of all projects, and what people see of them and do with them."""

import asyncio
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO
from uuid import UUID

from msgspec import Struct

from ..agents.context import Change, WorkspaceError
from ..persistence.tables import Revision
from .folder import Entry
from .paths import checked
from .revisions import Revisions
from .run import RunFiles, missing
from .store import UPLOAD_LIMIT, Sessions, Step, Store, threaded
from .text import TEXT_LIMIT, encoded, hash_of, text_of, with_ends_of

PIECE = 256 * 1024  # bytes of an archive


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

    async def taken_back(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those of the changes that somebody has taken back."""
        async with self._sessions() as session:
            return await Revisions(session=session).taken_back(ids)

    async def revision(self, id: UUID) -> Revision:
        async with self._sessions() as session:
            revision = await Revisions(session=session).get_one_or_none(id=id)
        if revision is None:
            raise WorkspaceError("There is no such change.")
        return revision


class ProjectFiles(Store):
    """As a person works on them."""

    def for_run(self, run_id: UUID) -> RunFiles:
        return RunFiles(self, run_id)

    async def show(self, path: str) -> Shown:
        content = await self.read_bytes(path)
        text = None if len(content) > TEXT_LIMIT else text_of(content)
        return Shown(checked(path), len(content), hash_of(content), text)

    async def read_bytes(self, path: str) -> bytes:
        content = await self.content(checked(path))
        if content is None:
            raise missing(path)
        return content

    async def zip(self) -> AsyncIterator[bytes]:
        """All files as one archive, piece by piece."""
        entries = await self.list()
        with await threaded(self._pack, entries) as packed:
            while piece := await asyncio.to_thread(packed.read, PIECE):
                yield piece

    def _pack(self, entries: Sequence[Entry]) -> BinaryIO:
        packed: BinaryIO = TemporaryFile(dir=self._folder.root)  # noqa: SIM115
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry in entries:
                if (content := self._folder.read(entry.path)) is not None:
                    archive.writestr(entry.path, content)
        packed.seek(0)
        return packed

    async def upload(self, path: str, pieces: AsyncIterator[bytes]) -> Sequence[Change]:
        path, content = checked(path), bytearray()
        async for piece in pieces:
            content += piece
            if len(content) > UPLOAD_LIMIT:
                raise WorkspaceError(f"{path} is larger than {UPLOAD_LIMIT // 1_000_000} MB, which is too large.")
        async with self.changing():
            return await self.change([Step(path, await self.content(path), bytes(content))])

    async def save(self, path: str, text: str, base: str | None = None) -> Sequence[Change]:
        """`base`: the SHA-256 of what the person began with; None: the file shall be new."""
        path = checked(path)
        async with self.changing():
            before = await self.content(path)
            if base is None and before is not None:
                raise WorkspaceError(f"There is already a file {path}.")
            if base is not None and (before is None or hash_of(before) != base):
                raise WorkspaceError(f"{path} was changed meanwhile. Look at what it is now; what you wrote is below.")
            # A browser sends lines that all end alike, whatever the file has.
            text = with_ends_of(text_of(before or b"") or text, text)
            return await self.change([Step(path, before, encoded(path, text))])

    async def delete(self, path: str) -> Sequence[Change]:
        path = checked(path)
        async with self.changing():
            before = await self.content(path)
            if before is None:
                raise missing(path)
            return await self.change([Step(path, before, None)])

    async def history(self, limit: int, path: str | None = None) -> Sequence[Revision]:
        async with self._sessions() as session:
            return await Revisions(session=session).newest(self._project_id, limit, path and checked(path))

    async def revert(self, revision_id: UUID) -> Sequence[Change]:
        """Takes one change back, as a change of its own, unless the file was changed again since."""
        async with self.changing():
            async with self._sessions() as session:
                revision = await Revisions(session=session).get_one_or_none(id=revision_id, project_id=self._project_id)
            if revision is None:
                raise WorkspaceError("There is no such change.")
            now = await self.content(revision.path)
            if (None if now is None else hash_of(now)) != revision.after:
                raise WorkspaceError(
                    f"{revision.path} was changed again since. Take the later changes back first, or edit it by hand."
                )
            before = None if revision.before is None else await threaded(self._folder.kept, revision.before)
            return await self.change([Step(revision.path, now, before)])
