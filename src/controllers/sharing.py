"""The page of the people with whom a project is shared."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from msgspec import Struct

from ..accounts.accounts import Accounts
from ..accounts.person import Person
from ..errors import Forbidden, Invalid, NotFound
from ..persistence.repositories import Memberships, Projects
from ..persistence.tables import Project
from ..rendering.templates import to_html
from .access import address_of, check_accounts
from .answers import PageRequest, html, see
from .finding import found_project


class Shared(Struct):
    name: str = ""
    may_write: str = ""


class SharingPages(Controller):
    include_in_schema = False
    path = "/p/{project_id:uuid}/people"
    guards = (check_accounts,)

    @get()
    async def index(
        self,
        project_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        memberships: NamedDependency[Memberships],
        person: NamedDependency[Person],
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        return html(await sharing_page(project, projects, memberships, person))

    @post()
    async def share(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        data: Annotated[Shared, Body(media_type=RequestEncodingType.URL_ENCODED)],
        projects: NamedDependency[Projects],
        memberships: NamedDependency[Memberships],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """Also changes what somebody may do there who has it already."""
        project = await own_project(projects, project_id, person)
        try:
            account = await accounts.find(data.name)
            if account.id == person.id:
                raise Invalid("It is yours already.", field="name")
        except (Invalid, NotFound) as refusal:
            refusal.field = "name"
            return html(
                await sharing_page(project, projects, memberships, person, data, refusal), status=refusal.status
            )
        await memberships.share(project_id, account.id, may_write=bool(data.may_write))
        right = "write" if data.may_write else "read"
        await accounts.audit("shared", person.name, f"{project.name}: {account.name} ({right})", address_of(request))
        return see(f"/p/{project_id}/people")

    @post("/{membership_id:uuid}/endings")
    async def end(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        membership_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        memberships: NamedDependency[Memberships],
        accounts: NamedDependency[Accounts],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        project = await own_project(projects, project_id, person)
        name = await memberships.end(project_id, membership_id)
        if name is None:
            raise NotFound("It is not shared with them any more.")
        await accounts.audit("unshared", person.name, f"{project.name}: {name}", address_of(request))
        return see(f"/p/{project_id}/people")


async def own_project(projects: Projects, id: UUID, person: Person) -> Project:
    project = await found_project(projects, id)
    if project.owner_id != person.id:
        raise Forbidden("Only whose project it is can share it.")
    return project


async def sharing_page(
    project: Project,
    projects: Projects,
    memberships: Memberships,
    person: Person,
    written: Shared | None = None,
    wrong: Invalid | NotFound | None = None,
) -> str:
    return to_html(
        "projects/people.html",
        project=project,
        part="people",
        problem="",
        members=await memberships.of_project(project.id),
        is_owner=project.owner_id == person.id,
        owner=(await projects.owners([project], person.id)).get(project.id, ""),
        written=written or Shared(),
        wrong=wrong,
    )
