"""What can go wrong for a caller. Every text is a sentence for a person."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .reply import Reply


class ClientError(Exception):
    """The client could not do what it was asked."""


class Unreachable(ClientError):
    """No server answered, or none any more, after all attempts."""


class Uncertain(Unreachable):
    """The connection was lost while a message was sent: it may have arrived, so it is not sent again."""


class Refused(ClientError):
    """The server will not do it. `code` and the text are the server's; `problem` is its whole problem document."""

    def __init__(self, status: int, code: str, detail: str, problem: dict[str, Any] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.problem = problem or {}


class RunFailed(ClientError):
    """A run ended without a reply; `reply.text` is what was written before."""

    def __init__(self, reply: "Reply") -> None:
        super().__init__(reply.error.message if reply.error else "The run failed.")
        self.reply = reply
        self.code = reply.error.code if reply.error else "internal"
        self.retryable = reply.error is not None and reply.error.retryable


class Lost(Exception):
    """Not for callers: worth another attempt. `refused` is the server's own word for it, if it had one."""

    def __init__(self, reason: str, refused: Refused | None = None, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused
        self.delay = delay
        """Seconds that the server asks to wait at least."""
