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

from ..errors import Invalid, RiverrunError, StorageUnavailable
from ..persistence.writer import is_passing

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]
CODES = {404: "not_found", 405: "not_found", 413: "too_large", 500: "internal"}  # of the framework's own errors
NO_STORE = {"Cache-Control": "no-store"}


def answer_riverrun_error(request: AnyRequest, error: RiverrunError) -> Response[Any]:
    extra = {"code": error.code, **({"field": error.field} if error.field else {}), **error.extra}
    return answer(request, error.status, error.message, extra, error.headers)


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
    if request.url.path.startswith(("/api/", "/v1/", "/agui/", "/schema", "/health", "/metrics")):
        problem = {"type": "about:blank", "status": status, "title": title(status), "detail": message, **extra}
        return Response(problem, status_code=status, media_type="application/problem+json", headers=headers)
    name = "errors/_notice.html" if "hx-request" in request.headers else "errors/show.html"
    context = {"status": status, "message": message, **extra}
    return Template(name, context=context, status_code=status, media_type="text/html", headers=headers)


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
