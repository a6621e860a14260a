"""What a process costs, as Linux tells it."""

import os
from collections.abc import Iterable
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads since the process began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def machine_seconds() -> float:
    """What all processors have worked since the machine began, to tell whether others were busy meanwhile."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / TICK


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def pin(pid: int, processors: Iterable[int]) -> None:
    """On a machine with fewer processors the pin does not hold, and that is fine."""
    if chosen := set(processors) & os.sched_getaffinity(0):
        os.sched_setaffinity(pid, chosen)
