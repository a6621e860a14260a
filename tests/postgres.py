"""A throw-away PostgreSQL for the tests: made for the session, on loopback, gone afterwards."""

import asyncio
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import URL, make_url

DRIVER = "postgresql+asyncpg"
GIVEN_SERVER = "RIVERRUN_TEST_POSTGRES_URL"
# Nothing here needs to survive the machine, so nothing waits for the disk. What was committed still survives
# stop(), which kills the server: that needs synchronous_commit, which costs little without fsync.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


class Postgres:
    """A server on which databases are made and dropped. Its methods block; a running loop is no obstacle."""

    def __init__(self, url: URL) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """Of the database that is always there, for asyncpg through SQLAlchemy."""
        return self._url.render_as_string(hide_password=False)

    def create_database(self, template: str | None = None) -> str:
        """Make a database and return its URL; `template` is the URL of one to copy that nobody is using."""
        name = f"riverrun_{secrets.token_hex(6)}"
        copied = f' TEMPLATE "{make_url(template).database}"' if template else ""

        async def create(connection: asyncpg.Connection) -> None:
            # As files, which takes half the time of the way through the log that came with 15 and is the default since.
            strategy = " STRATEGY file_copy" if connection.get_server_version().major >= 15 else ""
            await connection.execute(f'CREATE DATABASE "{name}"{copied}{strategy}')

        self._connected(create)
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop_database(self, url: str) -> None:
        """Drop a database, ending its connections."""

        async def drop(connection: asyncpg.Connection) -> None:
            await connection.execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')

        self._connected(drop)

    @contextmanager
    def database(self, template: str | None = None) -> Iterator[str]:
        url = self.create_database(template)
        try:
            yield url
        finally:
            self.drop_database(url)

    def stop(self) -> None:
        """Kill the server as a crash would: connections break, and what was committed stays."""
        pytest.fail(f"This test stops the server, which must be its own: unset {GIVEN_SERVER}.")

    def start(self) -> None:
        """Start the server again on the same address, after stop()."""
        self.stop()

    @contextmanager
    def away(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _connected(self, work: Callable[[asyncpg.Connection], Coroutine[Any, Any, None]]) -> None:
        dsn = self._url.set(drivername="postgresql").render_as_string(hide_password=False)

        async def execute() -> None:
            connection = await asyncpg.connect(dsn)
            try:
                await work(connection)
            finally:
                await connection.close()

        run_apart(execute())


def run_apart(coroutine: Coroutine[Any, Any, None]) -> None:
    # On a thread of its own, because the test that asks may be running on a loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()


class OwnPostgres(Postgres):
    """A server of its own in a temporary folder; `settings` go on top of SETTINGS, say `fsync="on"`."""

    def __init__(self, **settings: str) -> None:
        self._settings = SETTINGS | settings
        self._folder = Path(tempfile.mkdtemp(prefix="riverrun-postgres-"))
        self._owner = server_account()
        try:
            super().__init__(self._initialise())
            self.start()
        except BaseException:
            self.close()
            raise

    def _initialise(self) -> URL:
        password, file = secrets.token_hex(16), self._folder / "password"
        file.write_text(password)
        if self._owner:
            for path in (self._folder, file):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        # The password goes over loopback as it is, because hashing it would slow down every connection.
        account = ("--username=riverrun", f"--pwfile={file}", "--auth=password")
        self._run("initdb", *account, "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")
        return URL.create(DRIVER, "riverrun", password, host="127.0.0.1", port=free_port(), database="postgres")

    def start(self) -> None:
        settings = self._settings | {
            "listen_addresses": str(self._url.host),
            "port": str(self._url.port),
            "unix_socket_directories": "",
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        log = self._folder / "log"
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--mode=immediate", "--wait", "--silent")

    def close(self) -> None:
        if (self._folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str | Path] = [binary(program), "-D", self._folder / "data", *arguments]
        # Into a file and not a pipe, which the server that pg_ctl leaves behind would hold open.
        with (self._folder / "output").open("w+") as output:
            done = subprocess.run(
                command,
                cwd=self._folder,
                user=self._owner.pw_uid if self._owner else None,
                group=self._owner.pw_gid if self._owner else None,
                extra_groups=[] if self._owner else None,
                env=os.environ | {"LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            said = [path.read_text() for name in ("output", "log") if (path := self._folder / name).exists()]
            pytest.fail(f"{program} {arguments[0]} failed:\n{''.join(said)[-2000:]}", pytrace=False)


def server_account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: the account it gets then, otherwise one's own."""
    if os.geteuid() != 0:
        return None
    return pwd.getpwnam("postgres" if "postgres" in {user.pw_name for user in pwd.getpwall()} else "nobody")


def binary(program: str) -> Path:
    if found := shutil.which(program):
        return Path(found)
    # Debian keeps them off the PATH; the newest of several.
    installed = Path("/usr/lib/postgresql").glob(f"*/bin/{program}")
    if newest := max(installed, key=lambda path: int(path.parts[-3]), default=None):
        return newest
    pytest.fail(
        f"These tests need PostgreSQL, and there is no {program} here: install it, which on Debian "
        f"`scripts/install-test-services` does, or name a server to make databases on by {GIVEN_SERVER}.",
        pytrace=False,
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's server; who stops it starts it again."""
    if given := os.environ.get(GIVEN_SERVER):
        yield Postgres(make_url(given).set(drivername=DRIVER))
        return
    server = OwnPostgres()
    yield server
    server.close()
