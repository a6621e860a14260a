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


@given(st.text(alphabet=st.sampled_from("ab #`~\n.|-é"), max_size=4000))
def test_no_word_is_lost_and_none_invented(markdown: str) -> None:
    pieces = passages_of(markdown)
    told = "".join(piece.text for piece in pieces)
    assert all(0 < len(piece.text) <= LONGEST for piece in pieces)
    for letter in "abé":
        assert told.count(letter) <= markdown.count(letter)
        if "#" not in markdown:
            assert told.count(letter) == markdown.count(letter)
