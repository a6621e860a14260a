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
from litestar.middleware import DefineMiddleware
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template.config import TemplateConfig
from sqlalchemy.ext.asyncio import AsyncSession

from .accounts.accounts import Accounts
from .accounts.federated import Federated
from .accounts.person import Person
from .accounts.provider import Provider
from .agents.model import connect
from .agents.teams import registry
from .agents.toolboxes import Toolboxes
from .controllers import agui, api, completions, exports, openapi, pages, project_api
from .controllers.access import Gate, Recognition, check_person, check_project, check_token, reach_of_request
from .controllers.body import FIELD_LIMIT, Request, check_media_type
from .controllers.examples import EXAMPLES
from .controllers.exchanges import Exchanges
from .controllers.health import check_health
from .controllers.hosts import check_host, keep_to_tls
from .controllers.limits import UNCOUNTED, Limits, forgetting
from .controllers.origin import check_origin, share_with
from .controllers.problems import HANDLERS
from .controllers.protection import protect
from .controllers.sockets import api_socket
from .knowledge.library import Library
from .persistence.database import configure, create_writer, is_sqlite, migrate, only_process
from .persistence.keyring import Keyring, keyring_of
from .persistence.reach import keep_within
from .persistence.repositories import (
    ApiTokens,
    Conversations,
    Events,
    Memberships,
    Memories,
    Messages,
    OwnAgents,
    OwnTeams,
    Projects,
    Runs,
    ToolServers,
)
from .persistence.sealing import seal_all
from .projects import ProjectContexts, embedder_of
from .rendering.lately import rendering_ahead
from .rendering.templates import environment, show_images_of
from .runs.housekeeping import housekeeping
from .runs.journal import Journal
from .runs.runner import Runner
from .runs.teams import Teams
from .settings import Settings
from .vendor import ensure_vendor
from .workspace.files import Files

STATIC = Path(__file__).with_name("static")


def create_app(settings: Settings | None = None) -> Litestar:
    settings = settings or Settings()
    ensure_vendor()
    show_images_of(settings.image_hosts)
    database = configure(settings.database)
    limits = Limits(settings.requests_limit, settings.streams_limit)

    @asynccontextmanager
    async def work(app: Litestar) -> AsyncGenerator[None, None]:
        """Runs live here, between the database and the last request."""
        keyring = keyring_of(settings.secret_key, settings.key_file)
        await migrate(database)
        await seal_all(database, keyring)
        sessions = database.create_session_maker()
        model = await connect(settings.model_options())
        journal = Journal(create_writer(database, settings.database_patience), sessions, settings.heartbeat)
        files = Files(settings.data / "projects", sessions)
        library = Library(sessions, await embedder_of(model, settings.embedding_model))
        runner = Runner(
            journal,
            sessions,
            Teams(registry(), sessions),
            ProjectContexts(
                sessions,
                files,
                library,
                Toolboxes(settings.fetching, commands=settings.tool_commands),
                keyring,
            ),
            model,
            limit=settings.run_limit,
            limit_per_person=settings.runs_limit,
            tokens_per_day=settings.tokens_per_day,
            message_limit=settings.message_limit,
            time_limit=settings.run_time_limit,
            grace=settings.shutdown_grace,
            patience=settings.approval_timeout,
            alone=is_sqlite(settings.database),
        )

        gate = Gate(
            sessions,
            journal.save,
            accounts=settings.auth == "accounts",
            required=settings.api_tokens == "required",
            days=settings.session_days,
        )
        accounts = Accounts(sessions, settings.session_days)

        async def discard(project_id: UUID) -> None:
            await library.of(project_id).clear()
            await files.discard(project_id)

        app.state.update(runner=runner, journal=journal, sessions=sessions, files=files, library=library, gate=gate)
        app.state.update(accounts=accounts, keyring=keyring)
        app.state.federated = Federated(sessions, anyone=settings.oidc_new == "anyone")
        try:
            async with (
                journal.writing(),
                gate.working(),
                library.working(),
                runner.working(),
                forgetting(app),
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
                opt={"public": True, **UNCOUNTED},
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
            "accounts": Provide(provide_accounts, sync_to_thread=False),
            "federated": Provide(provide_federated, sync_to_thread=False),
            "provider": Provide(provide_provider, sync_to_thread=False),
            "person": Provide(provide_person, sync_to_thread=False),
            "memberships": Provide(provide_memberships, sync_to_thread=False),
            "session": Provide(provide_session, sync_to_thread=False),
            "gate": Provide(provide_gate, sync_to_thread=False),
            "keyring": Provide(provide_keyring, sync_to_thread=False),
            "settings": Provide(provide_settings, sync_to_thread=False),
        },
        plugins=[SQLAlchemyPlugin(config=database)],
        lifespan=[own_database, work],
        state=State({"settings": settings, "limits": limits, "provider": provider_of(settings)}),
        middleware=[DefineMiddleware(Recognition, exclude="^/static/"), *limits.middleware],
        request_class=Request,
        guards=[check_host, check_token, check_person, check_project, check_media_type],
        before_request=check_origin(frozenset(settings.allowed_origins), frozenset(settings.cors_origins)),
        before_send=[
            protect(settings.image_hosts),
            share_with(frozenset(settings.cors_origins)),
            keep_to_tls(settings.hsts),
        ],
        exception_handlers=HANDLERS,
        template_config=TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment(STATIC))),
        compression_config=CompressionConfig(
            backend="gzip", gzip_compress_level=6, minimum_size=500, exclude_opt_key="exclude_from_compression"
        ),
        openapi_config=openapi.config(),
        request_max_body_size=settings.body_limit,
        multipart_form_part_limit=FIELD_LIMIT,
        logging_config=None,
    )
    openapi.complete(app.openapi_schema, EXAMPLES)
    return app


