"""Where a reader stands in a run: which message is the next event, whatever the way it came."""

import logging

import msgspec

from ..agents.events import UNREADABLE, Error, Event, decode
from .errors import Lost, Refused

log = logging.getLogger("riverrun.client")


class Head(msgspec.Struct):
    """What every message has, of whatever type it may be."""

    type: str = ""
    seq: int = 0


read_head = msgspec.json.Decoder(Head).decode


class Cursor:
    """`at`: the `seq` of the last event that was taken.

    What is doubtful is read a second time, and what comes twice the same way is how the server has it: a gap in the
    numbers (old chunks are merged, see events.md) is then accepted, and a message that is broken is passed over.
    """

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self._doubted = 0
        self._has_gaps = False

    def take(self, message: str | bytes, seq: int = 0) -> Event | None:
        """The event, unless it is known already or means nothing to this client.

        `seq`: its number as the transport tells it, for a message that cannot be read. Raises Lost where the run has to
        be read again from the cursor, now or, when the database is away, later.
        """
        event, head = read(message)
        if head is None:
            self._pass_over(seq)
            return None
        if isinstance(event, Error) and not event.seq:
            raise Lost(event.message, Refused(503, event.code, event.message))  # no event of the run
        if head.seq <= self.at:
            return None
        if head.seq > self.at + 1 and not self._has_gaps:
            self._has_gaps = self._is_confirmed(head.seq)
        self.at = head.seq
        if event is None:
            log.warning("Event %d (%s) is of a kind that this client does not know", head.seq, head.type)
        return event

    def _pass_over(self, seq: int) -> None:
        if seq > self.at and self._is_confirmed(seq):
            log.warning("Event %d is broken and was left out", seq)
            self.at = seq

    def _is_confirmed(self, seq: int) -> bool:
        """True the second time."""
        if self._doubted != seq:
            self._doubted = seq
            raise Lost(f"Event {self.at + 1} did not arrive.")
        return True


def number_in(id: str) -> int:
    """The `seq` that a stream's `id:` tells; 0: none."""
    return int(id) if id.isascii() and id.isdigit() and len(id) < 19 else 0


def read(message: str | bytes) -> tuple[Event | None, Head | None]:
    """No event: of an unknown type or with unknown values, as of a newer server. No head either: not even JSON."""
    try:
        event = decode(message)
        return event, Head(seq=event.seq)
    except UNREADABLE:
        pass
    try:
        return None, read_head(message)
    except UNREADABLE:
        return None, None
