"""What `riverrun run` writes to its log. Anything that is told there may have come from a stranger."""

import logging
from typing import Any

from .plain import CONTROLS

FORMAT = "%(levelname)s %(name)s: %(message)s"


def begin_log() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)


class OneLine(logging.Formatter):
    """One record begins one line: control characters are told by their codes, and the lines of a traceback, which ends
    with the words of an error, are set in. So nothing in it looks like another record, or steers a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return told(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return set_in(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return set_in(super().formatStack(stack_info))


def told(text: str) -> str:
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def set_in(text: str) -> str:
    return "\n".join(f"  {told(line)}" for line in text.splitlines())
