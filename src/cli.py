"""The `riverrun` command: Litestar's own commands under our name, with a `run` that suits streams."""

import asyncio
import gc
import logging
import os
import sys
from socket import socket

import rich_click as click
import uvicorn
from advanced_alchemy.extensions.litestar.cli import database_group
from litestar import Litestar
from litestar.cli._utils import LitestarEnv, LitestarGroup
from litestar.cli.commands.core import info_command, routes_command
from litestar.cli.commands.schema import schema_group
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import SQLAlchemyError

from . import __version__
from .asking import ask
from .persistence.database import DatabaseTaken, configure, migrate, only_process
from .serving import WebSocketProtocol
from .settings import Settings
from .vendor import VendorMissing

STRAGGLERS = 3  # seconds after the runs' time that a shutdown gives to requests under way

APP = "riverrun.app:create_app"


@click.group(cls=LitestarGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="riverrun")
@click.pass_context
def riverrun(context: click.Context) -> None:
    """Talk with an assistant or a team of agents and watch the work live."""
    context.obj = LitestarEnv.from_env(APP)


@click.command("run")
@click.option("--host", envvar="HOST", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", envvar="PORT", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port.")
@click.option("--access-log", is_flag=True, help="Write a log line for every request.")
def run(app: Litestar, host: str, port: int, access_log: bool) -> None:
    """Bring the database up to date and serve."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    settings: Settings = app.state.settings
    settings.port = port
    bring_up_to_date(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=access_log,
        log_level="info" if access_log else "warning",
        # By then streams have ended by themselves; a client that takes nothing would hold a shutdown for ever.
        timeout_graceful_shutdown=round(settings.shutdown_grace) + STRAGGLERS,
        ws=WebSocketProtocol,
        ws_max_size=settings.body_limit,
        ws_ping_interval=None,  # a page's script sees nothing of such pings, so /api/ws has its own
        ws_per_message_deflate=False,  # a compressor a connection costs more than these short messages weigh
    )
    # The port first: a second server on one port must not get as far as the database.
    server = Server(config, app)
    server.run(sockets=[config.bind_socket()])
    if not server.started:
        sys.exit(3)


def bring_up_to_date(settings: Settings) -> None:
    """The application does so itself; here what is wrong can be told in a sentence."""
    try:
        with only_process(settings.database):
            asyncio.run(migrate(configure(settings.database)))
    except DatabaseTaken as failure:
        raise click.ClickException(str(failure)) from failure
    except (OSError, SQLAlchemyError) as failure:
        where = "RIVERRUN_DATABASE_URL" if settings.database_url else f"RIVERRUN_DATA ({settings.data})"
        reason = str(getattr(failure, "orig", None) or failure)
        raise click.ClickException(f"The database cannot be used: {reason}. Check {where}.") from failure


class Server(uvicorn.Server):
    """Says where it serves and which model, once it does; and lets go of those who follow runs before it ends."""

    def __init__(self, config: uvicorn.Config, app: Litestar) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What is loaded by now stays for good; looking through it for garbage would stop all streams.
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 20)
            click.echo(f"riverrun serves at {address(self.config)}")
            click.echo(f"Model: {self._app.state.runner.model.name}")

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        settling = asyncio.create_task(self._settle())
        await super().shutdown(sockets)
        await settling

    async def _settle(self) -> None:
        await self._app.state.runner.settle()
        self._app.state.journal.let_go()


def address(config: uvicorn.Config) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}"


for command in (run, ask, database_group, routes_command, schema_group, info_command):
    riverrun.add_command(command)  # type: ignore[arg-type]  # a group is a command too


def main() -> None:
    os.environ.setdefault("LITESTAR_APP_NAME", "riverrun")
    os.environ.setdefault("LITESTAR_QUIET_CONSOLE", "1")
    try:
        riverrun(prog_name="riverrun")
    except ValidationError as failure:
        click.echo("\n".join(map(sentence, failure.errors())), err=True)
        sys.exit(2)
    except VendorMissing as failure:
        click.echo(str(failure), err=True)
        sys.exit(2)


def sentence(error: ErrorDetails) -> str:
    """Which setting is wrong and why; its value may be a secret."""
    name = str(error["loc"][0])
    setting = name if name.isupper() else f"RIVERRUN_{name.upper()}"
    return f"{setting}: {error['msg'].removeprefix('Value error, ')}"
