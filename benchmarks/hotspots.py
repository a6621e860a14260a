"""Where a server's time goes, from the stacks that py-spy records."""

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

SHOWN = 30
PY_SPY = Path(sys.executable).with_name("py-spy")


class Recorder:
    """Samples the stacks of a running process until `stop`; needs the right to trace it."""

    def __init__(self, pid: int, path: Path):
        self.path = path
        command = [str(PY_SPY), "record", "--pid", str(pid), "--output", str(path)]
        # Threads that wait for work look busy to py-spy; only the one that holds the lock runs Python.
        command += ["--format", "raw", "--function", "--rate", "200", "--gil"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def stop(self) -> str:
        self.process.send_signal(signal.SIGINT)
        _, complaints = self.process.communicate(timeout=30)
        return summary(self.path.read_text()) if self.path.exists() else complaints


def summary(stacks: str) -> str:
    """The functions that ran most and those under which most ran, in percent of the samples."""
    own: Counter[str] = Counter()
    under: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        for frame in set(frames):
            under[frame] += int(count)
    return "\n".join(["own time", *shares(own, own.total()), "with what it calls", *shares(under, own.total())])


def shares(counts: Counter[str], total: int) -> list[str]:
    return [f"  {100 * count / total:5.1f} %  {frame}" for frame, count in counts.most_common(SHOWN)]


if __name__ == "__main__":
    print(summary(Path(sys.argv[1]).read_text()))
