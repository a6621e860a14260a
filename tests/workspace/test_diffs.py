"""Diffs: whoever applies one to what was before gets what was after."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from riverrun.workspace import diffs
from riverrun.workspace.diffs import LONGEST, MOST_COMPARED, diff_of

HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "c\r\n", "\n", "+\n", "-- x\n", "@@\n"]), max_size=40).flatmap(
    lambda lines: st.sampled_from(["", "end", "\\ end"]).map(lambda last: "".join(lines) + last)
)


def applied(before: str, diff: str) -> str:
    """As `patch` does it; raises AssertionError where a hunk does not fit."""
    old, new = before.splitlines(keepends=True), list[str]()
    lines = re.findall(r"[^\n]*\n", diff)[2:]
    at = 0
    while lines:
        header = HUNK.match(lines.pop(0))
        assert header is not None
        first, count, started, made = (1 if number is None else int(number) for number in header.groups())
        start = first - bool(count)
        new += old[at:start]
        assert len(new) == started - bool(made)
        at, end = start, len(new) + made
        while at < start + count or len(new) < end:
            sign, line = lines[0][0], lines.pop(0)[1:]
            if lines and lines[0].startswith("\\ No newline"):
                line = line.removesuffix("\n")
                lines.pop(0)
            if sign in " -":
                assert old[at] == line
                at += 1
            if sign in " +":
                new.append(line)
    return "".join(new + old[at:])


@given(before=TEXTS, after=TEXTS)
@example(before="", after="a")
@example(before="a", after="a\n")
@example(before="a\n" * 20, after="a\n" * 21)
def test_a_diff_tells_exactly_what_changed(before: str, after: str) -> None:
    diff = diff_of("f", before, after)
    assert bool(diff) == (before != after)
    assert applied(before, diff) == after


@given(before=TEXTS, after=TEXTS)
def test_so_does_one_of_texts_that_are_too_long_to_compare(before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffs, "MOST_COMPARED", 1)
        assert applied(before, diff_of("f", before, after)) == after


def test_what_is_too_long_to_compare_is_told_as_replaced_and_says_so() -> None:
    before = "".join(f"{number}\n" for number in range(MOST_COMPARED + 1))
    after = before.replace("0\n", "zero\n")
    assert "@@ too many lines to compare\n" in diff_of("f", before, after)
    assert "too many" not in diff_of("f", None, before)
    assert diff_of("f", before, f"{before}last\n").count("\n+") == 2  # one of them is the head


def test_headers_tell_files_that_were_made_and_deleted() -> None:
    assert diff_of("a b", None, "x\n") == "--- /dev/null\n+++ b/a b\n@@ -0,0 +1 @@\n+x\n"
    assert diff_of("a b", "x", None) == "--- a/a b\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\\ No newline at end of file\n"
    assert diff_of("a b", None, "x\n" * 9_000).startswith("--- /dev/null\n+++ b/a b\n@@ -0,0 +1,9000 @@\n+x\n")


@pytest.mark.parametrize("after", ["x\n" * 200_000, "x" * 1_000_000, "x" * 49_900 + "\ny\ny\n" * 1000])
def test_a_long_diff_is_cut_and_says_so(after: str) -> None:
    diff = diff_of("f", "a\n", after)
    assert len(diff) < LONGEST + 100
    assert diff.endswith("\n… the rest is left out …\n")
