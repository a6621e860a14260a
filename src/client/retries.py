"""How often, and after which pauses, something that was lost is tried again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import uniform

from .errors import Lost, Unreachable

LONGEST = 30.0  # seconds of a pause, unless the server asks for more
LONGEST_ASKED = 60.0


@dataclass(frozen=True)
class Retry:
    """Attempt `attempt` of `attempts` follows in `delay` seconds; `reason` is a sentence."""

    attempt: int
    attempts: int
    delay: float
    reason: str


@dataclass(frozen=True)
class Patience:
    """`first`: seconds of the first pause; each further one is twice as long."""

    server: str
    attempts: int
    first: float
    told: Callable[[Retry], object] | None = None


class Attempts:
    """Counts since the last success."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0

    def succeed(self) -> None:
        self._failures = 0

    async def pause(self, failure: Lost) -> None:
        """Raises what is left to say when that was the last attempt."""
        patience = self._patience
        if self._failures >= patience.attempts:
            raise failure.refused or Unreachable(f"No connection to {patience.server}: {failure.reason}") from failure
        longest = min(LONGEST, patience.first * 2**self._failures)
        # Spread, so that all clients of a server that restarts do not come back at once.
        delay = max(uniform(longest / 2, longest), min(failure.delay, LONGEST_ASKED))  # noqa: S311
        self._failures += 1
        if patience.told:
            patience.told(Retry(self._failures, patience.attempts, delay, failure.reason))
        await asyncio.sleep(delay)
