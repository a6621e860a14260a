"""What comes in: the words of a person or a program, checked before anything is made of them."""

import re
from typing import Any

import litestar
from litestar._parsers import parse_url_encoded_form_data
from litestar.connection import ASGIConnection
from litestar.connection.base import AuthT, StateT, UserT
from litestar.enums import RequestEncodingType
from litestar.handlers import BaseRouteHandler

from ..errors import Invalid, TooLarge, UnsupportedMedia

# Control characters but for tab and line feed, and halves of characters.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

FIELD_LIMIT = 1000  # fields of a form: a million of them take a second to be told apart

JSON = re.compile(r"application/([\w.-]+\+)?json *(;.*)?", re.IGNORECASE)


class Request(litestar.Request[UserT, AuthT, StateT]):
    """Litestar's, where what has the right size and all the same is too much is refused in words."""

    async def body(self) -> bytes:
        body = await super().body()
        if self.content_type[0] == RequestEncodingType.URL_ENCODED:
            # Litestar keeps the last 1024 forms of any size, and with them what people wrote, be it a password.
            parse_url_encoded_form_data.cache_clear()
            if body.count(b"&") >= FIELD_LIMIT:
                raise TooLarge(f"A form has up to {FIELD_LIMIT:,} fields.")
        return body

    async def json(self) -> Any:
        try:
            return await super().json()
        except RecursionError:
            raise Invalid("This JSON is nested too deeply.") from None


async def check_media_type(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """A guard: where JSON is taken, nothing else is. Who does not say what it is may have meant JSON."""
    said = connection.headers.get("content-type")
    if said and takes_json(handler) and not JSON.fullmatch(said):
        raise UnsupportedMedia("Send JSON, with Content-Type: application/json.")


def takes_json(handler: BaseRouteHandler) -> bool:
    body = handler.parsed_fn_signature.parameters.get("data")
    return body is not None and getattr(body.kwarg_definition, "media_type", "") == RequestEncodingType.JSON


def words(content: str, limit: int, field: str = "content") -> str:
    """The text without control characters, its line ends all `\\n`.

    Raises Invalid when nothing is left and TooLarge when it has more than `limit` characters.
    """
    text = clean(content)
    if not text:
        raise Invalid("Write something first.", field=field)
    if len(text) > limit:
        raise TooLarge(
            f"This is {len(text):,} characters long; a message may have {limit:,}. Shorten it, or send it in parts.",
            field=field,
        )
    return text


def clean(content: str) -> str:
    return printable(content).strip()


def printable(content: str) -> str:
    return CONTROL.sub("", content.replace("\r\n", "\n").replace("\r", "\n"))


def entry(content: str, limit: int, field: str, needed: str = "") -> str:
    """What stands in a form's field, cleaned. Raises Invalid; `needed` is the sentence for a field that is empty."""
    text = clean(content)
    if needed and not text:
        raise Invalid(needed, field=field)
    if len(text) > limit:
        raise Invalid(f"This has {len(text):,} characters; {limit:,} fit.", field=field)
    return text


def short_entry(content: str, limit: int, field: str, needed: str = "") -> str:
    """The same, on one line."""
    return entry(" ".join(clean(content).split()), limit, field, needed)


def line(content: str, limit: int, field: str) -> str:
    """Words on one line, for titles."""
    return " ".join(words(content, limit, field).split())
