"""A project's files as the agents of one run work on them: only what the run has seen may it change."""

from collections.abc import Sequence
from uuid import UUID

from ..agents.context import Change, File, Match, WorkspaceError
from .paths import checked
from .store import Step, Store
from .text import TEXT_LIMIT, encoded, hash_of, text_of, with_ends_of


class RunFiles:
    """Satisfies `agents.context.Workspace`."""

    def __init__(self, store: Store, run_id: UUID, author: str = "", seen: dict[str, str] | None = None) -> None:
        self._store = store
        self._run_id = run_id
        self._author = author
        self._seen = {} if seen is None else seen  # the SHA-256 of each file as the run last saw it

    def by(self, author: str) -> "RunFiles":
        return RunFiles(self._store, self._run_id, author, self._seen)

    async def made(self) -> Sequence[tuple[str, Change]]:
        return await self._store.made_by(self._run_id)

    async def files(self, folder: str = "") -> Sequence[File]:
        return [File(entry.path, entry.size) for entry in await self._store.list(folder)]

    async def read(self, path: str) -> str:
        path = checked(path)
        content = await self._store.content(path)
        if content is None:
            raise missing(path)
        # What cannot be read as text has been seen too: otherwise an agent could never delete it.
        self._seen[path] = hash_of(content)
        return readable(path, content)

    async def search(self, text: str, folder: str = "") -> Sequence[Match]:
        return await self._store.search(text, folder)

    async def write(self, path: str, content: str) -> Sequence[Change]:
        path, written = checked(path), encoded(path, content)
        async with self._store.changing():
            return await self._change(Step(path, await self._known(path), written))

    async def edit(self, path: str, old: str, new: str) -> Sequence[Change]:
        path = checked(path)
        if not old:
            raise WorkspaceError("The text to replace is empty. To write a whole file, use write_file.")
        async with self._store.changing():
            before = await self._known(path)
            if before is None:
                raise missing(path)
            text = replaced(path, readable(path, before), old, new)
            return await self._change(Step(path, before, encoded(path, text)))

    async def move(self, path: str, to: str) -> Sequence[Change]:
        path, to = checked(path), checked(to)
        async with self._store.changing():
            content = await self._unchanged(path)
            if content is None:
                raise missing(path)
            if await self._store.content(to) is not None:
                raise WorkspaceError(f"There is already a file {to}.")
            was_seen = path in self._seen
            changes = await self._change(Step(to, None, content), Step(path, content, None))
            if not was_seen:
                del self._seen[to]
            return changes

    async def delete(self, path: str) -> Sequence[Change]:
        path = checked(path)
        async with self._store.changing():
            content = await self._known(path)
            if content is None:
                raise missing(path)
            return await self._change(Step(path, content, None))

    async def _known(self, path: str) -> bytes | None:
        """The content as this run knows it. Raises WorkspaceError when the run has to read it first, or again."""
        content = await self._unchanged(path)
        if content is not None and path not in self._seen:
            raise WorkspaceError(f"{path} exists and has not been read yet. Read it before you change it.")
        return content

    async def _unchanged(self, path: str) -> bytes | None:
        """The content. Raises WorkspaceError when it is not any more what the run has seen, if it has seen it."""
        content = await self._store.content(path)
        if path not in self._seen or (content is not None and self._seen[path] == hash_of(content)):
            return content
        del self._seen[path]
        if content is None:
            raise WorkspaceError(f"{path} was deleted by somebody else since it was read.")
        raise WorkspaceError(
            f"{path} was changed by somebody else since it was read. Read it again before you change it."
        )

    async def _change(self, *steps: Step) -> Sequence[Change]:
        changes = await self._store.change(steps, self._run_id, self._author)
        for step in steps:
            if step.after is None:
                self._seen.pop(step.path, None)
            else:
                self._seen[step.path] = hash_of(step.after)
        return changes


def readable(path: str, content: bytes) -> str:
    text = text_of(content)
    size = f"{len(content) // 1000 + 1:,} kB"
    if text is None:
        raise WorkspaceError(f"{path} is a binary file ({size}) and cannot be read as text.")
    if len(content) > TEXT_LIMIT:
        raise WorkspaceError(f"{path} is too large to be read ({size}; {TEXT_LIMIT // 1000:,} kB at most).")
    return text


def replaced(path: str, text: str, old: str, new: str) -> str:
    if old not in text:
        old = with_ends_of(text, old)
    first = text.find(old)
    if first < 0:
        raise WorkspaceError(not_found(path, text, old))
    if text.rfind(old) != first:
        raise WorkspaceError(
            f"The text stands {max(2, text.count(old))} times in {path}."
            " Give more of what is around it, so that it is found once."
        )
    return f"{text[:first]}{with_ends_of(text, new)}{text[first + len(old) :]}"


def not_found(path: str, text: str, old: str) -> str:
    if "".join(old.split()) in "".join(text.split()):
        return f"{path} has the text with other spaces or line breaks only. Read it again and copy it exactly."
    return f"The text does not stand in {path}. Read the file and copy the text exactly."


def missing(path: str) -> WorkspaceError:
    return WorkspaceError(f"There is no file {path}.")
