"""Every kind of file gives its passages, and a bad one its reason."""

import asyncio
import io
import re
import sys
import zlib

import msgspec
import psutil
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from riverrun.knowledge import extract as extraction
from riverrun.knowledge.extract import DocumentError, extract, markdown_of
from riverrun.knowledge.passages import passages_of
from tests.knowledge.conftest import docx, paragraph, pdf

NESTED = "<!DOCTYPE w [<!ENTITY a0 'lol'>" + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))


async def told(name: str, content: bytes) -> list[tuple[str, str]]:
    return [(piece.heading, piece.text) for piece in await extract(name, content)]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.txt", b"plain caf\xc3\xa9", "plain café"),
        ("a.txt", "wide ä".encode("utf-16"), "wide ä"),
        ("a.txt", b"\xef\xbb\xbfmarked", "marked"),
        ("a.txt", b"caf\xe9 \x80", "café €"),
        ("a.txt", "no\0 database \ud800takes it".encode("utf-16", "surrogatepass"), "no database �takes it"),
        ("-c.txt", b"named like an option", "named like an option"),
        (
            "a.csv",
            b'name;is\nNile;a|b\n\n"Two\nlines";\n',
            "| name | is |\n| --- | --- |\n| Nile | a\\|b |\n| Two lines |  |",
        ),
        ("a.py", b"# no heading\nx = 1\n\n# nor this\n", "```py\n# no heading\nx = 1\n\n# nor this\n\n```"),
        ("a.sh", b"echo '```'", "````sh\necho '```'\n````"),
        ("a.html", b"<p>kept</p><script>dropped()</script><style>p{}</style>", "kept"),
        ("a.html", "<p>Größe, undeclared</p>".encode(), "Größe, undeclared"),
        ("a.html", "<meta charset=koi8-r><p>Река</p>".encode("koi8-r"), "Река"),
        ("a.html", b"<table><tr><th>a</th></tr><tr><td>1</td></tr></table>", "| a |\n| --- |\n| 1 |"),
        ("a.docx", docx(paragraph("Größe – 日本語") + paragraph("and more")), "Größe – 日本語\n\nand more"),
    ],
)
async def test_the_text_of_a_file(name: str, content: bytes, text: str) -> None:
    assert await told(name, content) == [("", text)]


@pytest.mark.parametrize(
    ("name", "content", "passages"),
    [
        ("a.md", b"# Title\n\n- point", [("Title", "- point")]),
        (
            "no name",
            b"<!DOCTYPE html><title>t</title><h2>Head</h2><p>Some <b>bold</b></p>",
            [("Head", "Some **bold**")],
        ),
        ("a.pdf", pdf("First words", "", "Third words"), [("Page 1", "First words"), ("Page 3", "Third words")]),
        ("a.pdf", pdf("# 1 of its kind"), [("Page 1", "\\# 1 of its kind")]),
        ("a.pdf", b"\r\n" + pdf("after junk"), [("Page 1", "after junk")]),
    ],
)
async def test_the_passages_of_a_file(name: str, content: bytes, passages: list[tuple[str, str]]) -> None:
    assert await told(name, content) == passages


def encrypted() -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("secret"))))
    writer.encrypt("password", algorithm="RC4-128")
    packed = io.BytesIO()
    writer.write(packed)
    return packed.getvalue()


def swollen(size: int) -> bytes:
    """A PDF with a page of this many bytes, which is far smaller itself."""
    packed = zlib.compress(b"BT (" + b"x" * size + b") Tj ET", 9)
    small = pdf("here")
    begin, end = small.index(b"<< /Length"), small.index(b"endstream")
    return small[:begin] + b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\n" % (len(packed), packed) + small[end:]


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
        ("bomb.pdf", swollen(300_000_000), "damaged|too large|no text"),
        ("bomb.docx", docx(paragraph("&a9;"), NESTED + "]>"), "damaged"),
        ("long.txt", b"words " * (extraction.TEXT_LIMIT // 6 + 1), "Split it"),
        ("a.rtf", b"{\\rtf1 words}", "docx"),
        ("a.xlsx", docx("").replace(b"word/document.xml", b"xl/documents.xml "), "cannot be read"),
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
    assert not children()


async def test_a_reading_that_is_given_up_takes_its_process_along() -> None:
    reading = asyncio.create_task(extract("deep.html", b"<html>" + b"<p>word" * 1_000_000))
    async with asyncio.timeout(20):
        while not children():  # noqa: ASYNC110 - nobody tells that a process has begun
            await asyncio.sleep(0.01)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert not children()


def children() -> list[str]:
    """Processes that read a document for this one."""
    found = psutil.Process().children()
    return [" ".join(child.cmdline()) for child in found if "riverrun.knowledge.extract" in child.cmdline()]


async def test_a_file_that_is_nested_without_end_harms_nobody_else() -> None:
    with pytest.raises(DocumentError, match=r"nested|damaged|too large|too long"):
        await extract("deep.html", b"<html>" + b"<div>" * 100_000)


async def test_a_process_that_wants_all_memory_is_refused_it() -> None:
    greedy = "from riverrun.knowledge.extract import confine; confine(); b'x' * 3_000_000_000"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", greedy, stderr=asyncio.subprocess.PIPE)
    _, complaint = await process.communicate()
    assert b"MemoryError" in complaint


NAMES = st.sampled_from(
    ["a", "a.txt", "a.csv", "a.tsv", "a.py", "a.`x`", "a.html", "a.md", "a.pdf", "a.docx", "a.\u202etxt"]
)
TEXTS = st.text(st.sampled_from('ab,;\t"|#`~-<>&\r\n \0\x0b\x85\u2028\ufeff\u202e\ud800é'), max_size=40)
CONTENTS = st.one_of(
    st.binary(max_size=40).filter(lambda content: not re.search(rb"%PDF-|^PK", content)),  # which libraries read
    TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")),
    TEXTS.map(lambda text: text.encode("utf-16", "surrogatepass")),
)


@settings(deadline=None)
@given(NAMES, CONTENTS)
@example("a.csv", b"\xef\xbb\xbf")
@example("a.csv", b'"')
@example("a.csv", b"a,b\rc,d\r")
@example("a.txt", b"\xff\xfe")
def test_any_text_becomes_passages_that_can_be_saved_or_is_refused(name: str, content: bytes) -> None:
    try:
        markdown = markdown_of(name, content)
    except DocumentError as refusal:
        refusal.message.encode()
        return
    for piece in passages_of(markdown):
        assert piece.text.strip()
        assert "\0" not in piece.heading + piece.text
        msgspec.json.encode(piece)


def test_a_table_whose_lines_end_as_on_old_macs_is_one() -> None:
    assert markdown_of("a.csv", b"name,is\rNile,long\r") == "| name | is |\n| --- | --- |\n| Nile | long |"
