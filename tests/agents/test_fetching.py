"""What the server fetches for others: from where it may, over real sockets, with names that a test resolves."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

import httpx2
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from riverrun.agents import fetching
from riverrun.agents.fetching import Address, Allowance, Refused, kind_of, web_client
from riverrun.agents.model import ModelError, ModelOptions, OpenAIModel
from riverrun.agents.toolboxes import Server, Toolboxes
from riverrun.persistence.tables import DEFAULT_PROJECT
from tests.agents.replies import failure_of as failure_of_model

HERE, THERE = "127.0.0.1", "127.0.0.2"
"""Two hosts, of which the tests allow the second."""
ONLY_THERE = Allowance.of([THERE])
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


class Site:
    """Answers every request with the same bytes, and remembers the lines in which they came."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.port = 0

    async def start(self, host: str = HERE, port: int = 0, certificates: ssl.SSLContext | None = None) -> Self:
        self._server = await asyncio.start_server(self._serve, host, port, ssl=certificates)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[0])
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def aclose(self) -> None:
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def sites() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as open_sites:
        yield open_sites


async def site(sites: AsyncExitStack, answer: bytes = OK, host: str = HERE, port: int = 0) -> Site:
    opened = await Site(answer).start(host, port)
    sites.push_async_callback(opened.aclose)
    return opened


def moved_to(url: str) -> bytes:
    return f"HTTP/1.1 307 Moved\r\nlocation: {url}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()


