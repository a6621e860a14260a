"""What agents are given of a project, as protocols: its instructions, memories, knowledge, files and further tools."""

from collections.abc import Sequence
from typing import Literal, Protocol
from uuid import UUID

from msgspec import Struct

from .tools import Tool


class Passage(Struct, frozen=True):
    """A piece of a document. `address` is where a person can read it; `heading` the headings above it."""

    id: int
    document: str
    heading: str
    text: str
    address: str


class Knowledge(Protocol):
    async def search(self, query: str, limit: int = 6) -> Sequence[Passage]:
        """The passages that fit best, best first. Any text is a query."""
        ...


class File(Struct, frozen=True):
    """`path` is relative to the project's files, with `/`. `size` is in bytes."""

    path: str
    size: int


class Match(Struct, frozen=True):
    """`line` counts from 1."""

    path: str
    line: int
    text: str


class Change(Struct, frozen=True):
    path: str
    change: Literal["created", "modified", "deleted"]
    diff: str
    revision_id: UUID


class WorkspaceError(Exception):
    """Why something could not be done with a project's files: a sentence that an agent and a person can act on."""


class Workspace(Protocol):
    """A project's files, as one run works on them. Everything raises WorkspaceError.

    It remembers what the run has seen of each file; a change to a file that has become another since is refused.
    """

    def by(self, author: str) -> "Workspace":
        """The same, with what the run has seen; changes are signed by this agent."""
        ...

    async def made(self) -> Sequence[tuple[str, Change]]:
        """What this run has changed so far, and who signed it, oldest first."""
        ...

    async def files(self, folder: str = "") -> Sequence[File]:
        """All files below a folder, by path."""
        ...

    async def read(self, path: str) -> str: ...

    async def search(self, text: str, folder: str = "") -> Sequence[Match]:
        """Lines that contain the text, in whatever case; 200 at most."""
        ...

    async def write(self, path: str, content: str) -> Sequence[Change]:
        """Makes a file, or gives it another content. No change if it has that content."""
        ...

    async def edit(self, path: str, old: str, new: str) -> Sequence[Change]:
        """Replaces a text that stands exactly once in a file."""
        ...

    async def move(self, path: str, to: str) -> Sequence[Change]: ...

    async def delete(self, path: str) -> Sequence[Change]: ...


class Memories(Protocol):
    async def keep(self, content: str) -> None: ...


class Context(Struct, frozen=True):
    """What a run is given. Without a project there is nothing in it.

    `offered` names the kits (`files`, `documents`, tool servers) that an agent is given for whatever comes up.
    `troubles` are sentences on what could not be had, such as a tool server that did not start.
    """

    instructions: str = ""
    memories: Sequence[str] = ()
    memory: Memories | None = None
    knowledge: Knowledge | None = None
    workspace: Workspace | None = None
    tools: Sequence[Tool] = ()
    offered: Sequence[str] = ()
    troubles: Sequence[str] = ()
