"""Files to Markdown, in a process of their own: what hangs, bursts or crashes there harms nothing here.

`python -m riverrun.knowledge.extract NAME` reads a file from its standard input and writes Markdown to its standard
output, or a sentence for a person to its standard error, with the status 3. The libraries are imported where they are
needed, since each file needs one of them and each file starts a process.
"""

import asyncio
import io
import logging
import resource
import sys
import warnings
import zipfile
from collections.abc import Callable
from html import escape
from pathlib import PurePath

SIZE_LIMIT = 20_000_000  # bytes of a file
TEXT_LIMIT = 5_000_000  # characters that come of it
TIME_LIMIT = 120.0  # seconds
MEMORY_LIMIT = 2_000_000_000  # bytes
UNPACKED_LIMIT = 200_000_000  # bytes of a Word file's parts
REFUSED = 3  # status

KINDS = "text, Markdown, HTML, PDF and Word (docx)"


class DocumentError(Exception):
    """Why a file cannot be read, as a sentence for a person."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


async def extract(name: str, content: bytes) -> str:
    """The file's text as Markdown. Raises DocumentError."""
    if len(content) > SIZE_LIMIT:
        raise DocumentError(f"The file has {len(content) // 1_000_000} MB; {SIZE_LIMIT // 1_000_000} MB at most.")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "riverrun.knowledge.extract", name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIME_LIMIT):
            text, reason = await process.communicate(content)
    except TimeoutError as failure:
        raise DocumentError("Reading it took too long.") from failure
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == REFUSED:
        raise DocumentError(reason.decode())
    if process.returncode:
        raise DocumentError("It is damaged, or too large when it is unpacked.")
    return text.decode()


def markdown_of(name: str, content: bytes) -> str:
    """Raises DocumentError, and whatever a damaged file makes a library raise."""
    if not content.strip():
        raise DocumentError("The file is empty.")
    text = reader_for(name, content)(content)
    if not text.strip():
        raise DocumentError("There is no text in it. If it is scanned, it needs text recognition first.")
    return text[:TEXT_LIMIT]


def reader_for(name: str, content: bytes) -> Callable[[bytes], str]:
    """By what the file is; only texts are told apart by their names."""
    if content.startswith(b"%PDF-"):
        return from_pdf
    if content.startswith(b"PK\x03\x04"):
        return from_word
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise DocumentError("This is an old or encrypted Office file. Save it as docx without a password first.")
    if b"\0" in content and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DocumentError(f"This kind of file cannot be read; {KINDS} can.")
    head = content[:1000].lstrip().lower()
    if PurePath(name).suffix.lower() in (".html", ".htm", ".xhtml") or head.startswith((b"<!doctype html", b"<html")):
        return from_html
    return from_text


def from_text(content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def from_html(content: bytes) -> str:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    page = BeautifulSoup(content, "html.parser")
    for part in page(["script", "style", "noscript", "template", "svg", "nav", "head", "title"]):
        part.decompose()
    return str(MarkdownConverter(heading_style="ATX", strip=["img"]).convert_soup(page))


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
    told = [f"# Page {number}\n\n{text.strip()}" for number, text in enumerate(pages, 1) if text.strip()]
    return "\n\n".join(told)


def from_word(content: bytes) -> str:
    import mammoth

    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        if "word/document.xml" not in parts.namelist():
            raise DocumentError(f"This kind of file cannot be read; {KINDS} can.")
        if sum(part.file_size for part in parts.infolist()) > UNPACKED_LIMIT:
            raise DocumentError("The file is too large when it is unpacked.")
    page = mammoth.convert_to_html(io.BytesIO(content), convert_image=mammoth.images.img_element(lambda _: {}))
    return from_html(f"<html><body>{page.value}</body></html>".encode())


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    warnings.simplefilter("ignore")
    logging.disable()
    try:
        text = markdown_of(sys.argv[1], sys.stdin.buffer.read())
    except DocumentError as refusal:
        sys.stderr.write(refusal.message)
        sys.exit(REFUSED)
    except Exception as failure:
        sys.stderr.write(f"It is damaged: {escape(type(failure).__name__)}.")
        sys.exit(REFUSED)
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