class Names:
    """Resolves every name to the next of the given answers."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers: Iterator[Sequence[str]] = iter(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return next(self.answers)


# Addresses


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [
        ("", "1.1.1.1 93.184.216.34 100.128.0.1 172.32.0.1 2606:4700::1111 2a00:1450:4001::8a 64:ff9b::101:101"),
        ("loopback", "127.0.0.1 127.255.255.254 0.0.0.0 ::1 :: ::ffff:127.0.0.1 ::ffff:7f00:1 64:ff9b::7f00:1"),
        ("private", "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fc00::1 fdff::1"),
        ("private", "::ffff:10.0.0.5 64:ff9b::a00:5"),
        ("link-local", "169.254.0.1 fe80::1 fe80::1%2 febf::1 ::ffff:169.254.1.1"),
        ("metadata", "169.254.169.254 169.254.170.2 fd00:ec2::254 fd20:ce::254 100.100.100.200 168.63.129.16"),
        ("metadata", "192.0.0.192 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe"),
        ("reserved", "0.1.2.3 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.51.100.1 203.0.113.1 240.0.0.1"),
        ("reserved", "224.0.0.1 239.255.255.255 255.255.255.255 ff02::1 100::1 2001:db8::1 3fff::1 5f00::1"),
        ("reserved", "::127.0.0.1 2002:7f00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 64:ff9b:1::7f00:1 fec0::1"),
    ],
)
def test_addresses_that_are_not_of_the_public_internet_are_known(kind: str, addresses: str) -> None:
    assert {address: kind_of(ip_address(address)) for address in addresses.split()} == dict.fromkeys(
        addresses.split(), kind
    )


@given(st.ip_addresses())
def test_what_counts_as_public_does_so_for_python_too(address: Address) -> None:
    if kind_of(address) == "":
        inner = fetching.unwrapped(address)
        assert inner.is_global
        assert (inner.is_multicast, inner.is_reserved, inner.is_loopback, inner.is_link_local) == (False,) * 4


@given(st.ip_addresses(v=4))
def test_an_address_that_is_wrapped_in_another_stays_what_it_is(address: IPv4Address) -> None:
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        wrapped = IPv6Address(int(IPv6Address(prefix)) + int(address))
        assert kind_of(wrapped) == kind_of(address)
        assert Allowance.of([str(address)]).permits("name", 80, wrapped)


@pytest.mark.parametrize(
    ("entries", "permitted", "refused"),
    [
        ("", "", "name:80=10.0.0.1 127.0.0.1:80=127.0.0.1 name:80=169.254.169.254"),
        ("10.0.0.0/8,fd00::/8", "name:80=10.1.2.3 x:1=fd00::1 x:1=::ffff:10.0.0.1", "x:1=192.168.0.1 x:1=127.0.0.1"),
        ("192.168.1.7", "nas:80=192.168.1.7", "nas:80=192.168.1.8"),
        ("ollama.lan", "ollama.lan:1=10.0.0.1 OLLAMA.lan.:80=127.0.0.1", "x.ollama.lan:1=10.0.0.1 lan:1=10.0.0.1"),
        ("Ollama.LAN.:11434", "ollama.lan:11434=10.0.0.1", "ollama.lan:80=10.0.0.1 nas:11434=10.0.0.1"),
        ("127.0.0.1:3000", "127.0.0.1:3000=127.0.0.1", "127.0.0.1:22=127.0.0.1 localhost:3000=127.0.0.1"),
        ("[fd00:0::5]:80", "fd00::5:80=fd00::5", "fd00::5:81=fd00::5"),
        ("169.254.169.254", "x:80=169.254.169.254", "x:80=169.254.170.2"),
    ],
)
def test_what_the_administrator_names_is_allowed_and_nothing_else(entries: str, permitted: str, refused: str) -> None:
    allowance = Allowance.of([entry for entry in entries.split(",") if entry])

    def permits(case: str) -> bool:
        target, address = case.split("=")
        host, _, port = target.rpartition(":")
        return allowance.permits(host, int(port), ip_address(address))

    assert [case for case in permitted.split() if not permits(case)] == []
    assert [case for case in refused.split() if permits(case)] == []
    assert permits("name:80=1.1.1.1")


@pytest.mark.parametrize(
    "entry", ["http://nas.lan", "nas.lan/mcp", "*.lan", "user@nas.lan", "10.0.0.1/8", "10.0.0.0/33", "a b", "nas:", ""]
)
def test_what_is_neither_host_nor_network_is_not_taken_for_one(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host"):
        Allowance.of([entry])


@pytest.mark.parametrize(
    ("private", "kinds"), [(True, {"", "loopback", "private"}), (False, {""})], ids=["one person", "accounts"]
)
def test_one_person_alone_may_reach_their_own_machine_and_network(private: bool, kinds: set[str]) -> None:
    addresses = ["1.1.1.1", "127.0.0.1", "192.168.1.1", "169.254.1.1", "169.254.169.254", "fd00:ec2::254", "224.0.0.1"]
    allowance = Allowance(private=private)
    permitted = [ip_address(one) for one in addresses if allowance.permits("name", 80, ip_address(one))]
    assert {kind_of(address) for address in permitted} == kinds


# Connections


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "127.1",
            "127.0.1",
            "0x7f.1",
            "0x7f000001",
            "2130706433",
        ),
        *("017700000001", "0.0.0.0", "0", "user@127.0.0.1", "127%2e0%2e0%2e1", "①②⑦.0.0.1", "１２７.0.0.1"),
        *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.1."),
    ],
)
async def test_no_spelling_of_this_machine_gets_through(sites: AsyncExitStack, host: str) -> None:
    own = await site(sites)
    async with web_client(Allowance()) as refused:
        with pytest.raises((httpx2.ConnectError, httpx2.TransportError, httpx2.InvalidURL)) as failure:
            await refused.get(f"http://{host}:{own.port}/")
    assert own.asked == []
    if host in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"):
        assert isinstance(failure.value, Refused), "and not only because nobody answers there"


async def test_what_is_allowed_is_fetched(sites: AsyncExitStack) -> None:
    own = await site(sites)
    for allowance in (Allowance(private=True), Allowance.of([f"localhost:{own.port}"])):
        async with web_client(allowance) as allowed:
            assert (await allowed.get(f"http://localhost:{own.port}/a?b=c")).text == "ok"
    assert own.asked == ["GET /a?b=c HTTP/1.1"] * 2


@pytest.mark.parametrize("scheme", ["file", "ftp", "gopher", "ws", "unix"])
async def test_only_the_web_is_fetched(sites: AsyncExitStack, scheme: str) -> None:
    own = await site(sites)
    async with web_client(Allowance(private=True)) as anything:
        with pytest.raises(httpx2.UnsupportedProtocol):
            await anything.get(f"{scheme}://127.0.0.1:{own.port}/etc/passwd")
    assert own.asked == []


async def test_a_name_that_changes_where_it_points_is_connected_to_where_it_was_checked(sites: AsyncExitStack) -> None:
    inside = await site(sites)
    outside = await site(sites, host=THERE, port=inside.port)
    names = Names([THERE], [HERE], [HERE, THERE])
    async with web_client(ONLY_THERE, resolve=names) as rebound:
        url = f"http://rebound.example:{inside.port}/"
        assert (await rebound.get(url)).text == "ok"
        assert names.asked == ["rebound.example"], "a second look-up would have been told of the inside"
        with pytest.raises(Refused):
            await rebound.get(url)
        assert (await rebound.get(url)).text == "ok"
    assert (len(outside.asked), inside.asked) == (2, [])


async def test_a_name_with_several_addresses_is_reached_at_one_that_answers(sites: AsyncExitStack) -> None:
    own = await site(sites, host=THERE)
    names = Names(["127.0.0.3", "127.0.0.4", THERE])
    async with web_client(Allowance(private=True), resolve=names) as patient:
        assert (await patient.get(f"http://several.example:{own.port}/")).text == "ok"


@pytest.mark.parametrize("answer", [[], ["not an address"]])
async def test_a_name_without_an_address_cannot_be_found(answer: Sequence[str]) -> None:
    async with web_client(Allowance(private=True), resolve=Names(answer)) as lost:
        with pytest.raises(httpx2.TransportError, match=r"the name nowhere\.example cannot be found"):
            await lost.get("http://nowhere.example/")


async def test_a_name_that_the_resolver_cannot_take_cannot_be_found() -> None:
    async with web_client(Allowance(private=True)) as lost:
        with pytest.raises((httpx2.TransportError, httpx2.InvalidURL)):
            await lost.get(f"http://{'x' * 300}.example/")


async def test_a_redirect_is_checked_like_any_address(sites: AsyncExitStack) -> None:
    inside = await site(sites)
    outside = await site(sites, moved_to(f"http://{HERE}:{inside.port}/secret"), THERE)
    async with web_client(ONLY_THERE) as fetching_:
        url = f"http://{THERE}:{outside.port}/"
        assert (await fetching_.get(url)).status_code == 307
        with pytest.raises(Refused):
            await fetching_.get(url, follow_redirects=True)
    assert (len(outside.asked), inside.asked) == (2, [])


@pytest.mark.parametrize("private", [True, False])
async def test_a_proxy_of_the_environment_is_no_way_around(
    sites: AsyncExitStack, private: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await site(sites)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{HERE}:{proxy.port}")
    async with web_client(Allowance(private=private), resolve=Names(["169.254.169.254"])) as fetching_:
        with pytest.raises(Refused):
            await fetching_.get("http://metadata.example/")
    assert proxy.asked == []


async def test_tls_asks_for_the_name_and_not_for_the_address(sites: AsyncExitStack) -> None:
    authority, asked_for = trustme.CA(), []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("tools.example").configure_cert(serving)
    serving.set_servername_callback(lambda _, name, __: asked_for.append(name))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    own = await Site(OK).start(certificates=serving)
    sites.push_async_callback(own.aclose)

    async def here(host: str, port: int) -> Sequence[str]:
        return [HERE]

    async with web_client(Allowance(private=True), resolve=here, certificates=trusting) as secure:
        assert (await secure.get(f"https://tools.example:{own.port}/")).text == "ok"
        with pytest.raises(httpx2.TransportError, match=r"other\.example"):
            await secure.get(f"https://other.example:{own.port}/")
    async with web_client(Allowance(private=True), resolve=here) as suspicious:
        with pytest.raises(httpx2.TransportError, match="verify failed"):
            await suspicious.get(f"https://tools.example:{own.port}/")
    assert (asked_for, len(own.asked)) == (["tools.example", "other.example", "tools.example"], 1)


# Limits


@pytest.mark.parametrize("head", ["content-length: 2000\r\n", ""], ids=["told", "untold"])
async def test_an_answer_without_end_is_left(sites: AsyncExitStack, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "BODY_LIMIT", 1000)
    endless = await site(sites, f"HTTP/1.1 200 OK\r\n{head}connection: close\r\n\r\n".encode() + b"x" * 2000)
    async with web_client(Allowance(private=True)) as bounded:
        with pytest.raises(httpx2.ReadError, match="longer than 1,000 bytes"):
            await bounded.get(f"http://{HERE}:{endless.port}/")


async def test_an_answer_that_would_grow_when_unpacked_is_left(sites: AsyncExitStack) -> None:
    packed = gzip.compress(b"x" * 100_000)
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(packed)}\r\n\r\n"
    bomb = await site(sites, head.encode() + packed)
    async with web_client(Allowance(private=True)) as bounded:
        with pytest.raises(httpx2.RemoteProtocolError, match="compressed"):
            await bounded.get(f"http://{HERE}:{bomb.port}/")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", b"SSH-2.0-OpenSSH\r\n\r\n"])
async def test_a_broken_answer_is_told_as_users_of_httpx2_expect(sites: AsyncExitStack, answer: bytes) -> None:
    broken = await site(sites, answer)
    async with web_client(Allowance(private=True)) as fetching_:
        with pytest.raises(httpx2.TransportError):
            await fetching_.get(f"http://{HERE}:{broken.port}/")


async def test_a_look_up_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "CONNECT_LIMIT", 0.05)

    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with asyncio.timeout(20), web_client(Allowance(), resolve=never) as bounded:
        with pytest.raises(httpx2.TimeoutException, match=r"slow\.example does not answer in time"):
            await bounded.get("http://slow.example/")


# Tool servers


async def failure_of(address: str, allowance: Allowance) -> str:
    async with Toolboxes(allowance).of(DEFAULT_PROJECT, [Server("x", address)]) as toolbox:
        assert toolbox.tools == []
        return "".join(toolbox.failures)


WAY_OUT = "which this server does not fetch from; an administrator can allow it with RIVERRUN_FETCH_ALLOW."


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("http://10.0.0.5/mcp", "a private address (10.0.0.5)"),
        ("http://token@[fd00::5]:8000/mcp", "a private address (fd00::5)"),
        ("http://169.254.169.254/latest/meta-data", "a metadata address (169.254.169.254)"),
        ("http://2130706433/mcp", "a loopback address"),
        ("https://localhost/mcp", "a loopback address"),
    ],
)
async def test_a_tool_server_inside_is_refused_in_a_sentence(address: str, place: str) -> None:
    assert await failure_of(address, Allowance()) == f"The tool server x is at {place}, {WAY_OUT}"


async def test_a_tool_server_that_sends_elsewhere_is_not_followed(sites: AsyncExitStack) -> None:
    inside = await site(sites)
    outside = await site(sites, moved_to(f"http://{HERE}:{inside.port}/mcp"), THERE)
    failure = await failure_of(f"http://{THERE}:{outside.port}/mcp", ONLY_THERE)
    assert failure.startswith("The tool server x cannot be used: Redirect to")
    assert outside.asked != []
    assert inside.asked == []


# Models


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_models_server_that_sends_elsewhere_is_not_followed(sites: AsyncExitStack, status: int) -> None:
    inside = await site(sites, host=THERE)
    moved = moved_to(f"http://{THERE}:{inside.port}/v1/models").replace(b"307", str(status).encode())
    outside = await site(sites, moved)
    model = OpenAIModel(ModelOptions(url=f"http://{HERE}:{outside.port}/v1", key="secret", model="one", retries=0))
    try:
        _, failure = await failure_of_model(model)
        assert (failure.code, "has moved" in str(failure)) == ("wrong_url", True)
        with pytest.raises(ModelError):
            await model.embed(["text"], "one")
        with pytest.raises(ModelError):
            await model.embedding_model()
    finally:
        await model.aclose()
    assert {line.split()[1] for line in outside.asked} == {"/v1/chat/completions", "/v1/embeddings", "/v1/models"}
    assert inside.asked == []
