"""Runs every scenario against a bare relay and against riverrun, and prints the figures beside the aims.

Each scenario gets fresh servers and an empty database. The server has one processor for itself; the model
server and the client share another.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import durability, servers
from .hotspots import Recorder
from .process import pin
from .servers import CLIENT_PROCESSOR, Server

BUSY = 15  # percent of a processor used by others, above which the figures are not to be trusted
ROWS = {
    "made_p50": "conversation made, p50 ms",
    "made_p99": "conversation made, p99 ms",
    "first_p50": "first token, p50 ms",
    "first_p99": "first token, p99 ms",
    "first_added_p99": "first token, added p99 ms",
    "added_p50": "added latency, p50 ms",
    "added_p99": "added latency, p99 ms",
    "tokens_per_second": "tokens a second",
    "chunks_per_second": "chunks a second",
    "cpu_per_1000_tokens": "server CPU, ms per 1,000 tokens",
    "cpu_per_1000_tokens_steady": "  between start and end",
    "cpu_per_1000_chunks": "server CPU, ms per 1,000 chunks",
    "cpu_per_start": "server CPU, ms per start and end",
    "kilobytes_per_stream": "memory, kB a stream",
    "idle_megabytes": "memory when idle, MB",
    "server_cpu": "server, % of a processor",
    "model_cpu": "model, %",
    "client_cpu": "client, %",
    "elsewhere_cpu": "other processes, %",
}


@dataclass(frozen=True)
class Aim:
    figure: str
    most: float = float("inf")
    least: float = 0
    of_relay: bool = False

    def met(self, riverrun: dict[str, Any], relay: dict[str, Any]) -> bool:
        value = riverrun[self.figure]
        if self.of_relay:
            value /= relay[self.figure]
        return bool(self.least <= value <= self.most)

    def __str__(self) -> str:
        bound = f"≥ {self.least:,.0f}" if self.least else f"≤ {self.most:,.0f}"
        return f"{bound} × relay" if self.of_relay else bound


@dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    streams: int
    tokens: int
    rate: float | None = None
    ramp: float = 200
    deadline: float = 60
    aims: tuple[Aim, ...] = ()

    def options(self) -> list[str]:
        rate = ["--rate", str(self.rate)] if self.rate else []
        bounds = {
            "streams": self.streams,
            "tokens": self.tokens,
            "ramp": self.ramp,
            "deadline": self.deadline,
        }
        return rate + [text for name, value in bounds.items() for text in (f"--{name}", str(value))]


SCENARIOS = [
    Scenario(
        name="one",
        title="one stream at a time",
        streams=10,
        rate=25,
        tokens=20,
        ramp=1,
        aims=(Aim("first_added_p99", most=10),),
    ),
    Scenario(
        name="200x10",
        title="200 streams of 10 tokens/s",
        streams=200,
        rate=10,
        tokens=200,
        aims=(Aim("cpu_per_1000_tokens", most=4, of_relay=True), Aim("added_p99", most=25)),
    ),
    Scenario(
        name="200x30",
        title="200 streams of 30 tokens/s",
        streams=200,
        rate=30,
        tokens=360,
        aims=(Aim("added_p99", most=100),),
    ),
    Scenario(
        name="1000x2",
        title="1,000 streams of 2 tokens/s, 200 started a second",
        streams=1000,
        rate=2,
        tokens=24,
        aims=(Aim("first_p99", most=300), Aim("kilobytes_per_stream", most=60)),
    ),
    Scenario(
        name="flat",
        title="50 streams flat out",
        streams=50,
        tokens=4000,
        ramp=1000,
        aims=(Aim("tokens_per_second", least=30_000),),
    ),
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [*(scenario.name for scenario in SCENARIOS), *durability.MEASURES]
    parser.add_argument("--scenario", action="append", choices=names)
    parser.add_argument("--target", choices=["riverrun", "page"], default="riverrun", help="programs or pages")
    parser.add_argument("--database-url", help="instead of SQLite in a temporary folder")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--profile", type=Path, help="folder for the stacks that py-spy records of riverrun")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.target, options.database_url, options.profile)
        for scenario in SCENARIOS:
            if options.scenario and scenario.name not in options.scenario:
                continue
            result = bench.run(scenario)
            results.append({"scenario": scenario.name, **result})
            if not options.json:
                print(table(scenario, result["riverrun"], result["relay"]), flush=True)
        for name in durability.MEASURES:
            if options.scenario and name in options.scenario:
                figures, busy = durability.measure(name, Path(folder) / name, options.database_url)
                results.append({"scenario": name, "figures": [figure._asdict() for figure in figures]})
                if not options.json:
                    print("\n".join([f"{name} (all processes: {busy:.0f}% of a processor)", *map(str, figures), ""]))
    if options.json:
        print(json.dumps(results, indent=2))


@dataclass
class Bench:
    folder: Path
    target: str
    database_url: str | None
    profile: Path | None

    def run(self, scenario: Scenario) -> dict[str, Any]:
        with servers.model() as model:
            with servers.relay(model) as server:
                relay = load("relay", server, model, scenario)
            with servers.riverrun(model, self.folder / scenario.name, self.database_url) as server:
                recorder = self.recorder(server, scenario)
                riverrun = load(self.target, server, model, scenario)
                if recorder:
                    print(f"{scenario.title}: profile\n{recorder.stop()}\n", file=sys.stderr)
        return {"riverrun": riverrun, "relay": relay}

    def recorder(self, server: Server, scenario: Scenario) -> Recorder | None:
        if not self.profile:
            return None
        self.profile.mkdir(parents=True, exist_ok=True)
        return Recorder(server.pid, self.profile / f"{scenario.name}.stacks")


def load(target: str, server: Server, model: Server, scenario: Scenario) -> dict[str, Any]:
    pids = ["--port", str(server.port), "--server", str(server.pid), "--model", str(model.pid)]
    command = [sys.executable, "-m", "benchmarks.load", target, *pids, *scenario.options()]
    client = subprocess.Popen(command, stdout=subprocess.PIPE)
    pin(client.pid, [CLIENT_PROCESSOR])
    try:
        figures, _ = client.communicate(timeout=scenario.deadline + 30)
    finally:
        client.kill()
    if client.returncode:
        raise SystemExit(client.returncode)
    return dict(json.loads(figures))


def table(scenario: Scenario, riverrun: dict[str, Any], relay: dict[str, Any]) -> str:
    aims = {aim.figure: aim for aim in scenario.aims}
    lines = [f"{scenario.title:<54}{'riverrun':>12}{'relay':>12}{'ratio':>9}   aim"]
    for figure, label in ROWS.items():
        value, yardstick, aim = riverrun[figure], relay[figure], aims.get(figure)
        ratio = f"{value / yardstick:.1f}" if value and yardstick else ""
        verdict = f"{aim}  {'met' if aim.met(riverrun, relay) else 'MISSED'}" if aim else ""
        lines.append(f"  {label:<52}{number(value):>12}{number(yardstick):>12}{ratio:>9}   {verdict}".rstrip())
    for name, figures in (("riverrun", riverrun), ("relay", relay)):
        lines += [f"  {name} ERROR: {kind}, {count} streams" for kind, count in figures["errors"].items()]
        if figures["elsewhere_cpu"] > BUSY:
            lines.append(f"  {name}: other processes were busy meanwhile, so take the figures with care")
    return "\n".join([*lines, ""])


def number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


if __name__ == "__main__":
    main()
