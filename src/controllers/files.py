"""The pages of a project's files, and what can be done to them and to each of their changes."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from litestar import Controller, Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, FromQuery
from litestar.response import Stream
from msgspec import Struct

from ..agents.context import WorkspaceError
from ..errors import Invalid, NotFound
from ..persistence.repositories import Projects
from ..persistence.tables import Project
from ..rendering.fragments import partial
from ..rendering.templates import to_html
from ..workspace.files import Files, ProjectFiles
from ..workspace.store import UPLOAD_LIMIT
from .answers import PageRequest, as_file, html, is_scripted, named, partials, see
from .finding import found_project
from .forms import uploads

PIECE = 256 * 1024  # bytes
SHOWN_CHANGES = 50


class Saved(Struct):
    """`base` is the SHA-256 of the content that the person began with; empty for a new file."""

    path: str = ""
    content: str = ""
    base: str = ""


class Named(Struct):
    path: str = ""


class FilePages(Controller):
    include_in_schema = False
    path = "/p/{project_id:uuid}"

    @get("/files")
    async def index(
        self, project_id: FromPath[UUID], projects: NamedDependency[Projects], files: NamedDependency[Files]
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        return html(await index_page(project, files.of(project_id)))

    @post("/files", request_max_body_size=UPLOAD_LIMIT + 1_000_000)
    async def upload(
        self,
        project_id: FromPath[UUID],
        data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)],
        projects: NamedDependency[Projects],
        files: NamedDependency[Files],
    ) -> Response[Any]:
        project = await found_project(projects, project_id)
        folder = str(data.get("folder") or "").strip().strip("/")
        try:
            for file in uploads(data):
                path = f"{folder}/{file.filename}" if folder else file.filename
                await files.of(project_id).upload(path, pieces(file))
        except WorkspaceError as refusal:
            return html(await index_page(project, files.of(project_id), problem=str(refusal)), status=400)
        return see(f"/p/{project_id}/files")

    @get("/files/archive")
    async def archive(
        self, project_id: FromPath[UUID], projects: NamedDependency[Projects], files: NamedDependency[Files]
    ) -> Stream:
        project = await found_project(projects, project_id)
        return Stream(
            files.of(project_id).zip(), media_type="application/zip", headers=as_file(named(project.name, "zip"))
        )

    @get("/file")
    async def show(
        self,
        project_id: FromPath[UUID],
        path: FromQuery[str],
        projects: NamedDependency[Projects],
        files: NamedDependency[Files],
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        with not_found():
            return html(await file_page(project, files.of(project_id), path))

    @get("/file/new")
    async def new(
        self, project_id: FromPath[UUID], projects: NamedDependency[Projects], files: NamedDependency[Files]
    ) -> Response[str]:
        project = await found_project(projects, project_id)
        return html(to_html("files/new.html", project=project, part="files", path="", content="", problem=""))

    @post("/file")
    async def save(
        self,
        project_id: FromPath[UUID],
        data: Annotated[Saved, Body(media_type=RequestEncodingType.URL_ENCODED)],
        projects: NamedDependency[Projects],
        files: NamedDependency[Files],
    ) -> Response[Any]:
        """What a person wrote comes back with the reason if it cannot be saved, for instance since the file changed."""
        project = await found_project(projects, project_id)
        content = data.content.replace("\r\n", "\n")
        try:
            await files.of(project_id).save(data.path, content, data.base or None)
        except WorkspaceError as refusal:
            known = {"project": project, "part": "files", "path": data.path, "content": content}
            if not data.base:
                return html(to_html("files/new.html", **known, problem=str(refusal)), status=400)
            return html(await file_page(project, files.of(project_id), data.path, content, str(refusal)), status=409)
        return see(address(project_id, data.path))

    @get("/file/download")
    async def download(
        self, project_id: FromPath[UUID], path: FromQuery[str], files: NamedDependency[Files]
    ) -> Response[bytes]:
        """Always as an attachment of no special kind: a file that an agent wrote must not run as a page of ours."""
        with not_found():
            content = await files.of(project_id).read_bytes(path)
        headers = as_file(path.rsplit("/", 1)[-1])
        return Response(content, media_type="application/octet-stream", headers=headers)

    @post("/file/deletions")
    async def delete(
        self,
        project_id: FromPath[UUID],
        data: Annotated[Named, Body(media_type=RequestEncodingType.URL_ENCODED)],
        files: NamedDependency[Files],
    ) -> Response[Any]:
        with not_found():
            await files.of(project_id).delete(data.path)
        return see(f"/p/{project_id}/files")


class RevisionPages(Controller):
    include_in_schema = False
    path = "/revisions/{revision_id:uuid}"

    @get()
    async def show(
        self, revision_id: FromPath[UUID], projects: NamedDependency[Projects], files: NamedDependency[Files]
    ) -> Response[str]:
        with not_found():
            revision = await files.revision(revision_id)
        project = await found_project(projects, revision.project_id)
        known = {"project": project, "part": "files", "revision": revision, "problem": ""}
        return html(to_html("files/revision.html", **known))

    @post("/reverts")
    async def revert(
        self,
        request: PageRequest,
        revision_id: FromPath[UUID],
        projects: NamedDependency[Projects],
        files: NamedDependency[Files],
    ) -> Response[Any]:
        """Takes a change back, as a change of its own."""
        with not_found():
            revision = await files.revision(revision_id)
        project = await found_project(projects, revision.project_id)
        try:
            await files.of(revision.project_id).revert(revision_id)
        except WorkspaceError as refusal:
            if is_scripted(request):
                raise Invalid(str(refusal)) from refusal
            known = {"project": project, "part": "files", "revision": revision, "problem": str(refusal)}
            return html(to_html("files/revision.html", **known), status=409)
        if not is_scripted(request):
            return see(f"/p/{revision.project_id}/files")
        return partials(partial(f"#taken-{revision_id}", "innerHTML", to_html("files/_taken.html")))


async def index_page(project: Project, files: ProjectFiles, problem: str = "") -> str:
    return to_html(
        "files/index.html",
        project=project,
        part="files",
        files=await files.list(),
        changes=await files.history(SHOWN_CHANGES),
        problem=problem,
    )


async def file_page(
    project: Project, files: ProjectFiles, path: str, content: str | None = None, problem: str = ""
) -> str:
    """`content`: what a person has written instead of what is saved."""
    shown = await files.show(path)
    return to_html(
        "files/show.html",
        project=project,
        part="files",
        file=shown,
        content=shown.text if content is None else content,
        changes=await files.history(SHOWN_CHANGES, path),
        problem=problem,
    )


def address(project_id: UUID, path: str) -> str:
    return f"/p/{project_id}/file?path={quote(path)}"


async def pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(PIECE):
        yield piece


@contextmanager
def not_found() -> Iterator[None]:
    try:
        yield
    except WorkspaceError as refusal:
        raise NotFound(str(refusal)) from refusal
