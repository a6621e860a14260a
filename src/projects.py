"""What a run is given of its project: put together here, from all rooms, when the run begins."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from .agents.context import Context
from .agents.kits import DOCUMENTS, FILES
from .agents.model import Model, ModelError, OpenAIModel
from .agents.toolboxes import Server, Toolboxes
from .knowledge.library import Embedder, EmbeddingError, Library
from .persistence.keyring import Keyring
from .persistence.repositories import Given, Memories, Projects, ToolServers
from .persistence.tables import DEFAULT_PROJECT, MEMORY_LIMIT, Memory
from .runs.journal import Sessions
from .workspace.files import Files

log = logging.getLogger(__name__)

PROBE_LIMIT = 5.0  # seconds
MEMORIES = 50  # that a run is given, the newest


class ProjectContexts:
    """Satisfies `runs.runner.Contexts`."""

    def __init__(
        self, sessions: Sessions, files: Files, library: Library, toolboxes: Toolboxes, keyring: Keyring
    ) -> None:
        self._sessions = sessions
        self._files = files
        self._library = library
        self._toolboxes = toolboxes
        self._keyring = keyring

    @asynccontextmanager
    async def open(self, project_id: UUID, run_id: UUID) -> AsyncGenerator[Context, None]:
        async with self._sessions() as session:
            given = await Projects(session=session).given(project_id) or Given("", 0, 0, 0)
            memories = await self._memories(session, project_id, run_id) if given.memories else []
            found = await ToolServers(session=session).of_project(project_id) if given.servers else []
        files = self._files.of(project_id)
        servers = [Server(server.name, self._keyring.open(server.address)) for server in found]
        offered = [server.name for server in servers]
        # In the default project files are offered once there are any: who only wants to talk is spared seven tools.
        if project_id != DEFAULT_PROJECT or await files.any():
            offered.append(FILES)
        if given.documents:
            offered.append(DOCUMENTS)
        async with self._toolboxes.of(project_id, servers) as toolbox:
            yield Context(
                instructions=given.instructions,
                memories=memories,
                memory=RunMemories(self._sessions, project_id, run_id),
                knowledge=self._library.of(project_id) if given.documents else None,
                workspace=files.for_run(run_id),
                tools=toolbox.tools,
                offered=offered,
                troubles=toolbox.failures,
            )

    async def _memories(self, session: AsyncSession, project_id: UUID, run_id: UUID) -> Sequence[str]:
        """Without its own: a run that goes on after an interruption is given what it was given before."""
        newest = await Memories(session=session).of_project(project_id, MEMORIES)
        return [memory.content for memory in reversed(newest) if memory.run_id != run_id]


class RunMemories:
    """Where a run keeps what later ones should know."""

    def __init__(self, sessions: Sessions, project_id: UUID, run_id: UUID) -> None:
        self._sessions = sessions
        self._project_id = project_id
        self._run_id = run_id

    async def keep(self, content: str) -> None:
        """Once, even if the run goes on after an interruption."""
        memory: dict[str, Any] = {
            "project_id": self._project_id,
            "run_id": self._run_id,
            "content": content[:MEMORY_LIMIT],
        }
        async with self._sessions() as session:
            memories = Memories(session=session)
            if not await memories.exists(**memory):
                await memories.add(Memory(**memory), auto_commit=True)


class ModelEmbedder:
    """Satisfies `knowledge.library.Embedder` with the model's server."""

    def __init__(self, model: OpenAIModel, name: str) -> None:
        self.name = name
        self._model = model

    async def embed(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        try:
            return await self._model.embed(texts, self.name)
        except ModelError as failure:
            raise EmbeddingError(failure.message) from failure


async def embedder_of(model: Model, wanted: str) -> Embedder | None:
    """The wanted embedding model, whether its server is up or not; else one that the server has; None is fine too."""
    if not isinstance(model, OpenAIModel):
        return None
    if wanted:
        return ModelEmbedder(model, wanted)
    try:
        async with asyncio.timeout(PROBE_LIMIT):
            name = await model.embedding_model()
            if name is None:
                return None
            await model.embed(["a probe"], name)
    except (ModelError, TimeoutError) as failure:
        log.info("No embeddings: %s", failure)
        return None
    return ModelEmbedder(model, name)
