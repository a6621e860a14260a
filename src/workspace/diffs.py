"""What changed in a file, as a unified diff."""

from collections.abc import Iterator, Sequence
from difflib import unified_diff
from itertools import chain

CONTEXT = 3  # lines
MOST_COMPARED = 3_000  # lines on a side; comparing takes quadratic time
LONGEST = 50_000  # characters; the contents themselves are kept


def diff_of(path: str, before: str | None, after: str | None) -> str:
    """None: there is no file."""
    lines = compared(split(before), split(after))
    head = [f"--- {'/dev/null' if before is None else f'a/{path}'}\n"]
    head.append(f"+++ {'/dev/null' if after is None else f'b/{path}'}\n")
    told, size = list[str](), 0
    for line in chain(head, map(whole, lines)):
        size += len(line)
        if size > LONGEST:
            return "".join([*told, "… the rest is left out …\n"])
        told.append(line)
    return "".join(told) if len(told) > len(head) else ""


def split(text: str | None) -> list[str]:
    """Lines with their ends; the last one may have none."""
    *lines, last = (text or "").split("\n")
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def compared(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Hunks. What is the same at both ends is not looked at again."""
    start, end = in_common(before, after)
    if max(len(before), len(after)) - start - end > MOST_COMPARED:
        yield from replaced(start, before[start : len(before) - end], after[start : len(after) - end])
        return
    start, end = max(0, start - CONTEXT), max(0, end - CONTEXT)
    hunks = unified_diff(before[start : len(before) - end], after[start : len(after) - end], n=CONTEXT)
    next(hunks, None), next(hunks, None)
    yield from (shifted(line, start) if line.startswith("@@") else line for line in hunks)


def in_common(before: Sequence[str], after: Sequence[str]) -> tuple[int, int]:
    """How many lines are the same at the beginning, and of the others at the end."""
    shorter = min(len(before), len(after))
    start = next((n for n in range(shorter) if before[n] != after[n]), shorter)
    end = next((n for n in range(shorter - start) if before[-1 - n] != after[-1 - n]), shorter - start)
    return start, end


def replaced(start: int, old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    note = " too many lines to compare" if old and new else ""
    yield f"@@ -{start + bool(old)},{len(old)} +{start + bool(new)},{len(new)} @@{note}\n"
    yield from (f"-{line}" for line in old)
    yield from (f"+{line}" for line in new)


def shifted(hunk: str, start: int) -> str:
    """`@@ -1,2 +1,3 @@` of lines of which `start` were left out before."""
    _, old, new, *_ = hunk.split()
    return f"@@ -{moved(old[1:], start)} +{moved(new[1:], start)} @@\n"


def moved(span: str, start: int) -> str:
    first, *count = span.split(",")
    return ",".join([str(int(first) + start), *count])


def whole(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
