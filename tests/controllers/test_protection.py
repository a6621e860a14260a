"""What every answer tells a browser, and that what is taken away as a file is a page nowhere."""

import io
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import unquote

import httpx
import pytest
from litestar import Litestar

from riverrun.app import create_app
from riverrun.controllers.answers import as_file, named
from riverrun.rendering import sse
from riverrun.settings import Settings
from tests.controllers.page_kit import Browser
from tests.each import each
from tests.hostile import NAMES, SHORT, STREAMS, without_halves
from tests.server import Server

NOBODY = "00000000-0000-7000-8000-00000000dead"
DEFAULT = "00000000-0000-7000-8000-000000000001"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
    "trusted-types": "riverrun",
}


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    async with httpx.AsyncClient(base_url=server.url, timeout=20) as client:
        yield Browser(client)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Litestar:
    return create_app(Settings(data=tmp_path_factory.mktemp("data"), model="demo"))


def check_protected(answer: httpx.Response, policy: dict[str, str] | None = None) -> None:
    where = f"{answer.request.method} {answer.request.url} {answer.status_code}"
    for name in ("content-security-policy", "x-content-type-options", "referrer-policy"):
        assert len(answer.headers.get_list(name)) == 1, f"{where}: {name}"
    assert policy_of(answer) == (policy or POLICY), where
    assert answer.headers["x-content-type-options"] == "nosniff", where
    assert answer.headers["referrer-policy"] == "same-origin", where
    assert answer.headers["cross-origin-opener-policy"] == "same-origin", where
    assert answer.headers["cross-origin-resource-policy"] == "same-origin", where
    assert answer.headers["x-dns-prefetch-control"] == "off", where
    assert "microphone=()" in answer.headers["permissions-policy"], where


def policy_of(answer: httpx.Response) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in answer.headers["content-security-policy"].split(";"))
    return {name: value for name, _, value in parts}


async def test_every_route_protects_its_answers(browser: Browser, app: Litestar) -> None:
    """Whatever it answers to somebody who knows no id, and to a method that it does not have."""
    paths = {re.sub(r"{\w+:(\w+)}", filled, route.path) for route in app.routes}
    assert len(paths) > 40
    for path in sorted(paths - {"/api/ws"}):
        for method in ("GET", "POST", "DELETE"):
            answer = await browser.client.request(method, path, json={})
            if answer.headers.get("content-disposition"):
                continue
            check_protected(answer)


def filled(parameter: re.Match[str]) -> str:
    return {"uuid": NOBODY, "int": "0", "path": "none.css"}.get(parameter[1], "none")


async def test_pages_streams_and_refusals_are_protected(browser: Browser) -> None:
    sent = await browser.send_and_wait("is it safe here?")
    asked = [sent.path, f"{sent.run}/stream?after=0", f"{sent.run}/snapshot?after=0", f"{sent.run}/replay"]
    asked += [f"{sent.run}/replay/stream?after=1&speed=0", f"/api{sent.run}/events", "/static/base.css?v=1"]
    asked += [
        "/static/vendor/htmx.min.js",
        "/schema/openapi.json",
        "/health",
        f"/p/{DEFAULT}/files",
        "/static/../app.py",
    ]
    asked += [f"{sent.run}/stream?after=x", "/%0d%0aset-cookie:trap=1", "/nowhere?%ff", "/c/%00"]
    for path in asked:
        answer = await browser.client.get(path)
        check_protected(answer)
        assert "set-cookie" not in answer.headers
    await_all = [
        await browser.client.post("/messages", content=b"x" * 2_000_000, headers={"content-type": "text/plain"}),
        await browser.client.post("/messages", data={"content": "x"}, headers={"origin": "https://evil.example"}),
        await browser.submit("/projects", name="a safe place"),
        await browser.client.get("/", headers={"hx-request": "true"}),
    ]
    for answer in await_all:
        check_protected(answer)


# Files

