"""Starts what is measured, each on a free port of the loopback, for as long as a block runs."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from .process import pin

SERVER_PROCESSOR, CLIENT_PROCESSOR = 0, 1
OWN = ("RIVERRUN_", "OPENAI_")  # what the person who runs this has set for their own riverrun does not count


@dataclass(frozen=True)
class Server:
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def model() -> Iterator[Server]:
    with serving(["benchmarks.model", "--port"], CLIENT_PROCESSOR, {}) as server:
        yield server


@contextmanager
def relay(model: Server) -> Iterator[Server]:
    command = ["uvicorn", "benchmarks.relay:app", "--loop", "uvloop", "--http", "httptools"]
    options = ["--no-access-log", "--host", "127.0.0.1", "--port"]
    with serving(command + options, SERVER_PROCESSOR, {"MODEL_URL": model.url}) as server:
        yield server


@contextmanager
def riverrun(model: Server, data: Path, database_url: str | None = None) -> Iterator[Server]:
    settings = {
        "RIVERRUN_DATA": str(data),
        "RIVERRUN_MODEL_URL": f"{model.url}/v1",
        "RIVERRUN_MODEL_KEY": "benchmark",
        "RIVERRUN_MODEL": "benchmark",
    }
    if database_url:
        settings["RIVERRUN_DATABASE_URL"] = database_url
    data.mkdir(exist_ok=True)
    with serving(["riverrun", "run", "--host", "127.0.0.1", "--port"], SERVER_PROCESSOR, settings) as server:
        yield server


@contextmanager
def serving(module: list[str], processor: int, settings: dict[str, str]) -> Iterator[Server]:
    """`python -m` the module; what it said is shown when it does not come up or the block fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OWN)} | settings
    port = free_port()
    with TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", *module, str(port)], env=environment, stdout=log, stderr=log)
        try:
            pin(process.pid, [processor])
            if not answers(process, port):
                raise SystemExit(f"{' '.join(module)} does not come up")
            yield Server(process.pid, port)
        except BaseException:
            log.seek(0)
            print(log.read().decode(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(process: subprocess.Popen[bytes], port: int, seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return True
        time.sleep(0.05)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
