"""The `riverrun` command: Litestar's own commands under our name, with a `run` that suits streams."""

import asyncio
import gc
import os
import sys
from collections.abc import Awaitable, Callable
from socket import socket
from typing import TypeVar

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
from .accounts.accounts import Accounts
from .asking import ask
from .controllers.hosts import NEEDS_ACCOUNTS, is_open
from .errors import RiverrunError
from .logs import begin_log
from .persistence.database import DatabaseTaken, configure, migrate, only_process
from .persistence.keyring import NoKey, keyring_of
from .plain import clean
from .serving import HttpProtocol, WebSocketProtocol
from .settings import Settings
from .vendor import VendorMissing

T = TypeVar("T")

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
    begin_log()
    settings: Settings = app.state.settings
    settings.host, settings.port = host, port
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=access_log,
        log_config=None,
        log_level="info" if access_log else "warning",
        # By then streams have ended by themselves; a client that takes nothing would hold a shutdown for ever.
        timeout_graceful_shutdown=round(settings.shutdown_grace) + STRAGGLERS,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=settings.body_limit,
        ws_ping_interval=None,  # a page's script sees nothing of such pings, so /api/ws has its own
        forwarded_allow_ips=settings.proxies,  # by itself uvicorn believes whatever is on this machine
        ws_per_message_deflate=False,  # a compressor a connection costs more than these short messages weigh
    )
    # The port first: a second server on one port must not get as far as the database.
    listener = config.bind_socket()
    if settings.auth == "local":
        refuse_others(listener)
    bring_up_to_date(settings)
    server = Server(config, app)
    server.run(sockets=[listener])
    if not server.started:
        sys.exit(3)


def refuse_others(listener: socket) -> None:
    """By the address that the socket has come to have, whatever name was given for it. Nothing has come in yet."""
    if is_open(listener.getsockname()[0]):
        listener.close()
        click.echo(NEEDS_ACCOUNTS, err=True)
        sys.exit(2)


def bring_up_to_date(settings: Settings) -> None:
    """The application does so itself; here what is wrong can be told in a sentence."""
    try:
        with only_process(settings.database):
            keyring_of(settings.secret_key, settings.key_file)
            asyncio.run(migrate(configure(settings.database)))
    except (DatabaseTaken, NoKey) as failure:
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
            click.echo(f"Model: {clean(self._app.state.runner.model.name)}")
            await self._tell_code()

    async def _tell_code(self) -> None:
        settings: Settings = self._app.state.settings
        accounts: Accounts = self._app.state.accounts
        if settings.auth == "accounts" and not await accounts.are_set_up():
            click.echo(f"Nobody can sign in yet. Open {address(self.config)}/set-up; the code is {accounts.code}")

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


@click.group("account")
def account_group() -> None:
    """Manage who can sign in."""


@account_group.command("create")
@click.argument("name")
@click.option("--admin", is_flag=True, help="May invite and manage people.")
@click.password_option(help="Asked for when it is not given.")
def create_account(name: str, admin: bool, password: str) -> None:
    """Make an account. The first one gets what was done here so far, and administers."""

    async def create(accounts: Accounts) -> str:
        if not await accounts.are_set_up():
            await accounts.set_up(name, password)
            return "administers"
        await accounts.make(name, password, "admin" if admin else "member", who="the command line")
        return "administers" if admin else "is a member"

    click.echo(f"{name} can sign in now, and {with_accounts(create)}.")


@account_group.command("password")
@click.argument("name")
@click.password_option(help="Asked for when it is not given.")
def change_password(name: str, password: str) -> None:
    """Give somebody a new password, and sign all of their browsers out."""

    async def change(accounts: Accounts) -> None:
        account = await accounts.find(name)
        await accounts.give_password(account.id, password, "password_changed", "the command line")

    with_accounts(change)
    click.echo(f"{name} has a new password.")


@account_group.command("list")
def list_accounts() -> None:
    """List who can sign in."""

    async def people(accounts: Accounts) -> list[str]:
        return [
            f"{account.name}  {account.role}{'  closed' if account.closed_at else ''}"
            for account in await accounts.people()
        ]

    for line in with_accounts(people):
        click.echo(line)


def with_accounts(work: Callable[[Accounts], Awaitable[T]]) -> T:
    """In the database, beside a server that may be running."""
    settings = Settings()
    database = configure(settings.database)

    async def connected() -> T:
        await migrate(database)
        try:
            return await work(Accounts(database.create_session_maker(), settings.session_days))
        finally:
            await database.get_engine().dispose()

    try:
        return asyncio.run(connected())
    except RiverrunError as refusal:
        raise click.ClickException(refusal.message) from refusal


for command in (run, ask, account_group, database_group, routes_command, schema_group, info_command):
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
    reason = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # two settings that do not go together; it names them
        return reason
    name = str(error["loc"][0])
    setting = name if name.isupper() else f"RIVERRUN_{name.upper()}"
    return f"{setting}: {reason}"