KINDS = {
    "page.html": b"<script>trap()</script>",
    "image.svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='trap()'/>",
    "sheet.xml": b"<?xml version='1.0'?><?xml-stylesheet href='//evil.example/x'?><a/>",
    "page.xhtml": b"<html xmlns='http://www.w3.org/1999/xhtml'><script>trap()</script></html>",
    "paper.pdf": b"%PDF-1.4 trap",
    "code.js": b"trap()",
    "style.css": b"@import '//evil.example/x'",
    "archive.mht": b"MIME-Version: 1.0",
    "noending": b"<script>trap()</script>",
}


async def test_a_file_is_taken_away_and_is_a_page_nowhere(browser: Browser) -> None:
    made = await browser.submit("/projects", name="of files that would be pages")
    project = made.headers["location"]
    sent = [("file", (name, io.BytesIO(content), "text/html")) for name, content in KINDS.items()]
    assert (await browser.client.post(f"{project}/files", files=sent)).status_code == 303
    for name, content in KINDS.items():
        answer = await browser.client.get(f"{project}/file/download", params={"path": name})
        assert answer.content == content
        assert answer.headers["content-type"] == "application/octet-stream"
        check_taken_away(answer)
    check_taken_away(await browser.client.get(f"{project}/files/archive"))


async def test_an_export_is_taken_away_and_is_a_page_nowhere(browser: Browser) -> None:
    path = (await browser.send_and_wait("<script>trap()</script>")).path
    for address in (f"{path}/export.md", f"{path}/export.json", f"/api/conversations/{path[3:]}/transcript"):
        check_taken_away(await browser.client.get(address))


def check_taken_away(answer: httpx.Response) -> None:
    assert answer.status_code == 200
    check_protected(answer, {"default-src": "'none'", "frame-ancestors": "'none'", "sandbox": ""})
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert answer.headers["cache-control"] == "no-store"


@each([*NAMES, *SHORT])
def test_no_name_changes_a_header(name: str) -> None:
    for kept in (name, named(name, "md")):
        disposition = as_file(kept)["Content-Disposition"]
        found = re.fullmatch(
            r"""attachment; filename="([^"\\%/]*)"; filename\*=UTF-8''([\w.~%-]+|)""", disposition, re.ASCII
        )
        assert found, disposition
        assert re.fullmatch(r"[ -~]*", disposition)
        told = unquote(found[2])
        assert not re.search(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\u202a-\u202e\u2066-\u2069]', told)


def test_a_name_is_told_in_two_ways() -> None:
    assert as_file("Fjord – 100 %.md")["Content-Disposition"] == (
        "attachment; filename=\"Fjord _ 100 _.md\"; filename*=UTF-8''Fjord%20%E2%80%93%20100%20%25.md"
    )
    assert named("../ a/b .", "zip") == "a b.zip"


# Streams


@each([*STREAMS, *SHORT])
def test_no_text_ends_a_message_of_a_stream(text: str) -> None:
    """Read as browsers do it: a line ends with CR LF, LF or CR."""
    stream = sse.message(without_halves(text), id=7).decode()
    lines = re.split(r"\r\n|\r|\n", stream)
    assert lines[0] == "id: 7"
    assert lines[-2:] == ["", ""]
    assert all(line.startswith("data: ") for line in lines[1:-2])
    assert "\n".join(line[6:] for line in lines[1:-2]) == re.sub(r"\r\n?", "\n", without_halves(text))


async def test_a_title_is_text_in_every_answer(browser: Browser) -> None:
    """A title that would be a header or a field of JSON stays what it is."""
    for title in STREAMS[:4]:
        made = await browser.client.post("/api/conversations", json={"title": title})
        assert made.status_code == 201
        answer = await browser.client.get(f"/c/{made.json()['id']}/export.json")
        assert json.loads(answer.content)["conversation"]["title"] == made.json()["title"]
        assert "set-cookie" not in answer.headers
