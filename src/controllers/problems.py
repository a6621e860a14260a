"""How an error is answered: a problem document (RFC 9457) for programs, a page or a fragment for people."""

import logging
import re
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from litestar import Request, Response
from litestar.exceptions import HTTPException, TooManyRequestsException, ValidationException
from litestar.plugins.problem_details import ProblemDetailsException
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER, HTTP_500_INTERNAL_SERVER_ERROR
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy.exc import SQLAlchemyError

from ..agents.events import FinalMessage
from ..errors import (
    Internal,
    Invalid,
    RiverrunError,
    RunFailed,
    SignInNeeded,
    StorageUnavailable,
    TooManyRequests,
)
from ..persistence.writer import is_passing

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]
MEDIA_TYPE = "application/problem+json"
PROGRAMS = ("/api", "/agui", "/schema", "/health", "/metrics")  # where programs ask, who get problem documents
# Of the framework's own errors, which know no word for a program, and only the name of a status for a person.
CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 500: "internal"}
SENTENCES = {
    404: "There is nothing at this address.",
    405: "This address does not take that method; the Allow header names those that it takes.",
    413: "More was sent than is taken at once.",
}
MANY_PARTS = "Request Entity Too Large"  # which Litestar says with 400, of a form
NO_BODY = "There is no body where one is needed."  # of which Litestar tells no more than the parameter's name
NO_STORE = {"Cache-Control": "no-store"}


class WrongValue(Struct):
    """Where a request is not as it should be, and why."""

    message: str
    key: str | UnsetType = UNSET
    source: str | UnsetType = UNSET


class Problem(Struct, kw_only=True):
    """Every error, as RFC 9457 has it. `detail` is a sentence for a person, `code` a word for a program."""

    type: str = "about:blank"
    status: int
    title: str
    detail: str
    code: str
    field: str | UnsetType = UNSET
    errors: list[WrongValue] | UnsetType = UNSET


class FailedRun(Problem, kw_only=True):
    """The run that a caller waited for failed. `error` is its error's code, `message` what it had written."""

    run_id: UUID
    error: str
    retryable: bool
    message: FinalMessage


def answer_riverrun_error(request: AnyRequest, error: RiverrunError) -> Response[Any]:
    extra = {"code": error.code, **({"field": error.field} if error.field else {}), **error.extra}
    return answer(request, error.status, error.message, extra, error.headers)


def answer_stranger(request: AnyRequest, error: SignInNeeded) -> Response[Any]:
    """To the page where one signs in, and from there back to what was asked for."""
    if request.url.path.startswith(PROGRAMS):
        return answer_riverrun_error(request, error)
    if "hx-request" in request.headers:
        page = urlsplit(request.headers.get("hx-current-url", ""))
        headers = {**NO_STORE, "HX-Redirect": sign_in_page(page.path, page.query)}
        return Response("", status_code=error.status, headers=headers, media_type="text/html")
    if request.method != "GET":
        page = urlsplit(request.headers.get("referer", ""))
        context = {"sign_in": sign_in_page(page.path, page.query), "written": error.written}
        return Template(
            "accounts/signed_out.html",
            context=context,
            status_code=error.status,
            media_type="text/html",
            headers=NO_STORE,
        )
    path = sign_in_page(request.url.path, request.url.query)
    return Redirect(path, status_code=HTTP_303_SEE_OTHER, headers=NO_STORE)


def sign_in_page(path: str, query: str) -> str:
    wanted = f"{path}?{query}" if query else path
    return "/sign-in" if wanted in ("", "/") else f"/sign-in?{urlencode({'next': wanted})}"


def answer_too_many(request: AnyRequest, error: TooManyRequestsException) -> Response[Any]:
    return answer_riverrun_error(request, TooManyRequests(error.headers or {}))


def answer_http_exception(request: AnyRequest, error: HTTPException) -> Response[Any]:
    status = 413 if error.detail == MANY_PARTS else error.status_code
    detail = SENTENCES.get(status, error.detail)
    extra: dict[str, Any] = {"code": CODES.get(status, "invalid")}
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        wrong = [{**told, "key": name_on_the_wire(request, told.get("key", ""))} for told in error.extra]
        first = wrong[0]
        detail = NO_BODY if first["message"] == "'data'" else first["message"]
        extra["errors"] = wrong
        if field := field_of(detail, first.get("key", "")):
            extra["field"] = field
    return answer(request, status, detail if detail.endswith(".") else f"{detail}.", extra, error.headers)


def name_on_the_wire(request: AnyRequest, key: str) -> str:
    parameter = request.route_handler.parsed_fn_signature.parameters.get(key)
    return getattr(parameter and parameter.kwarg_definition, "name", None) or key


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
    return answer_riverrun_error(request, Internal())


def answer(
    request: AnyRequest, status: int, message: str, extra: dict[str, Any], headers: dict[str, str] | None = None
) -> Response[Any]:
    headers = {**(headers or {}), **NO_STORE}
    if request.url.path.startswith("/v1/"):
        if status == RunFailed.status:
            headers["x-should-retry"] = "false"  # OpenAI's clients would start the same run two more times
        return Response(openai_error(status, message, extra), status_code=status, headers=headers)
    if request.url.path.startswith(PROGRAMS):
        problem = ProblemDetailsException(
            status_code=status, type_="about:blank", title=title(status), detail=message, extra=extra, headers=headers
        )
        return problem.to_response(request)
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
    SignInNeeded: answer_stranger,
    RiverrunError: answer_riverrun_error,
    TooManyRequestsException: answer_too_many,
    HTTPException: answer_http_exception,
    SQLAlchemyError: answer_database_error,
    OSError: answer_database_error,
    UnicodeDecodeError: answer_bad_encoding,
    Exception: answer_unexpected,
}
