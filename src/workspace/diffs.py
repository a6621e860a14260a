"""What changed in a file, as a unified diff."""

from collections.abc import Iterator, Sequence
from difflib import unified_diff

CONTEXT = 3  # lines
MOST_COMPARED = 3_000  # lines on a side; comparing takes quadratic time, so of more all are told as replaced
LONGEST = 200_000  # characters


def diff_of(path: str, before: str | None, after: str | None) -> str:
    """None: there is no file."""
    lines = list(compared(split(before), split(after)))
    if not lines:
        return ""
    head = [f"--- {'/dev/null' if before is None else f'a/{path}'}\n"]
    head.append(f"+++ {'/dev/null' if after is None else f'b/{path}'}\n")
    text = "".join([*head, *map(whole, lines)])
    return text if len(text) <= LONGEST else f"{text[:LONGEST].rsplit(chr(10), 1)[0]}\n… the rest is left out …\n"


def split(text: str | None) -> list[str]:
    """Lines with their ends; the last one may have none."""
    *lines, last = (text or "").split("\n")
    return [f"{line}\n" for line in lines] + ([last] if last else [])


def compared(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Hunks. What is the same at both ends is not looked at again."""
    same = next(
        (n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(0, same - CONTEXT)
    rest = min(len(before), len(after)) - same
    ending = next((n for n in range(rest) if before[-1 - n] != after[-1 - n]), rest)
    tail = max(0, ending - CONTEXT)
    old, new = before[start : len(before) - tail], after[start : len(after) - tail]
    if max(len(old), len(new)) <= MOST_COMPARED:
        hunks = unified_diff(old, new, n=CONTEXT)
        next(hunks, None), next(hunks, None)
        yield from (shifted(line, start) if line.startswith("@@") else line for line in hunks)
        return
    yield f"@@ -{start + 1},{len(old)} +{start + 1},{len(new)} @@\n"
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
