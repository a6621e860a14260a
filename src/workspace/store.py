"""One project's files with their revisions: looked at by anybody, changed by one at a time, never half.

A change is written in this order, so that a killed process loses nothing and invents nothing: the contents before and
after, the new file, an intent, the revision in the database; then the new file is put in its place, which takes no room
on the disk. Whoever changes the files next finds the intent: if the revision is in the database the change is carried
out, otherwise it never was.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Literal, ParamSpec, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct, convert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from ..agents.context import Change, Match, WorkspaceError
from ..persistence.tables import Revision
from ..tasks import to_the_end
from .diffs import diff_of
from .folder import Entry, Folder
from .paths import checked
from .revisions import Revisions
from .text import TEXT_LIMIT, text_of

UPLOAD_LIMIT = 20_000_000  # bytes, of any file
MOST_FILES = 2_000
MOST_BYTES = 200_000_000  # of all files of a project
MOST_MATCHES = 200
LONGEST_MATCH = 300  # characters of a line
LONGEST_SEARCH = 5.0  # seconds; a thread that searches cannot be stopped from outside
LONGEST_AUTHOR = 100  # characters

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


class Intent(Struct, frozen=True):
    """What is done once the revision is saved. `staged` is put in the path's place; None: the path is removed."""

    revision_id: UUID
    path: str
    staged: str | None


class Store:
    """Everything raises WorkspaceError."""

    def __init__(self, root: Path, project_id: UUID, sessions: Sessions) -> None:
        self._folder = Folder(root)
        self._project_id = project_id
        self._sessions = sessions
        self._changing = asyncio.Lock()
        self._is_open = False
        self._is_settled = False

    # Looking

    async def any(self) -> bool:
        return await self._on_disk(self._folder.has_entries)

    async def list(self, folder: str = "") -> Sequence[Entry]:
        below = checked(folder.rstrip("/")) if folder.strip("/.") else ""
        return await self._on_disk(self._folder.entries, below)

    async def content(self, path: str, limit: int = UPLOAD_LIMIT) -> bytes | None:
        return await self._on_disk(self._folder.read, path, limit)

    async def made_by(self, run_id: UUID) -> Sequence[tuple[str, Change]]:
        """What a run has changed, and who signed it, oldest first."""
        async with self._sessions() as session:
            made = await Revisions(session=session).of_run(run_id)
        return [(one.author, Change(one.path, convert(one.change, Kind), one.diff, one.id)) for one in made]

    async def search(self, text: str, folder: str = "") -> Sequence[Match]:
        if not text:
            raise WorkspaceError("Say what to look for.")
        return await self._on_disk(self._matches, text.casefold(), await self.list(folder))

    def _matches(self, text: str, entries: Sequence[Entry]) -> Sequence[Match]:
        found: list[Match] = []
        end = monotonic() + LONGEST_SEARCH
        for entry in entries:
            for number, line in enumerate(self._lines(entry, text), 1):
                if text in line.casefold():
                    found.append(Match(entry.path, number, line.strip()[:LONGEST_MATCH]))
                    if len(found) == MOST_MATCHES:
                        return found
            if monotonic() > end:
                raise WorkspaceError("Searching all these files takes too long. Search below one folder.")
        return found

    def _lines(self, entry: Entry, text: str) -> Sequence[str]:
        """Of a file that is text and has the text somewhere."""
        content: bytes | None = None
        with suppress(WorkspaceError):
            content = self._folder.read(entry.path, TEXT_LIMIT)
        whole = text_of(content or b"") or ""
        return whole.splitlines() if text in whole.casefold() else []

    # Changing

    @asynccontextmanager
    async def changing(self) -> AsyncGenerator[None, None]:
        """For one at a time, and not before all is settled: what is read in here stays so until it is changed."""
        async with self._changing:
            if not self._is_settled:
                await to_the_end(self._settle())
            yield

    async def discard(self) -> None:
        async with self._changing:
            self._is_open = self._is_settled = False
            await to_the_end(threaded(self._folder.discard))

    async def change(self, steps: Sequence[Step], run_id: UUID | None = None, author: str = "") -> Sequence[Change]:
        """All of the steps or none. Belongs into `changing`."""
        steps = [step for step in steps if step.before != step.after]
        return await to_the_end(self._change(steps, run_id, author[:LONGEST_AUTHOR])) if steps else []

    async def _change(self, steps: Sequence[Step], run_id: UUID | None, author: str) -> Sequence[Change]:
        self._is_settled = False
        await threaded(self._check_room, steps)
        revisions = [await threaded(self._revised, step, run_id, author) for step in steps]
        intents = await threaded(self._intended, steps, revisions)
        with reaching_database():
            async with self._sessions() as session:
                session.add_all(revisions)
                await session.commit()
        await threaded(self._carry_out, intents)
        self._is_settled = True
        return [Change(step.path, step.change, row.diff, row.id) for step, row in zip(steps, revisions, strict=True)]

    def _check_room(self, steps: Sequence[Step]) -> None:
        entries = self._folder.entries()
        count, size = len(entries), sum(entry.size for entry in entries)
        more, larger = 0, 0
        for step in steps:
            if step.before is None:
                self._folder.check_place(step.path)
            more += (step.before is None) - (step.after is None)
            larger += len(step.after or b"") - len(step.before or b"")
        if more > 0 and count + more > MOST_FILES:
            raise WorkspaceError(f"The project has {count:,} files already; {MOST_FILES:,} at most.")
        if larger > 0 and size + larger > MOST_BYTES:
            raise WorkspaceError(f"The project's files would take more than {MOST_BYTES // 1_000_000} MB.")

    def _revised(self, step: Step, run_id: UUID | None, author: str) -> Revision:
        before, after = map(self._kept, (step.before, step.after))
        old, new = (text_of(content or b"") for content in (step.before, step.after))
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

    def _intended(self, steps: Sequence[Step], revisions: Sequence[Revision]) -> Sequence[Intent]:
        intents = [
            Intent(revision.id, step.path, None if step.after is None else self._folder.stage(step.after))
            for step, revision in zip(steps, revisions, strict=True)
        ]
        self._folder.note(msgspec.json.encode(intents))
        return intents

    def _carry_out(self, intents: Sequence[Intent]) -> None:
        for intent in intents:
            if intent.staged is None:
                self._folder.remove(intent.path)
            else:
                self._folder.place(intent.staged, intent.path)
        self._folder.forget()

    async def _settle(self) -> None:
        """Finishes what a killed process, a lost database or a full disk left open."""
        await threaded(self._folder.prepare)
        noted = await threaded(self._folder.noted)
        intents = msgspec.json.decode(noted, type=list[Intent]) if noted else []
        await threaded(self._carry_out, intents if await self._are_saved(intents) else [])
        self._is_open = self._is_settled = True

    async def _are_saved(self, intents: Sequence[Intent]) -> bool:
        """One transaction saves them all, so that one stands for all."""
        if not intents:
            return True
        with reaching_database():
            async with self._sessions() as session:
                return await Revisions(session=session).exists(id=intents[0].revision_id)

    async def _on_disk(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._is_open:
            async with self.changing():
                pass
        return await threaded(function, *args, **kwargs)


async def threaded(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(function, *args, **kwargs)
    except OSError as failure:
        raise WorkspaceError(f"The project's files cannot be used: {failure.strerror or failure}.") from failure


@contextmanager
def reaching_database() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, OSError) as failure:
        raise WorkspaceError("The database cannot be reached, so no file can be changed now.") from failure
