"""What comes in: the words of a person or a program, checked before anything is made of them."""

import unicodedata

from ..errors import Invalid, TooLarge


def words(content: str, limit: int, field: str = "content") -> str:
    """The text without control characters, its line ends all `\\n`.

    Raises Invalid when nothing is left and TooLarge when it has more than `limit` characters.
    """
    text = content.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs")).strip()
    if not text:
        raise Invalid("Write something first.", field=field)
    if len(text) > limit:
        raise TooLarge(
            f"This is {len(text):,} characters long; a message may have {limit:,}. Shorten it, or send it in parts.",
            field=field,
        )
    return text
