"""What counts as text, and how lines end in it."""

from hashlib import sha256

from ..agents.context import WorkspaceError

TEXT_LIMIT = 1_000_000  # bytes of a file that is read or written as text


def text_of(content: bytes) -> str | None:
    """None for what is not text: with a NUL, or not in UTF-8."""
    try:
        return None if b"\0" in content else content.decode()
    except UnicodeDecodeError:
        return None


def encoded(path: str, text: str) -> bytes:
    try:
        content = text.encode()
    except UnicodeEncodeError as failure:
        raise WorkspaceError("The content has characters that cannot be saved.") from failure
    if b"\0" in content:
        raise WorkspaceError("The content has a NUL character, so it is not text.")
    if len(content) > TEXT_LIMIT:
        raise WorkspaceError(f"{path} would have {len(content):,} bytes; {TEXT_LIMIT:,} at most.")
    return content


def with_ends_of(text: str, said: str) -> str:
    """What was said, with lines that end as most lines of the text do."""
    said = said.replace("\r\n", "\n")
    return said.replace("\n", "\r\n") if 2 * text.count("\r\n") > text.count("\n") else said


def hash_of(content: bytes) -> str:
    return sha256(content).hexdigest()
