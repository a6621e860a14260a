"""The page of a project's tool servers: MCP servers whose tools its agents may use."""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from msgspec import Struct
from sqlalchemy.exc import IntegrityError

from ..accounts.person import Person
from ..agents.addresses import shown
from ..agents.fetching import Refused
from ..agents.kits import DOCUMENTS, FILES
from ..agents.toolboxes import Server, Toolbox, Toolboxes
from ..errors import Invalid, NotFound
from ..persistence.keyring import Keyring
from ..persistence.repositories import Projects, ToolServers, note
from ..persistence.tables import Project, ToolServer
from ..rendering.fragments import partial
from ..rendering.templates import to_html
from ..settings import Settings
from .access import address_of
from .answers import PageRequest, html, is_scripted, partials, see
from .body import short_entry
from .finding import found_project

NAME = re.compile(r"[a-zA-Z0-9-]{1,30}")
ADDRESS_LIMIT = 2_000  # characters


class Added(Struct):
    """`asks` is empty for a server of whose tools nobody is asked."""

    name: str = ""
    address: str = ""
    asks: str = "on"


class Asks(Struct):
    asks: str = ""


class Listed(Struct):
    """A server as the page shows it. None: its address cannot be read."""

    id: UUID
    name: str
    address: str | None
    asks: bool


