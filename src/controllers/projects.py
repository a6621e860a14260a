"""The pages of projects: made, described, renamed, deleted and brought back."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery
from msgspec import Struct

from ..accounts.person import Person
from ..agents.teams import DEFAULT
from ..errors import Forbidden, Invalid
from ..persistence.repositories import Projects, Runs
from ..persistence.tables import Project
from ..rendering.templates import to_html
from ..runs.runner import Runner
from .answers import html, see
from .body import entry, short_entry
from .finding import found_project, missing_project

NAME_LIMIT = 200  # characters, as are the others
INSTRUCTIONS_LIMIT = 20_000


class Named(Struct):
    name: str = ""


class Described(Struct):
    name: str = ""
    instructions: str = ""
    team: str = ""


class ProjectPages(Controller):
    include_in_schema = False

    @get("/projects")
    async def index(self, projects: NamedDependency[Projects], person: NamedDependency[Person]) -> Response[str]:
        return html(await index_page(projects, person))

    @post("/projects")
    async def create(
        self,
        data: Annotated[Named, Body(media_type=RequestEncodingType.URL_ENCODED)],
        projects: NamedDependency[Projects],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        try:
            name = project_name(data.name)
        except Invalid as wrong:
            return html(await index_page(projects, person, data.name, wrong), status=wrong.status)
        made = await create_project(projects, person, name)
        return see(f"/p/{made.id}")

    @get("/p/{project_id:uuid}")
    async def show(
        self,
        project_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
        saved: FromQuery[bool] = False,
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        return html(await settings_page(project, projects, runner, person, saved=saved))

    @post("/p/{project_id:uuid}")
    async def describe(
        self,
        project_id: FromPath[UUID],
        data: Annotated[Described, Body(media_type=RequestEncodingType.URL_ENCODED)],
        projects: NamedDependency[Projects],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        project = await found_project(projects, project_id)
        try:
            values = await described(data.name, data.instructions, data.team, runner, person)
        except Invalid as wrong:
            return html(await settings_page(project, projects, runner, person, data, wrong), status=wrong.status)
        await projects.change(project_id, **values)
        await projects.session.commit()
        return see(f"/p/{project_id}?saved=true")

    @post("/p/{project_id:uuid}/deletions")
    async def delete(
        self,
        project_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        runs: NamedDependency[Runs],
        runner: NamedDependency[Runner],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """Deletes it with its conversations and stops what works in them; for a day it can be restored."""
        project = await found_project(projects, project_id)
        if project.owner_id != person.id and not person.alone:
            raise Forbidden("Only whose project it is can delete it.")
        if await projects.is_home(project_id):
            raise Invalid("The default project cannot be deleted.")
        await projects.discard(project_id)
        await projects.session.commit()
        for run_id in await runs.running_in_project(project_id):
            await runner.cancel(run_id)
        return see(f"/?deleted_project={project_id}")

    @post("/p/{project_id:uuid}/restorations")
    async def restore(self, project_id: FromPath[UUID], projects: NamedDependency[Projects]) -> Response[Any]:
        if not await projects.restore(project_id):
            raise missing_project()
        await projects.session.commit()
        return see(f"/?project={project_id}")


async def create_project(
    projects: Projects, person: Person, name: str, instructions: str = "", team: str = DEFAULT
) -> Project:
    project = Project(owner_id=person.id, name=name, instructions=instructions, team=team)
    projects.session.add(project)
    await projects.session.commit()
    return project


def project_name(name: str) -> str:
    return short_entry(name, NAME_LIMIT, "name", needed="A project needs a name.")


async def described(name: str, instructions: str, team: str, runner: Runner, person: Person) -> Mapping[str, str]:
    """Checked. Raises Invalid."""
    return {
        "name": project_name(name),
        "instructions": entry(instructions, INSTRUCTIONS_LIMIT, "instructions"),
        "team": (await runner.teams.find(team, person.id)).name,
    }


async def index_page(projects: Projects, person: Person, name: str = "", wrong: Invalid | None = None) -> str:
    known = await projects.by_name(person.home_id)
    owners = await projects.owners(known, person.id)
    return to_html("projects/index.html", projects=known, owners=owners, written=name, wrong=wrong)


async def settings_page(
    project: Project,
    projects: Projects,
    runner: Runner,
    person: Person,
    written: Described | None = None,
    wrong: Invalid | None = None,
    saved: bool = False,
) -> str:
    """`written`: what a person wrote that could not be saved."""
    return to_html(
        "projects/show.html",
        project=project,
        part="settings",
        problem="",
        holdings=await projects.holdings(project.id),
        teams=await runner.teams.all(person.id),
        written=written or project,
        wrong=wrong,
        saved=saved,
        may_delete=(project.owner_id == person.id or person.alone) and not await projects.is_home(project.id),
        instructions_limit=INSTRUCTIONS_LIMIT,
    )
