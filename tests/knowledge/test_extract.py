"""Every kind of file gives its text, and a bad one its reason."""

import asyncio

import pytest
from pypdf import PdfReader, PdfWriter

from riverrun.knowledge import extract as extraction
from riverrun.knowledge.extract import DocumentError, extract
from tests.knowledge.conftest import docx, paragraph, pdf


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", b"plain caf\xc3\xa9", "plain café"),
        ("a.txt", "wide ä".encode("utf-16"), "wide ä"),
        ("a.txt", b"\xef\xbb\xbfmarked", "marked"),
        ("a.txt", b"caf\xe9 \x80", "café €"),
        ("a.md", b"# Title\n\n- point", "# Title\n\n- point"),
        ("a.csv", b"a,b\n1,2", "a,b\n1,2"),
        ("no name", b"<!DOCTYPE html><title>t</title><h2>Head</h2><p>Body <b>bold</b></p>", "## Head\n\nBody **bold**"),
        ("a.html", b"<p>kept</p><script>dropped()</script><style>p{}</style>", "kept"),
        ("a.html", b"<table><tr><th>a</th></tr><tr><td>1</td></tr></table>", "| a |\n| --- |\n| 1 |"),
        ("a.pdf", pdf("First words", "Second words"), "# Page 1\n\nFirst words\n\n# Page 2\n\nSecond words"),
        ("a.docx", docx(paragraph("Some words") + paragraph("and more")), "Some words\n\nand more"),
    ],
)
async def test_the_text_of_a_file(name: str, content: bytes, text: str) -> None:
    assert (await extract(name, content)).strip() == text


def encrypted() -> bytes:
    import io

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("secret"))))
    writer.encrypt("password", algorithm="RC4-128")
    packed = io.BytesIO()
    writer.write(packed)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b" \n", "empty"),
        ("a.png", b"\x89PNG\r\n\x1a\n\0\0\0", "cannot be read"),
        ("a.pdf", pdf(""), "scanned"),
        ("a.pdf", pdf("words")[:60], "damaged|no text"),
        ("a.pdf", encrypted(), "encrypted"),
        ("a.docx", docx(paragraph("words"))[:200], "damaged"),
        ("a.zip", b"PK\x03\x04 and no more", "damaged"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "docx"),
        ("bomb.docx", docx(paragraph("x"), bomb=b"\0" * (extraction.UNPACKED_LIMIT + 1)), "too large"),
        ("big.txt", b"x" * (extraction.SIZE_LIMIT + 1), "20 MB at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_bad_file_gets_its_reason(name: str, content: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        await extract(name, content)


async def test_a_file_that_takes_too_long_is_given_up_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "TIME_LIMIT", 0.01)
    with pytest.raises(DocumentError, match="too long"):
        await extract("a.txt", b"words")


async def test_a_file_that_is_nested_without_end_harms_nobody_else() -> None:
    endless = b"<html>" + b"<div>" * 100_000
    with pytest.raises(DocumentError, match=r"damaged|too large|too long|no text"):
        await asyncio.wait_for(extract("deep.html", endless), 100)
