import re
from html import unescape

import pytest

from riverrun.rendering.highlight import CLASSES, LONGEST, highlight, warm

PYTHON = '@app.get("/x")\ndef f(a: int = 3) -> str:\n    return f"{a!r} <b>" if a and True else None  # why\n'


def text_of(html: str) -> str:
    return unescape(re.sub("<[^>]*>", "", html))


def test_what_stands_out_has_a_class_and_nothing_has_a_style() -> None:
    html = highlight(PYTHON, "python")
    assert '<span class="d">@app</span>' in html
    assert '<span class="k">def</span> <span class="f">f</span>(a' in html
    assert '<span class="c"># why</span>' in html
    assert "style" not in html
    assert set(re.findall('class="([^"]*)"', html)) <= set(CLASSES.values())


@pytest.mark.parametrize(
    "language", ["python", "javascript", "html", "bash", "json", "diff", "yaml", "text", "console"]
)
@pytest.mark.parametrize(
    "code",
    [PYTHON, "\n\n\ta\n \n", "  x", "<!-- -->\n<p class='a'>&amp;</p>", "\ufeffx\n", "a\x0bb\x0c\x85\u2028c", "{'", ""],
)
def test_the_text_stays_exactly_as_it_was(code: str, language: str) -> None:
    assert text_of(highlight(code, language)) == code


@pytest.mark.parametrize("language", ["text", "nosuch", "", "mermaid"])
def test_a_language_that_nobody_knows_is_shown_plain(language: str) -> None:
    assert highlight("if a < b & c:", language) == "if a &lt; b &amp; c:"


@pytest.mark.parametrize(
    "language", ["py", "JS", "ts", "tsx", "jsx", "sh", "yml", "jsonc", "kt", "vue", "c++", "c#", "rs", "go"]
)
def test_languages_go_by_the_names_that_models_write(language: str) -> None:
    assert "<span" in highlight('import "a"; // 1\n# b: "c"\n<a b="c">"d"', language)


def test_very_long_code_is_shown_plain() -> None:
    line = "import a\n"
    assert "<span" in highlight(line * (LONGEST // len(line)), "python")
    assert "<span" not in highlight(line * (LONGEST // len(line) + 1), "python")


@pytest.mark.parametrize("code", ["a " * 2_000, "\n" * 100 + "import a"])
def test_code_that_no_person_wrote_is_shown_plain(code: str) -> None:
    assert "<span" in highlight(code[-200:].strip() + "\nimport a", "python")
    assert "<span" not in highlight(code + "\nimport a", "python")


def test_a_lexer_that_takes_too_long_leaves_the_rest_bare() -> None:
    code = "a\n" * 20_000  # quadratic in this lexer, and cubic in some
    html = highlight(code, "csharp")
    assert text_of(html) == code
    assert html.endswith("a\n" * 1_000)


async def test_warmed_code_is_there_at_once() -> None:
    code = PYTHON * 100
    await warm(code, "python")
    hits = highlight.cache_info().hits
    assert "<span" in highlight(code, "python")
    assert highlight.cache_info().hits == hits + 1
