"""A conversation as a file: taken away as Markdown or JSON, and brought back from JSON."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from litestar import Controller, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, Operation, Reference, RequestBody
from litestar.params import Body, FromPath, QueryParameter
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK
from sqlalchemy.ext.asyncio import AsyncSession

from ..accounts.person import Person
from ..errors import Invalid, NotFound, TooLarge
from ..persistence import tables
from ..persistence.repositories import Conversations, Events, Messages, Projects, Runs
from ..rendering.templates import to_html
from ..rendering.transcript import Said, transcript
from ..runs.archive import FILE_LIMIT, Archive, bring_in, read, written
from ..runs.branches import Tree
from ..runs.history import views_of
from ..runs.journal import Journal
from .access import CHAT
from .answers import as_file, html, named, see
from .api import Conversation, ConversationId
from .finding import found, found_project
from .forms import uploads
from .openapi import errors

AT_ONCE = 50  # messages whose runs are read together
MARKDOWN = "text/markdown"
FILE = ResponseSpec(Archive, generate_examples=False, description="The conversation as a file.")
TEXT = ResponseSpec(
    str,
    generate_examples=False,
    description="The conversation as text.",
    media_type=MARKDOWN,
    examples=[
        Example("rivers", value="# Rivers\n\n## You, 2026-11-20 09:30 UTC\n\n> Which rivers reach the North Sea?\n")
    ],
)
IMPORTED = RequestBody({MediaType.JSON: OpenAPIMediaType(Reference("#/components/schemas/Archive"))}, required=True)


class ExportPages(Controller):
    include_in_schema = False
    path = "/c/{conversation_id:uuid}"

    @get("/export.md")
    async def markdown(
        self,
        conversation_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        runs: NamedDependency[Runs],
        events: NamedDependency[Events],
        journal: NamedDependency[Journal],
    ) -> Response[str]:
        return await as_markdown(await found(conversations, conversation_id), messages, runs, events, journal)

    @get("/export.json")
    async def json(
        self,
        conversation_id: FromPath[UUID],
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        runs: NamedDependency[Runs],
        journal: NamedDependency[Journal],
    ) -> Stream:
        return await as_json(await found(conversations, conversation_id), messages, runs, journal)


class ImportPages(Controller):
    include_in_schema = False
    path = "/p/{project_id:uuid}/imports"

    @get()
    async def new(self, project_id: FromPath[UUID], projects: NamedDependency[Projects]) -> Response[str]:
        return html(import_page(await found_project(projects, project_id)))

    @post(request_max_body_size=FILE_LIMIT + 1_000_000)
    async def create(
        self,
        project_id: FromPath[UUID],
        data: Annotated[dict[str, Any], Body(media_type=RequestEncodingType.MULTI_PART)],
        projects: NamedDependency[Projects],
        journal: NamedDependency[Journal],
    ) -> Response[Any]:
        project = await found_project(projects, project_id)
        try:
            content = await uploads(data)[0].read()
            conversation_id = await imported(content, project_id, journal, projects.session)
        except Invalid as refusal:
            return html(import_page(project, refusal.message), status=refusal.status)
        return see(f"/c/{conversation_id}")


@dataclass
class Import(Operation):
    """The body is read as it comes, since that is a third of the work for a large one; so it has to be told here."""

    def __post_init__(self) -> None:
        self.request_body = IMPORTED


class ExportsApi(Controller):
    path = "/api/conversations"
    tags = ("conversations",)

    @get("/{conversation_id:uuid}/export", media_type=MediaType.JSON, responses={HTTP_200_OK: FILE})
    async def export_conversation(
        self,
        conversation_id: ConversationId,
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        runs: NamedDependency[Runs],
        journal: NamedDependency[Journal],
    ) -> Stream:
        """Exports a conversation. All of its branches with everything that agents did, to keep and to import."""
        return await as_json(await found(conversations, conversation_id), messages, runs, journal)

    @get("/{conversation_id:uuid}/transcript", media_type=MARKDOWN, responses={HTTP_200_OK: TEXT})
    async def read_transcript(
        self,
        conversation_id: ConversationId,
        conversations: NamedDependency[Conversations],
        messages: NamedDependency[Messages],
        runs: NamedDependency[Runs],
        events: NamedDependency[Events],
        journal: NamedDependency[Journal],
    ) -> Response[str]:
        """Reads a conversation as Markdown. What was said, and what agents did in short."""
        return await as_markdown(await found(conversations, conversation_id), messages, runs, events, journal)

    @post("/import", operation_class=Import, opt=CHAT, request_max_body_size=FILE_LIMIT, responses=errors(NotFound))
    async def import_conversation(
        self,
        request: Request[Any, Any, State],
        projects: NamedDependency[Projects],
        conversations: NamedDependency[Conversations],
        journal: NamedDependency[Journal],
        person: NamedDependency[Person],
        project_id: Annotated[
            UUID | None,
            QueryParameter(description="The project that it comes into; one's default project without."),
        ] = None,
    ) -> Conversation:
        """Imports a conversation that was exported. All of its ids are new."""
        project = await found_project(projects, project_id or person.home_id)
        made = await imported(await request.body(), project.id, journal, projects.session)
        return Conversation.of(await found(conversations, made))


async def imported(content: bytes, project_id: UUID, journal: Journal, session: AsyncSession) -> UUID:
    if len(content) > FILE_LIMIT:
        raise TooLarge(f"A file of up to {FILE_LIMIT // 2**20} MB can be imported.", field="file")
    return await bring_in(read(content), project_id, journal, session)


async def as_json(conversation: tables.Conversation, messages: Messages, runs: Runs, journal: Journal) -> Stream:
    of_this = (tables.Message.conversation_id == conversation.id, tables.Message.status == "")
    said = await messages.get_many(*of_this, order_by=("id", False))
    worked = await runs.get_many(tables.Run.conversation_id == conversation.id, order_by=("id", False))
    await messages.session.close()
    content = written(conversation, said, worked, journal)
    return Stream(content, media_type=MediaType.JSON, headers=as_file(named(conversation.title, "json")))


async def as_markdown(
    conversation: tables.Conversation, messages: Messages, runs: Runs, events: Events, journal: Journal
) -> Response[str]:
    rows = await messages.of_ids(Tree(await messages.links(conversation.id)).path(conversation.leaf_id))
    said: list[Said] = []
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        views = await views_of(part, runs, events, journal)
        said += [Said(row.role, row.content, row.created_at, views.get(row.id)) for row in part if row.role != "system"]
    text = await asyncio.to_thread(transcript, conversation.title, said)
    return Response(text, media_type=MARKDOWN, headers=as_file(named(conversation.title, "md")))


def import_page(project: tables.Project, problem: str = "") -> str:
    return to_html("imports/new.html", project=project, part="", problem=problem, limit=FILE_LIMIT // 2**20)
