"""Text for a terminal or a log: nothing in it does anything but stand there."""

import re

# What could move the cursor, change colours, write to the clipboard or turn what stands beside it round.
STEERING = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
CONTROLS = re.compile(rf"[\t\n{STEERING}]")
BUT_LINES = re.compile(rf"[{STEERING}]")


def clean(text: str) -> str:
    """All that a person sees, in lines."""
    return BUT_LINES.sub("", text)
