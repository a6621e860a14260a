"""Which names a project's files may have: the same on every system, and none that leads out of the folder."""

import re
import unicodedata

from ..agents.context import WorkspaceError

LONGEST_PATH = 400  # characters
LONGEST_PART = 100  # characters
LONGEST_NAME = 255  # bytes of a part in UTF-8, which is what file systems take
DEEPEST = 20  # folders

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
FORBIDDEN = re.compile(r'[<>:"|?*\\]')
DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(?:\..*)?", re.IGNORECASE)


def checked(path: str) -> str:
    """The path as it is kept: in NFC, without a leading `./`. Raises WorkspaceError with the reason."""
    kept = unicodedata.normalize("NFC", path).removeprefix("./")
    if CONTROL.search(kept):
        raise WorkspaceError("A path may not contain control characters or invisible ones.")
    if not kept:
        raise WorkspaceError("A path is needed.")
    if kept.startswith("/"):
        raise WorkspaceError(f"{kept!r} is not relative to the project's files. Leave out the leading slash.")
    if found := FORBIDDEN.search(kept):
        raise WorkspaceError(f"{kept!r} contains {found[0]!r}, which a path may not. Folders are parted by '/'.")
    if len(kept) > LONGEST_PATH:
        raise WorkspaceError(f"The path is {len(kept)} characters long; {LONGEST_PATH} at most.")
    parts = kept.split("/")
    if len(parts) > DEEPEST:
        raise WorkspaceError(f"{kept!r} lies {len(parts)} folders deep; {DEEPEST} at most.")
    for part in parts:
        check_part(part, kept)
    return kept


def is_path(path: str) -> bool:
    """Whether a file that lies there can be named at all."""
    try:
        return checked(path) == path
    except WorkspaceError:
        return False


def check_part(part: str, path: str) -> None:
    if not part:
        raise WorkspaceError(f"{path!r} has an empty part.")
    if part in (".", ".."):
        raise WorkspaceError(f"{path!r} contains {part!r}. Name the file from the project's folder on.")
    if part != part.strip() or part.endswith("."):
        raise WorkspaceError(f"{part!r} begins or ends with a space, or ends with a dot.")
    if DEVICE.fullmatch(part):
        raise WorkspaceError(f"{part!r} is the name of a device on some systems. Choose another one.")
    if len(part) > LONGEST_PART or len(part.encode()) > LONGEST_NAME:
        raise WorkspaceError(f"{part[:40] + '…'!r} is too long a name; {LONGEST_PART} characters at most.")


def alike(name: str) -> str:
    """The same for names that some file systems cannot tell apart."""
    return unicodedata.normalize("NFKC", name).casefold()
