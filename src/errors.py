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


class Misdirected(RiverrunError):
    """riverrun does not answer under this name."""

    status = 421
    code = "misdirected"


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


class TooManyOwnRuns(RiverrunError):
    """One person has as many runs at work as the settings allow."""

    status = 429
    code = "too_many_own_runs"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"As many replies as you may have at once ({limit}) are being written for you. Wait for one, or stop one."
        )


class NoTokensLeft(RiverrunError):
    """One person has used as many tokens today as the settings allow; `seconds` is how long until the next day."""

    status = 429
    code = "no_tokens_left"

    def __init__(self, limit: int, seconds: int) -> None:
        super().__init__(
            f"You have used the {limit:,} tokens that you may use in a day. There are new ones at midnight (UTC), in "
            + (f"{seconds // 3600} h {seconds % 3600 // 60} min." if seconds >= 3600 else f"{seconds // 60 + 1} min.")
        )
        self.headers = {"Retry-After": str(seconds)}


class TooManyRequests(RiverrunError):
    """More was asked in one minute than the settings allow."""

    status = 429
    code = "too_many_requests"

    def __init__(self, headers: dict[str, str]) -> None:
        """`headers`: those of the limit, as `RateLimit-Reset`."""
        wait = headers.get("RateLimit-Reset", "60")
        super().__init__(f"These were more requests than one minute has room for. Try again in {wait} s.")
        self.headers = {**headers, "Retry-After": wait}


class TooManyStreams(RiverrunError):
    """One person has as many streams open as the settings allow."""

    status = 429
    code = "too_many_streams"


class TooSlow(RiverrunError):
    """The body of the request did not come in time."""

    status = 408
    code = "too_slow"

    def __init__(self) -> None:
        super().__init__("What was sent did not arrive in time. Try again where the network is better.")
        self.headers = {"Connection": "close"}  # or the rest of it would be waited for


class Unauthorized(RiverrunError):
    """A token is missing or not known. `error` is the word that RFC 6750 has for it; who brought none is told none."""

    status = 401
    code = "unauthorized"

    def __init__(self, message: str, *, error: str = "") -> None:
        super().__init__(message)
        self.headers = {"WWW-Authenticate": f'Bearer error="{error}"' if error else "Bearer"}


class SignInNeeded(RiverrunError):
    """This is for people who have signed in."""

    status = 401
    code = "sign_in_needed"

    def __init__(self, written: str = "") -> None:
        """`written`: what was sent, which its author may have nowhere else."""
        super().__init__("Sign in first.")
        self.written = written


class TooManyAttempts(RiverrunError):
    """Too many passwords were wrong; `seconds` is how long to wait."""

    status = 429
    code = "too_many_attempts"

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Too many attempts went wrong. Try again in {seconds // 60} minutes.")
        self.headers = {"Retry-After": str(seconds)}


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


class ProviderUnavailable(Unavailable):
    """The sign-in provider cannot be reached."""

    code = "provider_unavailable"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} cannot be reached right now. Try again in a moment.")


class ProviderFailed(RiverrunError):
    """The sign-in provider's answer cannot be believed or understood."""

    status = 502
    code = "provider_failed"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Signing in at {name} did not work: its answer is not as it has to be. Tell an administrator."
        )


class RunFailed(RiverrunError):
    """The run that was waited for ended without a reply."""

    status = 502
    code = "run_failed"


class Internal(RiverrunError):
    """Something went wrong in riverrun itself."""

    def __init__(self) -> None:
        super().__init__("Something went wrong in riverrun itself; its log tells more.")
