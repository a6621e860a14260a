"""The address of a tool server: what of it may be told, for the rest may be a key."""

import re
import shlex
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote, urlsplit

SHORTEST_SECRET = 4  # characters; what is shorter, such as `mcp` in a path, is a word


def is_url(address: str) -> bool:
    return address.startswith(("http://", "https://"))


def shown(address: str) -> str:
    """Where it leads: the host of a URL, the program of a command line. Keys stand in all other parts."""
    if not is_url(address):
        program, *arguments = words_of(address) or ["…"]
        return f"{program} …" if arguments else program
    scheme, _, rest = address.partition("://")
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    _, at, host = place.rpartition("@")
    further = rest.removeprefix(place)
    return f"{scheme}://{'…@' if at else ''}{host}{'/…' if len(further) > 1 else further}"


def without_secrets(text: str, address: str) -> str:
    """A text that may quote the address, or parts of it."""
    text = text.replace(address, shown(address))
    for part in sorted(set(secrets_in(address)), key=len, reverse=True):
        if len(part) >= SHORTEST_SECRET:
            text = text.replace(part, "…")
    return text


def secrets_in(address: str) -> Iterator[str]:
    """All that could be one, as it is written and as it is meant."""
    if not is_url(address):
        for argument in words_of(address)[1:]:
            name, equals, value = argument.partition("=")
            said = value if equals else "" if name.startswith("-") else name
            yield said
            yield from said.split()  # `Authorization: Bearer …` is one argument, of which a server quotes the end
        return
    try:
        parts = urlsplit(address)
    except ValueError:
        yield address.partition("://")[2]
        return
    written = [*parts.netloc.rpartition("@")[0].split(":", 1), *parts.path.split("/"), parts.query, parts.fragment]
    written += [value for pair in parts.query.split("&") for value in pair.split("=", 1)[1:]]
    for part in written:
        yield part
        yield unquote(part)
    yield from (value for _, value in parse_qsl(parts.query))


def words_of(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that is not closed
        return re.sub("[\"']", " ", command).split()
