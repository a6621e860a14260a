"""Projects, their memories, and the teams that there are, for programs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from ..accounts.person import Person
from ..agents.teams import DEFAULT
from ..errors import Full
from ..persistence import tables
from ..persistence.repositories import Memories, Projects
from ..persistence.tables import MEMORY_LIMIT
from ..runs.runner import Runner
from .finding import found_project
from .memories import SHOWN, found_memory, keep
from .openapi import SOMETHING, Body, errors
from .projects import INSTRUCTIONS_LIMIT, NAME_LIMIT, create_project, described

ProjectId = Annotated[UUID, PathParameter(description="A project's `id`.")]
MemoryId = Annotated[UUID, PathParameter(description="A memory's `id`.")]
Name = Annotated[str, Meta(max_length=NAME_LIMIT, description="One line.", extra_json_schema=SOMETHING)]
Instructions = Annotated[str, Meta(max_length=INSTRUCTIONS_LIMIT, description="What all agents are told.")]
TeamName = Annotated[str, Meta(description="The `name` of one of the teams, for new conversations.")]


class NewProject(Body):
    """A project's name, and how those who work in it are to work."""

    name: Name
    instructions: Instructions = ""
    team: TeamName = DEFAULT


class ProjectChange(Body):
    """What is left out stays as it is."""

    name: Name | UnsetType = UNSET
    instructions: Instructions | UnsetType = UNSET
    team: TeamName | UnsetType = UNSET


class Project(Struct):
    """What conversations have in common. `team` is the one for new conversations."""

    id: UUID
    name: str
    instructions: str
    team: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: tables.Project) -> "Project":
        return cls(row.id, row.name, row.instructions, row.team, row.created_at, row.updated_at)


class NewMemory(Body):
    """What is to be remembered."""

    content: Annotated[str, Meta(max_length=MEMORY_LIMIT, extra_json_schema=SOMETHING)]


class Memory(Struct):
    """What all agents of a project are told. `run_id` is the run that found it, null where it was written down."""

    id: UUID
    content: str
    run_id: UUID | None
    created_at: datetime

    @classmethod
    def of(cls, row: tables.Memory) -> "Memory":
        return cls(row.id, row.content, row.run_id, row.created_at)


class Team(Struct):
    """Who can be asked to work. `name` is for programs, `title` for people."""

    name: str
    title: str
    description: str


class ProjectsApi(Controller):
    path = "/api/projects"
    tags = ("projects",)

    @get()
    async def list_projects(
        self, projects: NamedDependency[Projects], person: NamedDependency[Person]
    ) -> list[Project]:
        """Lists projects. The default project first, the others by name."""
        return [Project.of(row) for row in await projects.by_name(person.home_id)]

    @post()
    async def create_project(
        self,
        data: JSONBody[NewProject],
        projects: NamedDependency[Projects],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Project:
        """Makes a project."""
        values = await described(data.name, data.instructions, data.team, runner, person)
        return Project.of(await create_project(projects, person, **values))

    @patch("/{project_id:uuid}")
    async def change_project(
        self,
        project_id: ProjectId,
        data: JSONBody[ProjectChange],
        projects: NamedDependency[Projects],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Project:
        """Changes what is given of a project."""
        row = await found_project(projects, project_id)
        values = await described(
            row.name if data.name is UNSET else data.name,
            row.instructions if data.instructions is UNSET else data.instructions,
            row.team if data.team is UNSET else data.team,
            runner,
            person,
        )
        await projects.change(project_id, **values)
        await projects.session.commit()
        return Project.of(await found_project(projects, project_id))

    @get("/{project_id:uuid}/memories")
    async def list_memories(
        self, project_id: ProjectId, projects: NamedDependency[Projects], memories: NamedDependency[Memories]
    ) -> list[Memory]:
        """Lists a project's memories. The newest first."""
        await found_project(projects, project_id)
        return [Memory.of(row) for row in await memories.of_project(project_id, SHOWN)]

    @post("/{project_id:uuid}/memories", responses=errors(Full))
    async def add_memory(
        self,
        project_id: ProjectId,
        data: JSONBody[NewMemory],
        projects: NamedDependency[Projects],
        memories: NamedDependency[Memories],
    ) -> Memory:
        """Adds a memory to a project."""
        await found_project(projects, project_id)
        return Memory.of(await keep(memories, project_id, data.content))

    @delete("/{project_id:uuid}/memories/{memory_id:uuid}")
    async def delete_memory(
        self,
        project_id: ProjectId,
        memory_id: MemoryId,
        projects: NamedDependency[Projects],
        memories: NamedDependency[Memories],
    ) -> None:
        """Deletes a memory."""
        await found_project(projects, project_id)
        await memories.session.delete(await found_memory(memories, project_id, memory_id))
        await memories.session.commit()


class TeamsApi(Controller):
    path = "/api/teams"
    tags = ("teams",)

    @get()
    async def list_teams(self, runner: NamedDependency[Runner], person: NamedDependency[Person]) -> Sequence[Team]:
        """Lists teams. Built-in ones, those of installed packages, and people's own."""
        return [Team(team.name, team.title, team.description) for team in await runner.teams.all(person.id)]
