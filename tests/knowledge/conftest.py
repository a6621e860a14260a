"""Libraries on real databases, and documents as people have them."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator

import pytest
from advanced_alchemy.extensions.litestar import SQLAlchemyAsyncConfig

from riverrun.knowledge.library import Library, Listed, Shelf
from riverrun.persistence.tables import DEFAULT_PROJECT


@pytest.fixture
async def library(database: SQLAlchemyAsyncConfig) -> AsyncIterator[Library]:
    library = Library(database.create_session_maker())
    async with library.working():
        yield library


@pytest.fixture
def shelf(library: Library) -> Shelf:
    return library.of(DEFAULT_PROJECT)


async def read(shelf: Shelf, name: str, content: str | bytes) -> Listed:
    """Adds a document and waits until it has been read, well or not, and embedded where that can be done."""
    document = await shelf.add(name, content.encode() if isinstance(content, str) else content)
    await asyncio.gather(shelf.library.readings[document.id].task)
    await shelf.library.embed()
    return next(one for one in await shelf.documents() if one.id == document.id)


def pdf(*pages: str) -> bytes:
    """A PDF with a line of text a page, written by hand."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{3 + 2 * number} 0 R" for number in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    for number, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {4 + 2 * number} 0 R "
            f"/Resources << /Font << /F1 {font} >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    written, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(written))
        written += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\n"
    )
    return written + f"{end}startxref\n{len(written)}\n%%EOF\n".encode()


def docx(body: str, prologue: str = "", **parts: bytes) -> bytes:
    """A Word file with this body (WordprocessingML), and further parts."""
    packed = io.BytesIO()
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="r1" Type="{office}" Target="word/document.xml"/></Relationships>',
        )
        document = f'<w:document xmlns:w="{namespace}"><w:body>{body}</w:body></w:document>'
        archive.writestr("word/document.xml", prologue + document)
        for name, content in parts.items():
            archive.writestr(name, content)
    return packed.getvalue()


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"
