"""The whole application in one place: every controller, plugin and lifespan."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from advanced_alchemy.extensions.litestar import SQLAlchemyPlugin
from litestar import Litestar
from litestar.config.compression import CompressionConfig
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template.config import TemplateConfig
from litestar.types import Message, Scope
from sqlalchemy.ext.asyncio import AsyncSession

from .agents.model import connect
from .agents.teams import registry
from .agents.toolboxes import Toolboxes
from .controllers import agui, api, completions, exports, openapi, pages, project_api
from .controllers.access import Gate, check_token
from .controllers.body import check_media_type
from .controllers.examples import EXAMPLES
from .controllers.exchanges import Exchanges
from .controllers.health import check_health
from .controllers.origin import check_origin, share_with
from .controllers.problems import HANDLERS
from .controllers.sockets import api_socket
from .knowledge.library import Library
from .persistence.database import configure, create_writer, is_sqlite, migrate, only_process
from .persistence.repositories import (
    ApiTokens,
    Conversations,
    Events,
    Memories,
    Messages,
    OwnAgents,
    OwnTeams,
    Projects,
    Runs,
    ToolServers,
)
from .projects import ProjectContexts, embedder_of
from .rendering.lately import rendering_ahead
from .rendering.templates import environment
from .runs.housekeeping import housekeeping
from .runs.journal import Journal
from .runs.runner import Runner
from .runs.teams import Teams
from .settings import Settings
from .vendor import ensure_vendor
from .workspace.files import Files

STATIC = Path(__file__).with_name("static")
CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
]


def create_app(settings: Settings | None = None) -> Litestar:
    settings = settings or Settings()
    ensure_vendor()
    database = configure(settings.database)

    @asynccontextmanager
    async def work(app: Litestar) -> AsyncGenerator[None, None]:
        """Runs live here, between the database and the last request."""
        await migrate(database)
        sessions = database.create_session_maker()
        model = await connect(settings.model_options())
        journal = Journal(create_writer(database, settings.database_patience), sessions, settings.heartbeat)
        files = Files(settings.data / "projects", sessions)
        library = Library(sessions, await embedder_of(model, settings.embedding_model))
        runner = Runner(
            journal,
            sessions,
            Teams(registry(), sessions),
            ProjectContexts(sessions, files, library, Toolboxes(settings.fetching, commands=settings.tool_commands)),
            model,
            limit=settings.run_limit,
            message_limit=settings.message_limit,
            grace=settings.shutdown_grace,
            alone=is_sqlite(settings.database),
        )

        gate = Gate(sessions, journal.save, required=settings.api_tokens == "required")

        async def discard(project_id: UUID) -> None:
            await library.of(project_id).clear()
            await files.discard(project_id)

        app.state.update(runner=runner, journal=journal, sessions=sessions, files=files, library=library, gate=gate)
        try:
            async with (
                journal.writing(),
                gate.working(),
                library.working(),
                runner.working(),
                rendering_ahead(journal.lately.views),
                housekeeping(sessions, settings.keep_events, discard),
            ):
                yield
        finally:
            await model.aclose()
            await database.get_engine().dispose()

    @asynccontextmanager
    async def own_database(_: Litestar) -> AsyncGenerator[None, None]:
        with only_process(settings.database):
            yield

    app = Litestar(
        route_handlers=[
            *pages.controllers,
            api.ConversationsApi,
            api.RunsApi,
            api_socket,
            exports.ExportsApi,
            project_api.ProjectsApi,
            project_api.TeamsApi,
            completions.CompletionsApi,
            agui.AguiApi,
            check_health,
            create_static_files_router(
                path="/static",
                directories=[STATIC],
                cache_control=None,
                include_in_schema=False,
                after_request=cache_for_good,
            ),
        ],
        dependencies={
            "runner": Provide(provide_runner, sync_to_thread=False),
            "journal": Provide(provide_journal, sync_to_thread=False),
            "conversations": Provide(provide_conversations, sync_to_thread=False),
            "messages": Provide(provide_messages, sync_to_thread=False),
            "runs": Provide(provide_runs, sync_to_thread=False),
            "events": Provide(provide_events, sync_to_thread=False),
            "projects": Provide(provide_projects, sync_to_thread=False),
            "memories": Provide(provide_memories, sync_to_thread=False),
            "tool_servers": Provide(provide_tool_servers, sync_to_thread=False),
            "own_agents": Provide(provide_own_agents, sync_to_thread=False),
            "own_teams": Provide(provide_own_teams, sync_to_thread=False),
            "exchanges": Provide(provide_exchanges, sync_to_thread=False),
            "files": Provide(provide_files, sync_to_thread=False),
            "library": Provide(provide_library, sync_to_thread=False),
            "api_tokens": Provide(provide_api_tokens, sync_to_thread=False),
            "gate": Provide(provide_gate, sync_to_thread=False),
            "settings": Provide(provide_settings, sync_to_thread=False),
        },
        plugins=[SQLAlchemyPlugin(config=database)],
        lifespan=[own_database, work],
        state=State({"settings": settings}),
        guards=[check_token, check_media_type],
        before_request=check_origin(frozenset(settings.allowed_origins), frozenset(settings.cors_origins)),
        before_send=[add_security_headers, share_with(frozenset(settings.cors_origins))],
        exception_handlers=HANDLERS,
        template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment(STATIC))),
        compression_config=CompressionConfig(
            backend="gzip", gzip_compress_level=6, minimum_size=500, exclude_opt_key="exclude_from_compression"
        ),
        openapi_config=openapi.config(),
        request_max_body_size=settings.body_limit,
        logging_config=None,
    )
    openapi.complete(app.openapi_schema, EXAMPLES)
    return app


def provide_runner(state: State) -> Runner:
    runner: Runner = state.runner
    return runner


def provide_files(state: State) -> Files:
    files: Files = state.files
    return files


def provide_library(state: State) -> Library:
    library: Library = state.library
    return library


def provide_journal(state: State) -> Journal:
    journal: Journal = state.journal
    return journal


def provide_conversations(db_session: NamedDependency[AsyncSession]) -> Conversations:
    return Conversations(session=db_session)


def provide_messages(db_session: NamedDependency[AsyncSession]) -> Messages:
    return Messages(session=db_session)


def provide_runs(db_session: NamedDependency[AsyncSession]) -> Runs:
    return Runs(session=db_session)


def provide_events(db_session: NamedDependency[AsyncSession]) -> Events:
    return Events(session=db_session)


def provide_exchanges(
    messages: NamedDependency[Messages],
    runs: NamedDependency[Runs],
    events: NamedDependency[Events],
    journal: NamedDependency[Journal],
    files: NamedDependency[Files],
) -> Exchanges:
    return Exchanges(messages, runs, events, journal, files)


def provide_projects(db_session: NamedDependency[AsyncSession]) -> Projects:
    return Projects(session=db_session)


def provide_memories(db_session: NamedDependency[AsyncSession]) -> Memories:
    return Memories(session=db_session)


def provide_tool_servers(db_session: NamedDependency[AsyncSession]) -> ToolServers:
    return ToolServers(session=db_session)


def provide_own_agents(db_session: NamedDependency[AsyncSession]) -> OwnAgents:
    return OwnAgents(session=db_session)


def provide_own_teams(db_session: NamedDependency[AsyncSession]) -> OwnTeams:
    return OwnTeams(session=db_session)


def provide_api_tokens(db_session: NamedDependency[AsyncSession]) -> ApiTokens:
    return ApiTokens(session=db_session)


def provide_gate(state: State) -> Gate:
    gate: Gate = state.gate
    return gate


def provide_settings(state: State) -> Settings:
    settings: Settings = state.settings
    return settings


async def add_security_headers(message: Message, scope: Scope) -> None:
    if message["type"] == "http.response.start":
        message["headers"] = [*message["headers"], *SECURITY_HEADERS]


async def cache_for_good(response: Any) -> Any:
    """Addresses of static files carry a hash of their content, so a copy never grows old."""
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
