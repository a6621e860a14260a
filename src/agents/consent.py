"""A person's consent to calls of tools that may reach outside the project."""

from datetime import datetime
from typing import Protocol

from msgspec import Struct

from .events import EPOCH, Asked, Decided, Decision
from .tools import Origin

UNATTENDED = (
    "This tool asks a person before each use, and nobody can be asked here; it was not done. "
    "A person can allow it always, on the tools page of the project."
)
EXPIRED = "The person did not answer in time; it was not done."
DECLINED = "The person declined this call; it was not done."


class Verdict(Struct, frozen=True):
    decision: Decision
    reason: str = ""

    def told_of(self, asked: Asked) -> Decided:
        return Decided(asked.call_id, asked.turn, asked.server, asked.tool, self.decision, self.reason)

    @property
    def refusal(self) -> str:
        """What the model is told instead of an answer; empty where the tool may be called."""
        match self.decision:
            case "expired":
                return EXPIRED
            case "decline":
                return f"{DECLINED} They say: {self.reason}" if self.reason else DECLINED
            case _:
                return ""


class Consent(Protocol):
    """One run's. `attended`: whether there is anybody who can be asked."""

    @property
    def attended(self) -> bool: ...

    @property
    def until(self) -> datetime:
        """When who is asked now must have answered."""
        ...

    async def given(self, origin: Origin) -> bool:
        """Whether this tool may be used without asking."""
        ...

    async def verdict(self, asked: Asked) -> Verdict:
        """Waits for it."""
        ...

    async def recorded(self, asked: Asked) -> None:
        """Waits until the verdict is in the run's log. A tool that is called after that is never called again."""
        ...


class Nobody:
    """Nobody is there: what asks is declined."""

    attended = False
    until = EPOCH

    async def given(self, origin: Origin) -> bool:
        return False

    async def verdict(self, asked: Asked) -> Verdict:
        return Verdict("decline")

    async def recorded(self, asked: Asked) -> None:
        pass


NOBODY = Nobody()