class ToolPages(Controller):
    include_in_schema = False
    path = "/p/{project_id:uuid}/tools"

    @get()
    async def index(
        self,
        project_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        tool_servers: NamedDependency[ToolServers],
        settings: NamedDependency[Settings],
        keyring: NamedDependency[Keyring],
        person: NamedDependency[Person],
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        return html(await tools_page(project, tool_servers, settings, keyring, person))

    @post()
    async def add(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        data: Annotated[Added, Body(media_type=RequestEncodingType.URL_ENCODED)],
        projects: NamedDependency[Projects],
        tool_servers: NamedDependency[ToolServers],
        settings: NamedDependency[Settings],
        keyring: NamedDependency[Keyring],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        await found_project(projects, project_id)
        try:
            name, address = server_name(data.name), server_address(data.address, settings, person)
            sealed = keyring.seal(address)
            tool_servers.session.add(ToolServer(project_id=project_id, name=name, address=sealed, asks=bool(data.asks)))
            if not data.asks:
                note(tool_servers.session, "tools_unasked", person.name, name, address_of(request))
            await tool_servers.session.commit()
        except Invalid as refusal:
            wrong = refusal
        except IntegrityError:
            wrong = Invalid("This project has a tool server of this name already.", field="name")
        else:
            return see(f"/p/{project_id}/tools")
        await tool_servers.session.rollback()
        project = await found_project(projects, project_id)
        page = await tools_page(project, tool_servers, settings, keyring, person, data, wrong)
        return html(page, status=wrong.status)

    @post("/{server_id:uuid}/trials")
    async def try_out(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        server_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        tool_servers: NamedDependency[ToolServers],
        settings: NamedDependency[Settings],
        keyring: NamedDependency[Keyring],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """Shows the tools that the server has now, or why it cannot be used. Nothing of that is kept."""
        project = await found_project(projects, project_id)
        server = await found_server(tool_servers, project_id, server_id)
        await tool_servers.session.commit()  # what is asked may take its time to answer
        trial = await tried(server, settings, keyring)
        if is_scripted(request):
            return partials(partial(f"#trial-{server_id}", "innerHTML", to_html("projects/_trial.html", trial=trial)))
        return html(await tools_page(project, tool_servers, settings, keyring, person, trials={server_id: trial}))

    @post("/{server_id:uuid}/consents")
    async def change(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        server_id: FromPath[UUID],
        data: Annotated[Asks, Body(media_type=RequestEncodingType.URL_ENCODED)],
        tool_servers: NamedDependency[ToolServers],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """Whether a person is asked before each use of its tools."""
        server = await found_server(tool_servers, project_id, server_id)
        asks = bool(data.asks)
        if asks != server.asks:
            action = "tools_asked" if asks else "tools_unasked"
            note(tool_servers.session, action, person.name, server.name, address_of(request))
        server.asks = asks
        await tool_servers.session.commit()
        return see(f"/p/{project_id}/tools")

    @post("/{server_id:uuid}/permissions/{permission_id:uuid}/withdrawals")
    async def take_back(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        server_id: FromPath[UUID],
        permission_id: FromPath[UUID],
        tool_servers: NamedDependency[ToolServers],
        person: NamedDependency[Person],
    ) -> Response[Any]:
        """A tool that was allowed always asks again."""
        server = await found_server(tool_servers, project_id, server_id)
        tool = await tool_servers.withdraw(server, permission_id)
        if tool is None:
            raise NotFound("This was taken back already.")
        note(tool_servers.session, "tool_withdrawn", person.name, f"{tool} of {server.name}", address_of(request))
        await tool_servers.session.commit()
        return see(f"/p/{project_id}/tools")

    @post("/{server_id:uuid}/deletions")
    async def remove(
        self, project_id: FromPath[UUID], server_id: FromPath[UUID], tool_servers: NamedDependency[ToolServers]
    ) -> Response[Any]:
        await tool_servers.session.delete(await found_server(tool_servers, project_id, server_id))
        await tool_servers.session.commit()
        return see(f"/p/{project_id}/tools")


def server_name(name: str) -> str:
    name = name.strip()
    if not NAME.fullmatch(name):
        raise Invalid("A name has 1 to 30 letters (a to z), digits and hyphens.", field="name")
    if name in (FILES, DOCUMENTS):
        raise Invalid(f"“{name}” is what the project's own tools are called. Choose another name.", field="name")
    return name


def takes_commands(settings: Settings, person: Person) -> bool:
    """Whoever may write one runs it on the server, with all that the server may do."""
    return settings.tool_commands and person.is_admin


def server_address(address: str, settings: Settings, person: Person) -> str:
    address = short_entry(address, ADDRESS_LIMIT, "address", needed="Write the server's address.")
    if is_url(address):
        try:
            settings.fetching.check(address)
        except Refused as refusal:
            raise Invalid(f"This tool server {refusal.sentence}", field="address") from refusal
        return address
    if takes_commands(settings, person):
        return address
    whose = "for administrators only" if settings.tool_commands else "off here"
    raise Invalid(
        f"An address begins with http:// or https:// and names a host. Command lines are {whose}.", field="address"
    )


def is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


async def tried(server: ToolServer, settings: Settings, keyring: Keyring) -> Toolbox:
    async with Toolboxes(settings.fetching, commands=settings.tool_commands).of(
        server.project_id, [Server(server.name, keyring.open(server.address))]
    ) as toolbox:
        return toolbox


async def found_server(tool_servers: ToolServers, project_id: UUID, id: UUID) -> ToolServer:
    if server := await tool_servers.find(project_id, id):
        return server
    raise NotFound("There is no such tool server; it may have been removed.")


async def tools_page(
    project: Project,
    tool_servers: ToolServers,
    settings: Settings,
    keyring: Keyring,
    person: Person,
    written: Added | None = None,
    wrong: Invalid | None = None,
    trials: Mapping[UUID, Toolbox] | None = None,
) -> str:
    return to_html(
        "projects/tools.html",
        project=project,
        part="tools",
        problem="",
        servers=[listed(server, keyring) for server in await tool_servers.of_project(project.id)],
        permissions=await tool_servers.permissions(project.id),
        commands=takes_commands(settings, person),
        off=not settings.tool_commands,
        written=written or Added(),
        wrong=wrong,
        trials=trials or {},
    )


def listed(server: ToolServer, keyring: Keyring) -> Listed:
    address = keyring.open(server.address)
    return Listed(server.id, server.name, None if address is None else shown(address), server.asks)
