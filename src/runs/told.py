"""What a run had told before it was interrupted: its team begins anew, and tells it again, but not to anybody."""

from collections import Counter
from collections.abc import Hashable, Sequence

from msgspec.structs import replace

from ..agents.events import APPROVAL, EPOCH, NIL, AgentChunk, AgentStart, Event, Progress, encode

BEGINNING = (AgentStart, AgentChunk)


class Told:
    def __init__(self, events: Sequence[Event] = ()) -> None:
        told = (event for event in events if not isinstance(event, BEGINNING) and not is_of_approval(event))
        self._left = Counter((turn_of(event), likeness(event)) for event in told)

    def knows(self, event: Event) -> bool:
        """Whether this was told already; each event that was recorded answers for one."""
        if event.seq:  # it comes from the record itself
            return True
        if not self._left:
            return False
        turn = turn_of(event)
        if isinstance(event, BEGINNING):  # a turn that begins again tells a story of its own
            self._left = Counter({key: count for key, count in self._left.items() if key[0] != turn})
            return False
        key = (turn, likeness(event))
        if not self._left[key]:
            return False
        self._left[key] -= 1
        return True


def is_of_approval(event: Event) -> bool:
    """What waits bears its number when it is told again, and another call of the same tool looks the same."""
    return isinstance(event, Progress) and event.step == APPROVAL


def turn_of(event: Event) -> int | None:
    turn: int | None = getattr(event, "turn", None)
    return turn


def likeness(event: Event) -> Hashable:
    """What two events have in common that tell the same at different times."""
    match event:
        case Progress():
            return (event.fraction, event.step, event.message, event.details)
        case _:
            if hasattr(event, "duration_ms"):
                event = replace(event, duration_ms=0)
            return encode(replace(event, seq=0, run_id=NIL, at=EPOCH))
