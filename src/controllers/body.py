"""What comes in: the words of a person or a program, checked before anything is made of them."""

import re

from ..errors import Invalid, TooLarge

# Control characters but for tab and line feed, and halves of characters.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


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
