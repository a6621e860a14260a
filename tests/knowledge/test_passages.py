"""Passages: pieces of a good length, whole where that is possible, with the headings above them."""

from hypothesis import given
from hypothesis import strategies as st

from riverrun.knowledge.passages import LONGEST, passages_of

SENTENCE = "The quick brown fox jumps over the lazy dog and runs away. "


def test_a_passage_knows_the_headings_above_it() -> None:
    pieces = passages_of("before\n\n# One\n\nfirst\n\n## Deep\n\nsecond\n\n# Two\n\nthird")
    assert [(piece.heading, piece.text) for piece in pieces] == [
        ("", "before"),
        ("One", "first"),
        ("One › Deep", "second"),
        ("Two", "third"),
    ]


def test_short_paragraphs_stay_together_and_long_ones_are_cut_at_sentences() -> None:
    pieces = passages_of("\n\n".join(["short one"] * 20) + "\n\n" + SENTENCE * 60)
    assert all(len(piece.text) <= LONGEST for piece in pieces)
    assert pieces[0].text.startswith("short one\n\nshort one")
    assert all(piece.text.endswith(".") for piece in pieces[1:])


def test_a_code_block_and_a_table_stay_whole() -> None:
    code = "```python\n# not a heading\n\nx = 1\n```"
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    pieces = passages_of(f"{SENTENCE * 12}\n\n{code}\n\n{SENTENCE * 12}\n\n{table}")
    assert any(code in piece.text for piece in pieces)
    assert any(table in piece.text for piece in pieces)
    assert {piece.heading for piece in pieces} == {""}


def test_headings_are_found_in_both_ways_to_write_them() -> None:
    pieces = passages_of("One\n===\nfirst\n\nTwo\n---\nsecond\n\n# Three ##\nthird\n\n#none\n\n| a |\n|---|\n")
    assert [(piece.heading, piece.text) for piece in pieces] == [
        ("One", "first"),
        ("One › Two", "second"),
        ("Three", "third\n\n#none\n\n| a |\n|---|"),
    ]


def test_every_part_of_long_code_is_code_and_is_cut_between_lines() -> None:
    lines = [f"    value_{number} = compute(number). result" for number in range(200)]
    pieces = passages_of("```python\n" + "\n".join(lines) + "\n```")
    assert len(pieces) > 4
    told = [piece.text.split("\n") for piece in pieces]
    assert all((part[0], part[-1]) == ("```python", "```") for part in told)
    assert [line for part in told for line in part if line.startswith("    ")] == lines


def test_every_part_of_a_long_table_has_its_head() -> None:
    rows = [f"| {number} | a river of that number |" for number in range(200)]
    pieces = passages_of("\n".join(["| no | what |", "|---|---|", *rows]))
    assert len(pieces) > 4
    told = [piece.text.split("\n") for piece in pieces]
    assert all(part[:2] == ["| no | what |", "|---|---|"] for part in told)
    assert [line for part in told for line in part[2:]] == rows


def test_a_head_that_is_too_long_is_not_repeated() -> None:
    head = "| " + " | ".join(f"column {number}" for number in range(100)) + " |"
    pieces = passages_of("\n".join([head, "|---|---|", *["| 1 | 2 |"] * 300]))
    assert sum("column 7 " in piece.text for piece in pieces) == 1


@given(st.text(alphabet=st.sampled_from("ab #`~\n.|-=é"), max_size=4000))
def test_no_word_is_lost_and_none_invented(markdown: str) -> None:
    pieces = passages_of(markdown)
    told = "".join(piece.text for piece in pieces)
    assert all(0 < len(piece.text) <= LONGEST for piece in pieces)
    for letter in "abé":
        assert (letter in told) <= (letter in markdown)
        if not {"#", "=", "-"} & set(markdown):  # which make headings
            assert told.count(letter) >= markdown.count(letter)
