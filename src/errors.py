"""The errors that a person or a caller can meet: each says what to do, and knows its HTTP status and its word."""

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
    status = 404
    code = "not_found"


class Invalid(RiverrunError):
    """A value that cannot be used; `field` names it."""

    status = 400
    code = "invalid"


class TooLarge(Invalid):
    status = 413
    code = "too_large"


class Busy(RiverrunError):
    """The conversation already has a run that works on it."""

    status = 409
    code = "busy"


class TooManyRuns(RiverrunError):
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
    """`scope`: what a token would have to have."""

    status = 403
    code = "forbidden"

    def __init__(self, message: str, *, scope: str = "") -> None:
        super().__init__(message)
        if scope:
            self.headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'}


class StorageUnavailable(RiverrunError):
    status = 503
    code = "database_unavailable"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or "The database cannot be reached. What you see is saved; try again in a moment.")


class RunFailed(RiverrunError):
    """A run that a caller waited for ended without a reply."""

    status = 502
    code = "run_failed"
