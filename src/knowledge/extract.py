"""Files to passages, in a process of their own: what hangs, bursts or crashes there harms nothing here.

`python -m riverrun.knowledge.extract NAME` reads a file from its standard input and writes its passages as JSON to its
standard output, or a sentence for a person to its standard error, with the status 3. The libraries are imported where
they are needed, since each file needs one of them and each file starts a process.
"""

import asyncio
import csv
import io
import logging
import os
import re
import resource
import sys
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import PurePath

import msgspec

from .passages import Piece, passages_of

SIZE_LIMIT = 20_000_000  # bytes of a file
TEXT_LIMIT = 5_000_000  # characters that come of it
TIME_LIMIT = 120  # seconds
MEMORY_LIMIT = 2_000_000_000  # bytes
UNPACKED_LIMIT = 200_000_000  # bytes of a Word file's parts
REFUSED = 3  # status

KINDS = "text, Markdown, HTML, CSV, PDF and Word (docx)"
PROSE = ("", ".md", ".markdown", ".txt", ".text", ".rst", ".adoc", ".org")  # other texts are code
UTF16 = (b"\xff\xfe", b"\xfe\xff")
# No database takes NUL, no encoding takes half a pair, and nobody looks for the others.
UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
MARKUP = re.compile(r"^([ \t]*)(?=#|```|~~~)", re.MULTILINE)

PieceList = list[Piece]


class DocumentError(Exception):
    """Why a file cannot be read, as a sentence for a person."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


async def extract(name: str, content: bytes) -> list[Piece]:
    """Raises DocumentError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-P", "-m", "riverrun.knowledge.extract", name),  # -P: whatever the working folder has in it
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIME_LIMIT):
            told, reason = await process.communicate(content)
    except TimeoutError as failure:
        raise DocumentError("Reading it took too long. Try a part of it, or another format.") from failure
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == REFUSED:
        raise DocumentError(reason.decode())
    if process.returncode:
        raise DocumentError("The file is damaged, or too large when it is unpacked.")
    return msgspec.json.decode(told, type=PieceList)


def main() -> None:
    confine()
    try:
        pieces = passages_of(markdown_of(sys.argv[1], sys.stdin.buffer.read()))
    except DocumentError as refusal:
        refuse(refusal.message)
    except (MemoryError, RecursionError):
        refuse("The file is nested too deeply, or too large when it is unpacked.")
    except Exception:  # whatever a library makes of a damaged file
        refuse("The file is damaged.")
    else:
        sys.stdout.buffer.write(msgspec.json.encode(pieces))


def confine() -> None:
    """Ends even when there is nobody left to end it, and lets those go first whom somebody watches."""
    for limit, value in ((resource.RLIMIT_AS, MEMORY_LIMIT), (resource.RLIMIT_CPU, TIME_LIMIT)):
        with suppress(ValueError, OSError):  # the system has stricter limits, or none
            resource.setrlimit(limit, (value, value))
    os.nice(10)
    warnings.simplefilter("ignore")
    logging.disable()


def refuse(message: str) -> None:
    sys.stderr.write(message)
    sys.exit(REFUSED)


def markdown_of(name: str, content: bytes) -> str:
    """Raises DocumentError, and whatever a damaged file makes a library raise."""
    if not content.strip():
        raise DocumentError("The file is empty.")
    text = UNPRINTABLE.sub("", reader_for(name, content)(content))
    if not text.strip():
        raise DocumentError("There is no text in it. If it is scanned, it needs text recognition first.")
    if len(text) > TEXT_LIMIT:
        raise DocumentError(f"It has {len(text):,} characters of text, and {TEXT_LIMIT:,} at most fit. Split it first.")
    return text


def reader_for(name: str, content: bytes) -> Callable[[bytes], str]:
    """By what the file is; only texts are told apart by their names."""
    suffix = PurePath(name).suffix.lower()
    if content.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in content[:1024]):
        return from_pdf
    if content.startswith(b"PK\x03\x04"):
        return from_word
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise DocumentError("This is an old or encrypted Office file. Save it as docx without a password first.")
    if content.startswith(b"{\\rtf"):
        raise DocumentError("RTF cannot be read. Save it as docx first.")
    if b"\0" in content and not content.startswith(UTF16):
        raise unknown_kind()
    head = content[:1000].lstrip().lower()
    if suffix in (".html", ".htm", ".xhtml") or head.startswith((b"<!doctype html", b"<html")):
        return from_html
    if suffix in (".csv", ".tsv"):
        return from_csv
    if suffix in PROSE:
        return from_text
    return lambda content: code_block(suffix.removeprefix("."), from_text(content))


def unknown_kind() -> DocumentError:
    return DocumentError(f"This kind of file cannot be read; {KINDS} can.")


def from_text(content: bytes) -> str:
    if content.startswith(UTF16):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def code_block(language: str, code: str) -> str:
    """What is a comment there must not become a heading here."""
    longest = max((len(ticks) for ticks in re.findall("`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language if language.isalnum() else ''}\n{code}\n{fence}"


def from_csv(content: bytes) -> str:
    """A table, so that every passage of it names the columns."""
    text = from_text(content)
    first = text.lstrip().partition("\n")[0]
    lines = io.StringIO(text, newline=None)  # a lone `\r` ends one too, as in the files of old Macs
    rows = [row for row in csv.reader(lines, delimiter=max(",;\t", key=first.count)) if row]
    if not rows or len(rows[0]) < 2:
        return text
    head, *body = ["| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |" for row in rows]
    return "\n".join([head, "|" + " --- |" * len(rows[0]), *body])


def from_html(content: bytes) -> str:
    from bs4.dammit import EncodingDetector

    # Otherwise it would be guessed, by whatever guesses encodings in this environment.
    declared = EncodingDetector.find_declared_encoding(content, is_html=True)
    return from_page(content if declared else from_text(content))


def from_page(page: str | bytes) -> str:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(page, "html.parser")
    for part in soup(["script", "style", "noscript", "template", "svg", "nav", "head", "title"]):
        part.decompose()
    return str(MarkdownConverter(heading_style="ATX", strip=["img"]).convert_soup(soup))


def from_pdf(content: bytes) -> str:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, WrongPasswordError

    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DocumentError("The PDF is encrypted. Save it without a password first.")
        pages = [page.extract_text() for page in reader.pages]
    except (DependencyError, WrongPasswordError) as failure:
        raise DocumentError("The PDF is encrypted. Save it without a password first.") from failure
    told = [(number, MARKUP.sub(r"\1\\", text.strip())) for number, text in enumerate(pages, 1)]
    return "\n\n".join(f"# Page {number}\n\n{text}" for number, text in told if text)


def from_word(content: bytes) -> str:
    import mammoth

    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        if "word/document.xml" not in parts.namelist():
            raise unknown_kind()
        if sum(part.file_size for part in parts.infolist()) > UNPACKED_LIMIT:
            raise DocumentError("The file is too large when it is unpacked.")
    page = mammoth.convert_to_html(io.BytesIO(content), convert_image=mammoth.images.img_element(lambda _: {}))
    return from_page(page.value)


if __name__ == "__main__":
    main()
