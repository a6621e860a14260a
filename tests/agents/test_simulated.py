"""A reply that came at once, shown bit by bit."""

import pytest

from riverrun.agents.simulated import pieces

REPLIES = [
    "",
    "word",
    "  leading and trailing  \n\n",
    "One two three four five six seven.\n\n- a\n- b\n",
    "Text\n```python\nif a:\n\n    b  =  1\n```\nafter\n~~~\nx\n~~~",
    "> quoted\n> ```\n> code here as well\n> ```\n",
    "````\n```\nnot the end\n````\nend of it",
    "An open fence\n```js\nconst a = 1;\nlet b",
    "日本語には単語の間に空白がありませんので、長い文も少しずつ表示されなければなりません。" * 3,
    "a\r\nb\r\n\r\n\u2028c\x0bd",
    "nbsp\u00a0here\u3000there",
]


@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("words", [1, 3, 50])
def test_the_pieces_are_the_reply(reply: str, words: int) -> None:
    assert "".join(piece for piece, _ in pieces(reply, words)) == reply


def test_prose_goes_by_words() -> None:
    assert [piece for piece, _ in pieces("One two three four five.", 2)] == ["One two ", "three four ", "five."]


def test_code_goes_by_whole_lines() -> None:
    reply = "See this code:\n\n```python\nx = 1 + 2 + 3 + 4\n\ny = 2\n```\nThat was it."

    assert [piece for piece, is_code in pieces(reply, 3) if is_code] == [
        "```python\n",
        "x = 1 + 2 + 3 + 4\n",
        "\n",
        "y = 2\n",
        "```\n",
    ]


def test_a_shorter_fence_does_not_end_a_code_block() -> None:
    code = "````\n```\nnot the end\n````\n"

    assert [piece for piece, is_code in pieces(code + "The end", 3) if is_code] == code.splitlines(keepends=True)


def test_a_language_without_spaces_goes_in_pieces_as_well() -> None:
    assert len(list(pieces(REPLIES[8], 1))) > 3
