"""What can go wrong with a model's server, each as a sentence that tells a person what to do.

Texts of the server are quoted in bounded excerpts; its headers and the key never are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from .events import UNREADABLE
from .exchange import ModelError

EXCERPT = 300

CONTEXT_TOO_LONG = re.compile(
    r"context.?(length|window|size)|maximum context|prompt is too long|too many tokens|reduce the length",
    re.IGNORECASE,
)
UNKNOWN_MODEL = re.compile(
    r"model_not_found|(invalid|unknown) model|model\b.{0,80}\b(not found|(does )?not exist|not loaded)",
    re.IGNORECASE,
)
NO_CREDIT = re.compile(r"insufficient_quota|insufficient (credit|balance|funds)|billing", re.IGNORECASE)
NO_TOOLS = re.compile(
    r"(not|n't|no endpoints found that) support (parameters?:\W*|native )?(tools?\b|tool[ _-]?call|function)"
    r"|\b(tools?|functions?)( use| call\w*)?\W? (is|are) not (supported|enabled)(?!.{0,40}stream)"
    r"|unsupported param\w*\W+tools\b"
    r"|\btools? (param|choice) requires",
    re.IGNORECASE,
)
"""Ollama, LiteLLM, OpenRouter; OpenAI, Azure, Groq, Gemini; older and newer llama.cpp, vLLM."""
TO_BE_REPEATED = {408, 409}


class Failure(ModelError):
    """A model error, with what may still be tried as long as nothing has been said.

    `again`: the same request, `after` so many seconds if the server named a time. `whole`: a request that
    does not stream. `refused`: the server did not like how it was asked. `tools`: the model knows no tools.
    """

    def __init__(
        self,
        message: str,
        code: str,
        *,
        retryable: bool = False,
        again: bool = False,
        after: float | None = None,
        whole: bool = False,
        refused: bool = False,
        tools: bool = False,
    ) -> None:
        super().__init__(message, code, retryable=retryable)
        self.again = again
        self.after = after
        self.whole = whole
        self.refused = refused
        self.tools = tools


@dataclass(frozen=True)
class Server:
    """A model's server as failures speak of it."""

    url: str
    key: str = field(repr=False)

    @property
    def address(self) -> str:
        """Without the password that an address may hold."""
        parts = urlsplit(self.url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")

    def excerpt(self, text: str) -> str:
        text = " ".join(text.split())
        text = text.replace(self.key, "…") if self.key else text
        return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"

    # Before an answer

    def unreachable(self, error: BaseException | None) -> Failure:
        match error:
            case aiohttp.ClientConnectorDNSError():
                host = urlsplit(self.url).hostname
                message = f"The name {host} of the model's server cannot be found. Check RIVERRUN_MODEL_URL."
                return Failure(message, "unknown_host", retryable=True, again=True)
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
                message = (
                    f"No secure connection to the model's server at {self.address}. "
                    f"Check RIVERRUN_MODEL_URL and the server's certificate. {self.excerpt(str(error))}"
                )
                return Failure(message, "insecure")
            case aiohttp.InvalidURL():
                return Failure(f"RIVERRUN_MODEL_URL is not an address: {self.address}", "wrong_url")
            case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
                message = (
                    f"No model server answers at {self.address}. Check that it is running "
                    f"(curl {self.address}/models) and that RIVERRUN_MODEL_URL is right."
                )
                return Failure(message, "unreachable", retryable=True, again=True)
            case _:
                message = f"The model's server at {self.address} hung up without an answer. Try again in a moment."
                return Failure(message, "disconnected", retryable=True, again=True, whole=True)

    def silent(self, seconds: float) -> Failure:
        message = (
            f"The model's server at {self.address} did not begin to answer within {seconds:g} seconds. "
            "It may be loading the model or be overloaded: try again in a moment."
        )
        return Failure(message, "timeout", retryable=True)

    # An answer that is an error

    def status(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        if 300 <= status < 400:
            message = f"The model's server at {self.address} has moved. Set RIVERRUN_MODEL_URL to its new address."
            return Failure(message, "wrong_url")
        return self.report(status, read_report(body), after=seconds_to_wait(headers))

    def report(self, status: int | None, report: "Report", after: float | None = None) -> Failure:
        """`status` is that of HTTP, or of the same meaning in the middle of a stream."""
        said = self.excerpt(report.message)
        quote = f" It says: {said}" if said else ""
        if status == 401:
            return self._wrong_key()
        if status == 403:
            return self._forbidden()
        if status == 402 or NO_CREDIT.search(report.text):
            return Failure(f"The account at {self.address} has no credit left.{quote}", "no_credit")
        if status == 413 or CONTEXT_TOO_LONG.search(report.text):
            return self._context_too_long(quote)
        if NO_TOOLS.search(report.text):
            return Failure(f"The model at {self.address} does not take tools.{quote}", "refused", tools=True)
        if UNKNOWN_MODEL.search(report.text):
            return self._no_such_model(quote)
        if status == 404:
            return self._nothing_there(quote)
        if status == 429 or "rate_limit" in report.text:
            return self._rate_limited(after, quote)
        if status is None or status >= 500 or status in TO_BE_REPEATED:
            return self._failed(status, after, quote)
        message = f"The model's server at {self.address} refused the request ({status}).{quote}"
        return Failure(message, "refused", refused=True)

    def _wrong_key(self) -> Failure:
        wants = (
            "does not accept the key. Check RIVERRUN_MODEL_KEY."
            if self.key
            else "asks for a key. Set RIVERRUN_MODEL_KEY."
        )
        return Failure(f"The model's server at {self.address} {wants}", "wrong_key")

    def _forbidden(self) -> Failure:
        message = f"The key may not use this model at {self.address}. Check RIVERRUN_MODEL_KEY or RIVERRUN_MODEL."
        return Failure(message, "forbidden")

    def _context_too_long(self, quote: str) -> Failure:
        message = (
            "The conversation has grown longer than the model can read. "
            f"Start a new conversation or shorten the message.{quote}"
        )
        return Failure(message, "context_too_long")

    def _no_such_model(self, quote: str) -> Failure:
        message = f"The model's server at {self.address} does not know the model. Check RIVERRUN_MODEL.{quote}"
        return Failure(message, "unknown_model")

    def _nothing_there(self, quote: str) -> Failure:
        message = f"There is no model server at {self.address}. RIVERRUN_MODEL_URL usually ends with /v1.{quote}"
        return Failure(message, "wrong_url")

    def _rate_limited(self, after: float | None, quote: str) -> Failure:
        wait = f"Wait {ceil(after)} s" if after else "Wait a moment"
        message = f"The model's server has had too many requests. {wait} and try again.{quote}"
        return Failure(message, "rate_limited", retryable=True, again=True, after=after)

    def _failed(self, status: int | None, after: float | None, quote: str) -> Failure:
        message = f"The model's server at {self.address} has failed. Try again in a moment.{quote}"
        again = status is not None
        return Failure(message, "server_error", retryable=True, again=again, after=after, whole=True)

    def unknown_model(self, model: str, offered: Sequence[str]) -> Failure:
        names = ", ".join(offered[:20]) + (" …" if len(offered) > 20 else "")
        message = (
            f"The model's server at {self.address} has no model {model}. It offers {names or 'none'}. "
            "Set RIVERRUN_MODEL, or the agent's own model, to one that it offers."
        )
        return Failure(message, "unknown_model")

    def no_embeddings(self, model: str, failure: Failure) -> Failure:
        message = f"The model's server at {self.address} does not embed with {model}. Check RIVERRUN_EMBEDDING_MODEL."
        return Failure(message, failure.code)

    def no_model(self, offered: Sequence[str]) -> Failure:
        names = f"It offers {', '.join(offered[:20])}: set RIVERRUN_MODEL." if offered else "Load one there."
        return Failure(f"The model's server at {self.address} offers no model for chat. {names}", "no_model")

    # An answer that breaks

    def cut_off(self) -> Failure:
        message = "The connection to the model's server broke in the middle of the reply. Try again."
        return Failure(message, "cut_off", retryable=True, whole=True)

    def ended_early(self) -> Failure:
        message = "The model's server ended the reply early. Try again."
        return Failure(message, "cut_off", retryable=True, whole=True)

    def stalled(self, seconds: float) -> Failure:
        message = f"The model's server fell silent in the middle of the reply, for {seconds:g} seconds. Try again."
        return Failure(message, "stalled", retryable=True, whole=True)

    def malformed(self, text: bytes) -> Failure:
        if text.lstrip().startswith(b"<"):
            return self.web_page()
        said = self.excerpt(text[: 4 * EXCERPT].decode(errors="replace"))
        message = (
            f"The model's server at {self.address} did not answer in OpenAI's format. "
            f"Check RIVERRUN_MODEL_URL, or try again. It says: {said or 'nothing'}"
        )
        return Failure(message, "malformed", retryable=True, whole=True)

    def web_page(self) -> Failure:
        message = f"{self.address} is a web page, not a model server. RIVERRUN_MODEL_URL usually ends with /v1."
        return Failure(message, "wrong_url")


class Report(msgspec.Struct, frozen=True):
    """What a server says about its error, in whichever of the usual shapes."""

    message: str = ""
    code: str = ""

    @property
    def text(self) -> str:
        return f"{self.code} {self.message}"

    @property
    def status(self) -> int | None:
        return int(self.code) if self.code.isdecimal() and len(self.code) == 3 else None


def read_report(body: bytes) -> Report:
    if body.lstrip().startswith(b"<"):
        return Report()
    try:
        return report_of(msgspec.json.decode(body))
    except UNREADABLE:
        return Report(body[: 4 * EXCERPT].decode(errors="replace"))


def report_of(error: Any) -> Report:
    """OpenAI: `{"error": {"message", "code"}}`; Ollama: `{"error": "..."}`; FastAPI: `{"detail": "..."}`."""
    match error:
        case {"error": inner} if inner:
            return report_of(inner)
        case {"message": str(message)}:
            return Report(message, str(error.get("code") or error.get("type") or ""))
        case {"detail": str(message)} | str(message):
            return Report(message)
        case _:
            return Report(msgspec.json.encode(error).decode())


def seconds_to_wait(headers: Mapping[str, str]) -> float | None:
    """`retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110, 10.2.3)."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        return max(0.0, float(headers["retry-after"]))
    except KeyError:
        return None
    except ValueError:
        pass
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except (ValueError, OverflowError):
        return None
    return max(0.0, (date - datetime.now(UTC)).total_seconds()) if date.tzinfo else None