def provider_of(settings: Settings) -> Provider | None:
    if not settings.oidc_issuer:
        return None
    return Provider(settings.oidc_name, settings.oidc_issuer, settings.oidc_client_id, settings.oidc_client_secret)


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


def provide_conversations(session: NamedDependency[AsyncSession]) -> Conversations:
    return Conversations(session=session)


def provide_messages(session: NamedDependency[AsyncSession]) -> Messages:
    return Messages(session=session)


def provide_runs(session: NamedDependency[AsyncSession]) -> Runs:
    return Runs(session=session)


def provide_events(session: NamedDependency[AsyncSession]) -> Events:
    return Events(session=session)


def provide_exchanges(
    messages: NamedDependency[Messages],
    runs: NamedDependency[Runs],
    events: NamedDependency[Events],
    journal: NamedDependency[Journal],
    files: NamedDependency[Files],
) -> Exchanges:
    return Exchanges(messages, runs, events, journal, files)


def provide_projects(session: NamedDependency[AsyncSession]) -> Projects:
    return Projects(session=session)


def provide_memories(session: NamedDependency[AsyncSession]) -> Memories:
    return Memories(session=session)


def provide_tool_servers(session: NamedDependency[AsyncSession]) -> ToolServers:
    return ToolServers(session=session)


def provide_own_agents(session: NamedDependency[AsyncSession]) -> OwnAgents:
    return OwnAgents(session=session)


def provide_own_teams(session: NamedDependency[AsyncSession]) -> OwnTeams:
    return OwnTeams(session=session)


def provide_api_tokens(session: NamedDependency[AsyncSession]) -> ApiTokens:
    return ApiTokens(session=session)


def provide_accounts(state: State) -> Accounts:
    accounts: Accounts = state.accounts
    return accounts


def provide_federated(state: State) -> Federated:
    federated: Federated = state.federated
    return federated


def provide_provider(state: State) -> Provider | None:
    provider: Provider | None = state.provider
    return provider


def provide_person(request: Request[Any, Any, State]) -> Person:
    person: Person = request.scope["user"]
    return person


def provide_session(request: Request[Any, Any, State], db_session: NamedDependency[AsyncSession]) -> AsyncSession:
    """What is asked for with it is found within the reach of whoever asks."""
    return keep_within(db_session, reach_of_request(request))


def provide_memberships(session: NamedDependency[AsyncSession]) -> Memberships:
    return Memberships(session=session)


def provide_gate(state: State) -> Gate:
    gate: Gate = state.gate
    return gate


def provide_keyring(state: State) -> Keyring:
    keyring: Keyring = state.keyring
    return keyring


def provide_settings(state: State) -> Settings:
    settings: Settings = state.settings
    return settings


async def cache_for_good(response: Any) -> Any:
    """Addresses of static files carry a hash of their content, so a copy never grows old."""
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response
