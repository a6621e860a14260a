"""The page of a project's memories: what runs found worth keeping, and what people add to that."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from msgspec import Struct

from ..errors import Full, Invalid, NotFound
from ..persistence.repositories import Memories, Projects
from ..persistence.tables import MEMORY_LIMIT, Memory, Project
from ..rendering.fragments import partial
from ..rendering.templates import to_html
from .answers import PageRequest, html, is_scripted, partials, see
from .body import entry
from .finding import found_project

COUNT_LIMIT = 500  # that people may bring a project to; runs keep theirs beyond it
SHOWN = 1_000


class Told(Struct):
    content: str = ""


ToldForm = Annotated[Told, Body(media_type=RequestEncodingType.URL_ENCODED)]


class Refused(Struct):
    """What a person wrote and why it was not kept; `memory_id` None: it was to be a new one."""

    written: str
    wrong: Invalid
    memory_id: UUID | None = None


class MemoryPages(Controller):
    include_in_schema = False
    path = "/p/{project_id:uuid}/memories"

    @get()
    async def index(
        self, project_id: FromPath[UUID], projects: NamedDependency[Projects], memories: NamedDependency[Memories]
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        return html(to_html("projects/memories.html", **await shown(project, memories)))

    @post()
    async def add(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        data: ToldForm,
        projects: NamedDependency[Projects],
        memories: NamedDependency[Memories],
    ) -> Response[Any]:
        project = await found_project(projects, project_id)
        try:
            await keep(memories, project_id, data.content)
        except Invalid as wrong:
            return await answer(request, project, memories, Refused(data.content, wrong))
        return await answer(request, project, memories)

    @post("/{memory_id:uuid}")
    async def change(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        memory_id: FromPath[UUID],
        data: ToldForm,
        projects: NamedDependency[Projects],
        memories: NamedDependency[Memories],
    ) -> Response[Any]:
        project = await found_project(projects, project_id)
        memory = await found_memory(memories, project_id, memory_id)
        try:
            memory.content = memory_content(data.content)
        except Invalid as wrong:
            return await answer(request, project, memories, Refused(data.content, wrong, memory_id))
        await memories.session.commit()
        return await answer(request, project, memories, at=f"#memory-{memory_id}")

    @post("/{memory_id:uuid}/deletions")
    async def forget(
        self,
        request: PageRequest,
        project_id: FromPath[UUID],
        memory_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        memories: NamedDependency[Memories],
    ) -> Response[Any]:
        project = await found_project(projects, project_id)
        await memories.session.delete(await found_memory(memories, project_id, memory_id))
        await memories.session.commit()
        return await answer(request, project, memories)


async def answer(
    request: PageRequest, project: Project, memories: Memories, refused: Refused | None = None, at: str = ""
) -> Response[Any]:
    """The list as it is now: in the open page, or in the page that is loaded next."""
    if is_scripted(request):
        section = to_html("projects/_memories.html", **await shown(project, memories, refused))
        return partials(partial("#memories", "outerHTML", section))
    if refused is None:
        return see(f"/p/{project.id}/memories{at}")
    page = to_html("projects/memories.html", **await shown(project, memories, refused))
    return html(page, status=refused.wrong.status)


async def shown(project: Project, memories: Memories, refused: Refused | None = None) -> dict[str, Any]:
    return {
        "project": project,
        "part": "memories",
        "problem": "",
        "remembered": await memories.with_sources(project.id, SHOWN),
        "refused": refused,
        "limit": MEMORY_LIMIT,
    }


async def keep(memories: Memories, project_id: UUID, content: str) -> Memory:
    """Raises Invalid."""
    memory = Memory(project_id=project_id, content=memory_content(content))
    if await memories.count(Memory.project_id == project_id) >= COUNT_LIMIT:
        raise Full(f"A project keeps {COUNT_LIMIT} memories. Delete some that are no longer true.", field="content")
    memories.session.add(memory)
    await memories.session.commit()
    return memory


async def found_memory(memories: Memories, project_id: UUID, id: UUID) -> Memory:
    if memory := await memories.find(project_id, id):
        return memory
    raise NotFound("There is no such memory; it may have been deleted.")


def memory_content(content: str) -> str:
    return entry(content, MEMORY_LIMIT, "content", needed="Write what is to be remembered.")
