"""Projects, their memories, and the teams that there are, for programs."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Struct, UnsetType

from ..agents.teams import DEFAULT
from ..persistence import tables
from ..persistence.repositories import Memories, Projects
from ..runs.runner import Runner
from .finding import found_project
from .memories import SHOWN, found_memory, keep
from .projects import create_project, described


class NewProject(Struct):
    name: str
    instructions: str = ""
    team: str = DEFAULT


class ProjectChange(Struct):
    """What is left out stays as it is."""

    name: str | UnsetType = UNSET
    instructions: str | UnsetType = UNSET
    team: str | UnsetType = UNSET


class Project(Struct):
    id: UUID
    name: str
    instructions: str
    team: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: tables.Project) -> "Project":
        return cls(row.id, row.name, row.instructions, row.team, row.created_at, row.updated_at)


class NewMemory(Struct):
    content: str


class Memory(Struct):
    """`run_id`: the run that told it; null where a person or a program wrote it."""

    id: UUID
    content: str
    run_id: UUID | None
    created_at: datetime

    @classmethod
    def of(cls, row: tables.Memory) -> "Memory":
        return cls(row.id, row.content, row.run_id, row.created_at)


class Team(Struct):
    name: str
    title: str
    description: str


class ProjectsApi(Controller):
    path = "/api/projects"
    tags = ("projects",)

    @get()
    async def index(self, projects: NamedDependency[Projects]) -> list[Project]:
        """The default project first, the others by name."""
        return [Project.of(row) for row in await projects.by_name()]

    @post()
    async def create(
        self, data: JSONBody[NewProject], projects: NamedDependency[Projects], runner: NamedDependency[Runner]
    ) -> Project:
        values = await described(data.name, data.instructions, data.team, runner)
        return Project.of(await create_project(projects, **values))

    @patch("/{project_id:uuid}")
    async def change(
        self,
        project_id: FromPath[UUID],
        data: JSONBody[ProjectChange],
        projects: NamedDependency[Projects],
        runner: NamedDependency[Runner],
    ) -> Project:
        row = await found_project(projects, project_id)
        values = await described(
            row.name if data.name is UNSET else data.name,
            row.instructions if data.instructions is UNSET else data.instructions,
            row.team if data.team is UNSET else data.team,
            runner,
        )
        await projects.change(project_id, **values)
        await projects.session.commit()
        return Project.of(await found_project(projects, project_id))

    @get("/{project_id:uuid}/memories")
    async def memories(
        self, project_id: FromPath[UUID], projects: NamedDependency[Projects], memories: NamedDependency[Memories]
    ) -> list[Memory]:
        """Newest first."""
        await found_project(projects, project_id)
        return [Memory.of(row) for row in await memories.of_project(project_id, SHOWN)]

    @post("/{project_id:uuid}/memories")
    async def remember(
        self,
        project_id: FromPath[UUID],
        data: JSONBody[NewMemory],
        projects: NamedDependency[Projects],
        memories: NamedDependency[Memories],
    ) -> Memory:
        await found_project(projects, project_id)
        return Memory.of(await keep(memories, project_id, data.content))

    @delete("/{project_id:uuid}/memories/{memory_id:uuid}")
    async def forget(
        self,
        project_id: FromPath[UUID],
        memory_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        memories: NamedDependency[Memories],
    ) -> None:
        await found_project(projects, project_id)
        await memories.session.delete(await found_memory(memories, project_id, memory_id))
        await memories.session.commit()


class TeamsApi(Controller):
    path = "/api/teams"
    tags = ("teams",)

    @get()
    async def index(self, runner: NamedDependency[Runner]) -> Sequence[Team]:
        """All that can be asked to work: built-in ones, those of installed packages, and people's own."""
        return [Team(team.name, team.title, team.description) for team in await runner.teams.all()]
