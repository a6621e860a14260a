"""What a run is given of its project: put together here, from all rooms, when the run begins."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from .agents.context import Context
from .agents.kits import DOCUMENTS, FILES
from .knowledge.library import Library
from .persistence.repositories import Given, Memories, Projects
from .persistence.tables import DEFAULT_PROJECT, Memory
from .runs.journal import Sessions
from .workspace.files import Files

MEMORIES = 50  # that a run is given, the newest


class ProjectContexts:
    """Satisfies `runs.runner.Contexts`."""

    def __init__(self, sessions: Sessions, files: Files, library: Library) -> None:
        self._sessions = sessions
        self._files = files
        self._library = library

    @asynccontextmanager
    async def open(self, project_id: UUID, run_id: UUID) -> AsyncGenerator[Context, None]:
        async with self._sessions() as session:
            given = await Projects(session=session).given(project_id) or Given("", 0, 0, 0)
            memories = await self._memories(session, project_id) if given.memories else []
        files = self._files.of(project_id)
        offered: list[str] = []
        # In the default project files are offered once there are any: who only wants to talk is spared seven tools.
        if project_id != DEFAULT_PROJECT or await files.any():
            offered.append(FILES)
        if given.documents:
            offered.append(DOCUMENTS)
        yield Context(
            instructions=given.instructions,
            memories=memories,
            memory=RunMemories(self._sessions, project_id, run_id),
            knowledge=self._library.of(project_id) if given.documents else None,
            workspace=files.for_run(run_id),
            offered=offered,
        )

    async def _memories(self, session: AsyncSession, project_id: UUID) -> Sequence[str]:
        newest = await Memories(session=session).of_project(project_id, MEMORIES)
        return [memory.content for memory in reversed(newest)]


class RunMemories:
    """Where a run keeps what later ones should know."""

    def __init__(self, sessions: Sessions, project_id: UUID, run_id: UUID) -> None:
        self._sessions = sessions
        self._project_id = project_id
        self._run_id = run_id

    async def keep(self, content: str) -> None:
        async with self._sessions() as session:
            session.add(Memory(project_id=self._project_id, run_id=self._run_id, content=content))
            await session.commit()
