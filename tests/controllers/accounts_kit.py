"""A riverrun where people sign in, and the people."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from tests.server import Server

PASSWORD = "correct horse battery"
FROM_OUR_PAGE = {"Sec-Fetch-Site": "same-origin"}


@asynccontextmanager
async def visitor(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody's browser, which nobody knows yet."""
    async with httpx.AsyncClient(base_url=server.url, headers=FROM_OUR_PAGE, timeout=20) as client:
        yield client


@dataclass
class Somebody:
    """Who has signed in: with a browser, and with a program that has a token for everything."""

    name: str
    browser: httpx.AsyncClient
    program: httpx.AsyncClient

    async def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        """As a browser or a program, whatever the address is for."""
        client = self.program if path.startswith(("/api/", "/v1/", "/agui/")) else self.browser
        return await client.request(method, path, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def somebody(server: Server, name: str, admin: httpx.AsyncClient | None = None) -> AsyncIterator[Somebody]:
    """Invited by the administrator, or the first one."""
    async with visitor(server) as browser:
        if admin is None:
            await set_up(server, browser, name)
        else:
            await accept(browser, await invite(admin), name)
        token = await make_token(browser)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=20) as program:
            yield Somebody(name, browser, program)


async def set_up(server: Server, browser: httpx.AsyncClient, name: str) -> None:
    code = await asyncio.to_thread(code_of, server)
    answer = await browser.post("/set-up", data={"code": code, "name": name, "password": PASSWORD})
    assert answer.status_code == 303, answer.text


def code_of(server: Server) -> str:
    """As the log has it, a moment after the server answers."""
    for _ in range(200):
        if found := re.search(r"/set-up; the code is (\w+)\n", server.log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(server.log.read_text())


async def invite(admin: httpx.AsyncClient, role: str = "member") -> str:
    """The link's path."""
    answer = await admin.post("/people/invitations", data={"role": role})
    assert answer.status_code == 201, answer.text
    found = re.search(r"/invitations/[\w-]+", answer.text)
    assert found
    return found[0]


async def accept(browser: httpx.AsyncClient, link: str, name: str, password: str = PASSWORD) -> None:
    answer = await browser.post(link, data={"name": name, "password": password})
    assert answer.status_code == 303, answer.text


async def sign_in(browser: httpx.AsyncClient, name: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    return await browser.post("/sign-in", data={"name": name, "password": password, **fields})


async def make_token(browser: httpx.AsyncClient, name: str = "everything", scope: str = "admin") -> str:
    answer = await browser.post("/tokens", data={"name": name, "scope": scope})
    assert answer.status_code == 201, answer.text
    found = re.search(r"rr_[\w-]{40,}", answer.text)
    assert found
    return found[0]
