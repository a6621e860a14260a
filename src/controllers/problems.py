"""How an error is answered: a problem document (RFC 9457) for programs, a page or a fragment for people."""

import logging
import re
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.response import Template
from litestar.status_codes import HTTP_500_INTERNAL_SERVER_ERROR
from sqlalchemy.exc import SQLAlchemyError

from ..errors import Invalid, RiverrunError, RunFailed, StorageUnavailable
from ..persistence.writer import is_passing

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]
CODES = {404: "not_found", 405: "not_found", 413: "too_large", 500: "internal"}  # of the framework's own errors
NO_STORE = {"Cache-Control": "no-store"}


def answer_riverrun_error(request: AnyRequest, error: RiverrunError) -> Response[Any]:
    extra = {"code": error.code, **({"field": error.field} if error.field else {}), **error.extra}
    return answer(request, error.status, error.message, extra)


def answer_http_exception(request: AnyRequest, error: HTTPException) -> Response[Any]:
    extra: dict[str, Any] = {"code": CODES.get(error.status_code, "invalid")}
    detail = error.detail
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        first = error.extra[0]
        detail = first.get("message", detail)
        extra = {"code": "invalid", "field": field_of(detail, first.get("key", "")), "errors": error.extra}
    return answer(request, error.status_code, detail, extra, error.headers)


def field_of(message: str, key: str) -> str:
    """The field that is wrong. Litestar names a missing one only within its sentence."""
    if key == "data":
        missing = re.search(r"field `(\w+)`", message)
        return missing[1] if missing else ""
    return key


def answer_database_error(request: AnyRequest, error: SQLAlchemyError | OSError) -> Response[Any]:
    if is_passing(error):
        log.warning("The database failed: %s", error)
        return answer_riverrun_error(request, StorageUnavailable())
    return answer_unexpected(request, error)


def answer_bad_encoding(request: AnyRequest, _error: UnicodeDecodeError) -> Response[Any]:
    return answer_riverrun_error(request, Invalid("What was sent is not UTF-8."))


def answer_unexpected(request: AnyRequest, error: Exception) -> Response[Any]:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    message = "Something went wrong in riverrun itself; its log tells more."
    return answer(request, HTTP_500_INTERNAL_SERVER_ERROR, message, {"code": "internal"})


def answer(
    request: AnyRequest, status: int, message: str, extra: dict[str, Any], headers: dict[str, str] | None = None
) -> Response[Any]:
    headers = {**(headers or {}), **NO_STORE}
    path = request.url.path
    if path.startswith("/v1/"):
        if status == RunFailed.status:
            headers["x-should-retry"] = "false"  # OpenAI's clients would start the same run two more times
        return Response(openai_error(status, message, extra), status_code=status, headers=headers)
    if path.startswith(("/api/", "/agui/", "/schema", "/health", "/metrics")):
        problem = {"type": "about:blank", "status": status, "title": title(status), "detail": message, **extra}
        return Response(problem, status_code=status, media_type="application/problem+json", headers=headers)
    name = "errors/_notice.html" if "hx-request" in request.headers else "errors/show.html"
    context = {"status": status, "message": message, **extra}
    return Template(name, context=context, status_code=status, media_type="text/html", headers=headers)


def openai_error(status: int, message: str, extra: dict[str, Any]) -> dict[str, Any]:
    """As OpenAI answers, and as its clients read it."""
    kinds = {401: "authentication_error", 403: "permission_error", 409: "conflict_error"}
    kind = kinds.get(status, "invalid_request_error")
    kind = "server_error" if status >= HTTP_500_INTERNAL_SERVER_ERROR else kind
    known = {"message": message, "type": kind, "param": extra.get("field") or None, "code": extra.get("code")}
    return {"error": {**known, **{name: value for name, value in extra.items() if name not in ("field", "errors")}}}


def title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


HANDLERS: dict[type[Exception] | int, Any] = {
    RiverrunError: answer_riverrun_error,
    HTTPException: answer_http_exception,
    SQLAlchemyError: answer_database_error,
    OSError: answer_database_error,
    UnicodeDecodeError: answer_bad_encoding,
    Exception: answer_unexpected,
}
