"""The errors that a person or a caller can meet: each says what to do, and knows its HTTP status and its word.

The first sentence of a docstring is what OpenAPI tells of the error.
"""

from typing import Any


class RiverrunError(Exception):
    """`code` is for programs; the text is a sentence for a person; `extra` goes into the problem document."""

    status = 500
    code = "internal"

    def __init__(self, message: str, *, field: str | None = None, extra: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.extra = extra or {}
        self.headers: dict[str, str] = {}


class NotFound(RiverrunError):
    """There is no such thing, or it was deleted."""

    status = 404
    code = "not_found"


class Invalid(RiverrunError):
    """A value cannot be used; `field` names it."""

    status = 400
    code = "invalid"


class TooLarge(Invalid):
    """More was sent than is taken at once."""

    status = 413
    code = "too_large"


class Full(Invalid):
    """There are as many of these as there may be; delete some first."""

    status = 409
    code = "full"


class UnsupportedMedia(Invalid):
    """What was sent is not of the kind that is taken here."""

    status = 415
    code = "unsupported_media_type"


class Busy(RiverrunError):
    """A reply is still being written in this conversation."""

    status = 409
    code = "busy"


class Ended(Busy):
    """It is too late for that: the run, or the message's turn, is over."""

    code = "ended"


class TooManyRuns(RiverrunError):
    """As many runs are at work as the settings allow."""

    status = 503
    code = "too_many_runs"


class Unauthorized(RiverrunError):
    """A token is missing or not known. `error` is the word that RFC 6750 has for it; who brought none is told none."""

    status = 401
    code = "unauthorized"

    def __init__(self, message: str, *, error: str = "") -> None:
        super().__init__(message)
        self.headers = {"WWW-Authenticate": f'Bearer error="{error}"' if error else "Bearer"}


class Forbidden(RiverrunError):
    """A page of another site sent this, or a token does not reach that far; `scope` is what it would have to have."""

    status = 403
    code = "forbidden"

    def __init__(self, message: str, *, scope: str = "") -> None:
        super().__init__(message)
        if scope:
            self.headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}


class Unavailable(RiverrunError):
    """Not now, but soon again."""

    status = 503


class Restarting(Unavailable):
    """The server is being stopped; it may be started again."""

    code = "restarting"

    def __init__(self) -> None:
        super().__init__("The server is being restarted. What you see is saved; try again in a moment.")


class StorageUnavailable(Unavailable):
    """The database cannot be reached."""

    code = "database_unavailable"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "The database cannot be reached. What you see is saved; try again in a moment.")


class RunFailed(RiverrunError):
    """The run that was waited for ended without a reply."""

    status = 502
    code = "run_failed"


class Internal(RiverrunError):
    """Something went wrong in riverrun itself."""

    def __init__(self) -> None:
        super().__init__("Something went wrong in riverrun itself; its log tells more.")
