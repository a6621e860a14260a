"""The `riverrun` command: Litestar's own command group under our name, with a `run` that suits streams."""

import logging
import os
import sys
from socket import socket

import rich_click as click
import uvicorn
from litestar import Litestar
from litestar.cli.main import litestar_group
from pydantic import ValidationError

from .app import create_app
from .settings import Settings
from .vendor import VendorMissing

APP = "riverrun.app:create_app"


@click.command("run")
@click.option("--host", default=lambda: os.environ.get("HOST") or "127.0.0.1", help="Address to listen on.")
@click.option("--port", default=lambda: int(os.environ.get("PORT") or 8000), type=int, help="Port to listen on.")
@click.option("--access-log/--no-access-log", default=False, help="A log line for every request.")
@click.option("--root-path", default="", help="Path under which a proxy serves the application.")
def run(host: str, port: int, access_log: bool, root_path: str) -> None:
    """Bring the database up to date and serve."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s  %(name)s: %(message)s")
    for chatty in ("httpx", "httpx2", "alembic", "aiosqlite"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    os.environ["LITESTAR_PORT"] = str(port)
    settings = Settings()
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=access_log,
        log_level="warning",
        root_path=root_path,
        timeout_graceful_shutdown=round(settings.shutdown_grace) or 1,
        ws="websockets-sansio",
    )
    server = Server(config, app)
    server.run()
    if not server.started:
        sys.exit(3)


class Server(uvicorn.Server):
    """Says where it serves and which model, once it does."""

    def __init__(self, config: uvicorn.Config, app: Litestar) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            click.echo(f"riverrun serves at {address(self.config)}")
            click.echo(f"Model: {self._app.state.runner.model.name}")


def address(config: uvicorn.Config) -> str:
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{config.port}{config.root_path}"


def main() -> None:
    os.environ.setdefault("LITESTAR_APP", APP)
    os.environ.setdefault("LITESTAR_APP_NAME", "riverrun")
    os.environ.setdefault("LITESTAR_QUIET_CONSOLE", "1")
    litestar_group.add_command(run, name="run")
    try:
        litestar_group(prog_name="riverrun")
    except (ValidationError, VendorMissing) as failure:
        click.echo(str(failure), err=True)
        sys.exit(2)
