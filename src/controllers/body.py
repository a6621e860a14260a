"""What comes in: the words of a person or a program, checked before anything is made of them."""

import re

from ..errors import Invalid, TooLarge

# Control characters but for tab and line feed, and halves of characters.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def words(content: str, limit: int, field: str = "content") -> str:
    """The text without control characters, its line ends all `\\n`.

    Raises Invalid when nothing is left and TooLarge when it has more than `limit` characters.
    """
    text = content.replace("\r\n", "\n").replace("\r", "\n")
    text = CONTROL.sub("", text).strip()
    if not text:
        raise Invalid("Write something first.", field=field)
    if len(text) > limit:
        raise TooLarge(
            f"This is {len(text):,} characters long; a message may have {limit:,}. Shorten it, or send it in parts.",
            field=field,
        )
    return text


def line(content: str, limit: int, field: str) -> str:
    """Words on one line, for titles."""
    return " ".join(words(content, limit, field).split())
