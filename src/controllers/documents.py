"""The pages of a project's documents and their passages."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath

from ..errors import NotFound
from ..knowledge.extract import SIZE_LIMIT, DocumentError
from ..knowledge.library import Library, Shelf
from ..persistence.repositories import Projects
from ..persistence.tables import Project
from ..rendering.templates import to_html
from .answers import html, see
from .finding import found_project
from .forms import uploads


class DocumentPages(Controller):
    include_in_schema = False
    path = "/p/{project_id:uuid}"

    @get("/documents")
    async def index(
        self, project_id: FromPath[UUID], projects: NamedDependency[Projects], library: NamedDependency[Library]
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        return html(await index_page(project, library.of(project_id)))

    @get("/documents/list")
    async def listed(self, project_id: FromPath[UUID], library: NamedDependency[Library]) -> Response[str]:
        """The list alone, which a page asks for as long as a document is being read."""
        documents = await library.of(project_id).documents()
        return html(to_html("documents/_list.html", project={"id": project_id}, documents=documents))

    @post("/documents", request_max_body_size=SIZE_LIMIT + 1_000_000)
    async def add(
        self,
        project_id: FromPath[UUID],
        data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)],
        projects: NamedDependency[Projects],
        library: NamedDependency[Library],
    ) -> Response[Any]:
        project = await found_project(projects, project_id)
        shelf = library.of(project_id)
        try:
            for file in uploads(data):
                await shelf.add(file.filename, await file.read())
        except DocumentError as refusal:
            return html(await index_page(project, shelf, refusal.message), status=400)
        return see(f"/p/{project_id}/documents")

    @get("/documents/{document_id:uuid}")
    async def show(
        self,
        project_id: FromPath[UUID],
        document_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        library: NamedDependency[Library],
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        shelf = library.of(project_id)
        document = await shelf.document(document_id)
        if document is None:
            raise NotFound("There is no such document; it may have been removed.")
        passages = await shelf.passages(document_id)
        known = {"project": project, "part": "documents", "document": document, "passages": passages, "problem": ""}
        return html(to_html("documents/show.html", **known))

    @post("/documents/{document_id:uuid}/deletions")
    async def remove(
        self, project_id: FromPath[UUID], document_id: FromPath[UUID], library: NamedDependency[Library]
    ) -> Response[Any]:
        if not await library.of(project_id).remove(document_id):
            raise NotFound("There is no such document; it may have been removed.")
        return see(f"/p/{project_id}/documents")

    @get("/passages/{passage_id:int}")
    async def passage(
        self,
        project_id: FromPath[UUID],
        passage_id: FromPath[int],
        projects: NamedDependency[Projects],
        library: NamedDependency[Library],
    ) -> Response[str]:
        """Where a citation leads: the passage, with what stands around it."""
        project = await found_project(projects, project_id)
        shelf = library.of(project_id)
        passage = await shelf.passage(passage_id)
        if passage is None:
            raise NotFound("There is no such passage; its document may have been removed.")
        known = {"project": project, "part": "documents", "found": passage, "problem": ""}
        return html(to_html("documents/passage.html", **known))


async def index_page(project: Project, shelf: Shelf, problem: str = "") -> str:
    known = {"project": project, "part": "documents", "documents": await shelf.documents(), "problem": problem}
    return to_html("documents/index.html", **known)
