"""riverrun itself as a process, for the tests: started, killed and started again on the same data."""

import asyncio
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

import uvicorn
from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

STARTUP = 60.0  # seconds
SHUTDOWN = 20.0

# Most of a start is the import of what riverrun stands on. A process that has imported it, and done no more, forks
# each server of a session: nothing is shared by them. That the command itself starts one is for its own tests.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["riverrun.cli", "riverrun.app", "riverrun.agents.mcp", "tests.server"])


class Server:
    """A riverrun on a free port of 127.0.0.1. `settings` are environment variables."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings = settings
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.process: BaseProcess | None = None

    def start(self, **settings: str) -> Self:
        """Returns when it answers. `settings` are added to those it was made with."""
        self.settings |= settings
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = environment_with({"RIVERRUN_DATA": str(self.folder / "data"), **self.settings})
        command = ["riverrun", "run", "--host", "127.0.0.1", "--port", str(self.port)]
        told = (self.log, self.log)
        self.process = FORKS.Process(target=become, args=(command, environment, self.folder, *told), daemon=True)
        self.process.start()
        self._wait_until_it_answers()
        return self

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + STARTUP
        while time.monotonic() < deadline:
            assert self.process is not None
            if not self.process.is_alive():
                raise RuntimeError(f"riverrun ended while starting:\n{self.log.read_text()}")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=1):
                    return
            except (OSError, urllib.error.URLError):
                time.sleep(0.05)
        raise RuntimeError(f"riverrun did not answer in {STARTUP} s:\n{self.log.read_text()}")

    def kill(self) -> None:
        """As a crash or the kernel would: at once, with no chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an administrator would; returns when it is down."""
        self._end(signal.SIGTERM)

    def terminate(self) -> None:
        """Asks it to stop and does not wait."""
        self.send(signal.SIGTERM)

    def send(self, what: signal.Signals) -> None:
        assert self.process is not None
        assert self.process.pid is not None
        os.kill(self.process.pid, what)

    def wait(self) -> int:
        """Its exit code. Raises TimeoutError."""
        assert self.process is not None
        self.process.join(SHUTDOWN)
        if self.process.exitcode is None:
            raise TimeoutError(f"riverrun did not end in {SHUTDOWN} s.")
        return self.process.exitcode

    def _end(self, how: signal.Signals) -> None:
        if self.process is None or not self.process.is_alive():
            return
        self.send(how)
        try:
            self.wait()
        except TimeoutError:
            self.process.kill()
            self.process.join()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end(signal.SIGTERM)


def environment_with(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's, with these settings and no others."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("RIVERRUN", "OPENAI"))}
    return ours | {**settings}


def run_command(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """`riverrun` with these arguments, in a folder, when it has ended."""
    command, told = ["riverrun", *arguments], (folder / "out.log", folder / "err.log")
    for log in told:
        log.unlink(missing_ok=True)
    process = FORKS.Process(target=become, args=(command, environment_with(settings), folder, *told), daemon=True)
    process.start()
    process.join(STARTUP)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"{command} did not end in {STARTUP} s.")
    return subprocess.CompletedProcess(command, process.exitcode, *(log.read_text() for log in told))


def become(command: list[str], environment: Mapping[str, str], folder: Path, out: Path, err: Path) -> None:
    """Goes on as a command that was started in a folder, with nothing to read, and that writes to files."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(out, appending, 0o644), 1)
    os.dup2(os.open(err, appending, 0o644), 2)
    sys.argv = command
    from riverrun.__main__ import main

    hash_quickly()

    main()


def hash_quickly() -> None:
    """Passwords as Argon2 hashes of the least cost. That each takes a while on purpose is for its own test."""
    from riverrun.accounts import passwords

    passwords.hasher = PasswordHasher.from_parameters(CHEAPEST)
    passwords.NOBODYS = passwords.hasher.hash("")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[int]:
    """The port of 127.0.0.1 on which uvicorn serves an application, in this process."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, **{"log_level": "warning", **options}))
    serving = asyncio.create_task(server.serve())
    for _ in range(2000):
        if server.started or serving.done():
            break
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await serving
