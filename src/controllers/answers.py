"""How the pages' controllers answer: a whole page, partials for an open one, or the way to the next page."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

from litestar import MediaType, Request, Response
from litestar.datastructures import State
from litestar.response import Redirect
from litestar.status_codes import HTTP_200_OK, HTTP_204_NO_CONTENT, HTTP_303_SEE_OTHER
from markupsafe import escape

from ..rendering.fragments import partial

PageRequest = Request[Any, Any, State]
NO_STORE = {"Cache-Control": "no-store"}  # otherwise Back would show what a page was, not what is saved

# What a file's name cannot hold somewhere, and what would show another name than it is: `gpj.exe` backwards.
UNFIT = re.compile(r'[\x00-\x1f\x7f-\x9f"*/:<>?\\|\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]+')
NOT_PLAIN = re.compile(r"[^ -~]|%")
LONGEST_NAME = 80  # characters of a title that become the name of a file


def html(content: str, headers: Mapping[str, str] | None = None, status: int = HTTP_200_OK) -> Response[str]:
    return Response(content, status_code=status, media_type=MediaType.HTML, headers={**NO_STORE, **(headers or {})})


def partials(*changes: str, title: str = "", headers: Mapping[str, str] | None = None) -> Response[str]:
    """Changes to the page that asked; whatever problem it told of before is over."""
    head = f"<title>{escape(title)}</title>" if title else ""
    return html(head + partial("#problem", "innerHTML", "") + "".join(changes), headers)


def nothing() -> Response[None]:
    return Response(None, status_code=HTTP_204_NO_CONTENT, headers=NO_STORE)


def see(path: str) -> Redirect:
    return Redirect(path, status_code=HTTP_303_SEE_OTHER, headers=NO_STORE)


def as_file(name: str) -> dict[str, str]:
    """The headers of what is taken away as a file (RFC 6266): its name in UTF-8 (RFC 8187), before that a plain one."""
    kept = UNFIT.sub(" ", name)
    plain = NOT_PLAIN.sub("_", kept)
    disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(kept, safe='')}"
    return {**NO_STORE, "Content-Disposition": disposition}


def named(title: str, ending: str) -> str:
    """What a file is called after."""
    name = UNFIT.sub(" ", title).strip(" .")[:LONGEST_NAME].rstrip() or "untitled"
    return f"{name}.{ending}"


def is_scripted(request: PageRequest) -> bool:
    """Whether the page's own script asks, and not the browser for a page."""
    return "hx-request" in request.headers


def shown_conversation(request: PageRequest) -> UUID | None:
    """The conversation of the page that asked."""
    match urlsplit(request.headers.get("hx-current-url", "")).path.split("/"):
        case ["", "c", id]:
            try:
                return UUID(id)
            except ValueError:
                return None
    return None
