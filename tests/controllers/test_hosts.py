"""Under which names riverrun answers, whom it believes what they tell of others, and that it stays behind TLS."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import websockets
from litestar.testing import AsyncTestClient
from pydantic import ValidationError
from uvicorn.middleware.proxy_headers import _TrustedHosts

from riverrun.app import create_app
from riverrun.controllers.hosts import is_open, is_ours
from riverrun.settings import Settings
from tests.controllers.api_kit import Program
from tests.controllers.socket_kit import connect, talk
from tests.server import Server

NAMES = {"localhost", "*.localhost", "chat.example.org", "*.lan.example.org"}
SENTENCE = "Its administrator can add the name to RIVERRUN_HOSTS."


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8000", "LocalHost:8000", "localhost.", "riverrun.localhost:8000"),
        *("127.0.0.1", "192.168.1.7:8000", "[::1]", "[::1]:8000", "[fd12::7]:8000", "[::ffff:10.0.0.1]"),
        *("chat.example.org", "CHAT.example.org:443", "a.lan.example.org", "a.b.lan.example.org"),
    ],
)
def test_addresses_and_names_that_it_has_are_its_own(host: str) -> None:
    assert is_ours(host, NAMES)


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8000", "localhost.evil.example", "xlocalhost", "127.0.0.1.evil.example"),
        *("example.org", "lan.example.org", "xlan.example.org", "a.chat.example.org", "chat.example.org.evil.example"),
        *(
            "localhost:",
            "localhost:80:80",
            "localhost@evil.example",
            "evil.example@localhost",
            "localhost/x",
            "localhost,",
        ),
        *(
            "[::1",
            "::1",
            "[localhost]",
            "127.1",
            "2130706433",
            "0x7f.1",
            "localhost..",
            ".",
            "*.localhost x",
            "ⓛocalhost",
        ),
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not is_ours(host, NAMES)


@pytest.mark.parametrize("path", ["/", "/static/base.css", "/tokens", "/schema/openapi.json", "/health", "/v1/models"])
async def test_nothing_is_read_under_the_name_of_another_site(program: Program, path: str) -> None:
    """As its page would ask whose name was made to lead here, which the browser takes for the same site."""
    headers = {"Host": "evil.example:8000", "Sec-Fetch-Site": "same-origin"}
    answer = await program.client.get(path, headers=headers)
    assert answer.status_code == 421
    assert SENTENCE in answer.text


async def test_nothing_is_changed_under_the_name_of_another_site(program: Program) -> None:
    headers = {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}
    refused = await program.client.post("/api/conversations", json={}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (421, "misdirected")
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await program.client.post("/messages", data={"content": "x"}, headers=headers)).status_code == 421


async def test_who_forwards_a_name_is_not_believed(program: Program) -> None:
    for name in ("X-Forwarded-Host", "Forwarded"):
        answer = await program.client.get("/", headers={"Host": "evil.example", name: "host=localhost"})
        assert answer.status_code == 421


async def test_no_socket_is_opened_under_the_name_of_another_site(server: Server) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(server.url.replace("127.0.0.1", "evil.example"), host="127.0.0.1", port=server.port):
            pass
    assert refused.value.response.status_code == 403


async def test_it_answers_under_its_names(program: Program, server: Server) -> None:
    for host in ("localhost", f"localhost:{server.port}", "chat.example.org", "a.lan.example.org:8443", "10.0.0.7"):
        headers = {"Host": host, "Origin": f"https://{host}", "Sec-Fetch-Site": "same-origin"}
        assert (await program.client.post("/api/conversations", json={}, headers=headers)).status_code == 201, host
    async with talk(server.url.replace("127.0.0.1", "localhost"), host="127.0.0.1", port=server.port) as client:
        assert client.connected["connection_id"]


async def test_who_says_no_name_is_no_browser(server: Server) -> None:
    """As checks of load balancers, over HTTP/1.0."""
    assert "200 OK" in await said_to(server, "GET /health HTTP/1.0\r\n\r\n")


async def said_to(server: Server, request: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request.encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.7", "fe80::1", "::ffff:10.0.0.1"])
def test_what_others_can_reach_is_open(address: str) -> None:
    assert is_open(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "/run/riverrun.socket"])
def test_what_only_this_machine_reaches_is_not(address: str) -> None:
    assert not is_open(address)


async def test_without_accounts_nothing_is_answered_where_others_can_reach_it(tmp_path: Path) -> None:
    """As when another server than `riverrun run` listens there."""
    app = create_app(Settings(data=tmp_path, model="demo"))
    for address, status in (("127.0.0.1", 200), ("192.168.1.7", 403)):
        async with AsyncTestClient(app, base_url=f"http://{address}") as client:
            answer = await client.get("/tokens")
            assert answer.status_code == status
            assert ("RIVERRUN_AUTH=accounts" in answer.text) == (status == 403)


@pytest.mark.parametrize(
    "value",
    ["https://chat.example.org", "chat.example.org:8000", "*", "chat.*.org", "a b", "[::1]", "chat.example.org/x"],
)
def test_what_is_no_name_is_told_at_once(value: str) -> None:
    with pytest.raises(ValidationError, match="is no host"):
        Settings(hosts=value)


# Proxies


@contextmanager
def hop(server: Server, address: str) -> Iterator[Callable[..., httpx.Response]]:
    """Asks from an address of this machine, as a proxy there passes on what came to it over TLS, for a client."""
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=server.url, transport=transport) as client:
        yield lambda **said: client.get(
            "/tokens", headers={"X-Forwarded-" + name: value for name, value in said.items()}
        )


def test_a_trusted_proxy_is_believed_that_it_was_tls(server: Server) -> None:
    with hop(server, "127.0.0.2") as pass_on:
        assert pass_on(Proto="https").headers["strict-transport-security"] == "max-age=600"
        assert "strict-transport-security" not in pass_on(Proto="http").headers
        assert "strict-transport-security" not in pass_on().headers


def test_anybody_else_is_not(server: Server) -> None:
    with hop(server, "127.0.0.1") as pass_on:
        assert "strict-transport-security" not in pass_on(Proto="https").headers


@pytest.mark.parametrize("value", ["*", "proxy.example.org", "10.1.2.3/8", "10.0.0.0/33"])
def test_proxies_are_addresses_and_networks(value: str) -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(trusted_proxies=value)


def test_a_proxy_that_comes_to_a_socket_of_both_kinds_is_the_same() -> None:
    trusted = _TrustedHosts(Settings(trusted_proxies="10.0.0.0/8, 192.0.2.1, fd00::/8").proxies)
    assert all(one in trusted for one in ("10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "::ffff:192.0.2.1", "fd00::7"))
    assert not any(one in trusted for one in ("11.1.2.3", "::ffff:11.1.2.3", "192.0.2.2", "127.0.0.1", "::1"))
