"""One client for what the server fetches because a person or an agent named it.

Whoever can name an address could otherwise reach through this server what only it reaches: its own ports, the network
around it, and the metadata service that hands the machine's credentials to whoever asks. So the check stands where a
connection is made: a name is looked up once, and the connection goes to an address that was checked. Redirects, names
that change where they point and odd spellings of addresses then need no case of their own.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import SOCK_STREAM
from typing import Any, Self
from urllib.parse import urlsplit

import httpcore2
import httpx2
from msgspec import Struct

CONNECT_LIMIT = 5.0  # seconds
ATTEMPT_LIMIT = 1.0  # seconds for one of several addresses, when there is another to try
IDLE_LIMIT = 5.0  # seconds for which a connection waits for the next request
BODY_LIMIT = 16_000_000  # bytes of one answer

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host and a port to addresses."""


def networks(*written: str) -> Sequence[Network]:
    return [ip_network(network) for network in written]


METADATA = networks(
    "169.254.169.254", "169.254.170.2", "fd00:ec2::/32",  # AWS and most others
    "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd20:ce::254",  # Alibaba, Azure, Oracle, Google
)  # fmt: skip
LINK_LOCAL = networks("169.254.0.0/16", "fe80::/10")
LOOPBACK = networks("127.0.0.0/8", "0.0.0.0/32", "::1/128", "::/128")
"""With the unspecified addresses, at which this machine answers too."""
PRIVATE = networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
RESERVED = networks(
    "0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)  # fmt: skip
"""IANA's registries of special-purpose addresses, written out: what `is_global` says has changed between Pythons."""
UNICAST = IPv6Network("2000::/3")
"""All that has been given out of IPv6."""
MAPPED = IPv6Network("::ffff:0:0/96")
NAT64 = IPv6Network("64:ff9b::/96")
HOST = re.compile(r"(?:([a-zA-Z0-9_.-]+)|\[([0-9a-fA-F:.]+)\])(:[0-9]{1,5})?")


def kind_of(address: Address) -> str:
    """What keeps an address from being one of the public internet; empty when it is one."""
    address = unwrapped(address)
    kinds = {"metadata": METADATA, "link-local": LINK_LOCAL, "loopback": LOOPBACK, "private": PRIVATE}
    for kind, members in kinds.items():
        if within(address, members):
            return kind
    outside = isinstance(address, IPv6Address) and address not in UNICAST
    return "reserved" if outside or within(address, RESERVED) else ""


def unwrapped(address: Address) -> Address:
    """The address of the older kind that one of the newer stands for."""
    wraps = isinstance(address, IPv6Address) and (address in MAPPED or address in NAT64)
    return IPv4Address(address.packed[-4:]) if wraps else address


def within(address: Address, members: Iterable[Network]) -> bool:
    return any(address in network for network in members)


class Allowance(Struct, frozen=True):
    """What may be fetched besides the public internet.

    `hosts` are names as URLs have them, `name` or `name:port`: wherever they point. `private`: this machine and private
    networks, but never link-local and metadata addresses.
    """

    private: bool = False
    networks: Sequence[Network] = ()
    hosts: Collection[str] = ()

    @classmethod
    def of(cls, entries: Iterable[str], *, private: bool = False) -> Self:
        """From hosts (`name`, `name:port`), addresses and networks (`10.0.0.0/8`). Raises ValueError."""
        networks, hosts = [], []
        for entry in entries:
            try:
                networks.append(ip_network(entry))
            except ValueError:
                hosts.append(host_of(entry))
        return cls(private, networks, hosts)

    def permits(self, host: str, port: int, address: Address) -> bool:
        kind = kind_of(address)
        return (
            not kind
            or (self.private and kind in ("loopback", "private"))
            or within(unwrapped(address), self.networks)
            or bool({plain(host), f"{plain(host)}:{port}"} & {*self.hosts})
        )

    def check(self, url: str) -> None:
        """Of a URL whose host is an address; what a name stands for is found when it is fetched. Raises Refused."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
        if (address := literal(host)) and not self.permits(host, port, address):
            raise Refused(host, address)


def host_of(entry: str) -> str:
    """Raises ValueError."""
    if not (written := HOST.fullmatch(entry)):
        raise ValueError(f"{entry} is neither a host (name or name:port) nor a network (10.0.0.0/8)")
    name, bracketed, port = written.groups(default="")
    return plain(bracketed or name) + port


def plain(host: str) -> str:
    """The one way to write it."""
    return str(literal(host) or host.lower().removesuffix("."))


def literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


class Refused(httpx2.ConnectError):
    """`sentence` goes on from what is fetched: “The tool server x is at ...”.

    Of a name it tells what kind of address it stands for, and not which: that may be known inside only.
    """

    def __init__(self, host: str, address: Address) -> None:
        shown = f" ({host})" if literal(host) else ""
        self.sentence = (
            f"is at a {kind_of(address)} address{shown}, which this server does not fetch from; "
            "an administrator can allow it with RIVERRUN_FETCH_ALLOW."
        )
        super().__init__(f"{host} {self.sentence}")


async def look_up(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def web_client(
    allowance: Allowance,
    *,
    headers: Mapping[str, str] | None = None,
    event_hooks: Mapping[str, list[Callable[..., Any]]] | None = None,
    read_limit: float | None = 30.0,
    resolve: Resolve = look_up,
    certificates: ssl.SSLContext | None = None,
) -> httpx2.AsyncClient:
    """Follows no redirects unless asked to; uses no proxy, for a proxy would look names up itself, unchecked.

    `read_limit`: seconds of silence; None leaves it to the caller.
    """
    return httpx2.AsyncClient(
        transport=Transport(allowance, resolve, certificates or httpx2.create_ssl_context()),
        headers=headers,
        event_hooks=event_hooks,
        timeout=httpx2.Timeout(read_limit, connect=CONNECT_LIMIT),
        trust_env=False,
    )


class Transport(httpx2.AsyncBaseTransport):
    """httpx2's own takes no network backend."""

    def __init__(self, allowance: Allowance, resolve: Resolve, certificates: ssl.SSLContext) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            certificates, max_connections=None, keepalive_expiry=IDLE_LIMIT, network_backend=Backend(allowance, resolve)
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx2.UnsupportedProtocol("only http:// and https:// are fetched")
        request.headers["accept-encoding"] = "identity"  # what is small on the wire may be endless unpacked
        with told_as_httpx2():
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    request.method,
                    httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        body = Body(response)
        headers = httpx2.Headers(response.headers)
        if headers.get("content-encoding", "identity").casefold() != "identity":
            await body.aclose()
            raise httpx2.RemoteProtocolError("the answer is compressed, though that was not asked for")
        return httpx2.Response(response.status, headers=headers, stream=body, extensions=response.extensions)

    async def aclose(self) -> None:
        await self._pool.aclose()


class Body(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        with told_as_httpx2():
            async for data in self._response.aiter_stream():
                size += len(data)
                if size > BODY_LIMIT:
                    raise httpx2.ReadError(f"the answer is longer than {BODY_LIMIT:,} bytes")
                yield data

    async def aclose(self) -> None:
        with told_as_httpx2():
            await self._response.aclose()


@contextmanager
def told_as_httpx2() -> Generator[None, None, None]:
    """With the errors that users of httpx2 expect."""
    try:
        yield
    except httpcore2.TimeoutException as failure:
        raise httpx2.TimeoutException(str(failure)) from failure
    except (httpcore2.NetworkError, httpcore2.ProtocolError) as failure:
        raise httpx2.TransportError(str(failure)) from failure


class Backend(httpcore2.AsyncNetworkBackend):
    """Connects to the very addresses that it has checked; TLS still asks for the name's certificate."""

    def __init__(self, allowance: Allowance, resolve: Resolve) -> None:
        self._allowance = allowance
        self._resolve = resolve
        self._sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - not ours to name
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(CONNECT_LIMIT if timeout is None else timeout):
                *others, last = await self._permitted(host, port)
                for address in others:
                    try:
                        return await self._sockets.connect_tcp(address, port, ATTEMPT_LIMIT)
                    except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                        continue
                return await self._sockets.connect_tcp(last, port)
        except TimeoutError as failure:
            raise httpcore2.ConnectTimeout(f"{host} does not answer in time") from failure

    async def _permitted(self, host: str, port: int) -> Sequence[str]:
        """At least one. Raises Refused."""
        try:
            found = [ip_address(address) for address in await self._resolve(host, port)]
            first = found[0]
        except (OSError, ValueError, IndexError) as failure:
            raise httpcore2.ConnectError(f"the name {host} cannot be found") from failure
        permitted = [str(address) for address in found if self._allowance.permits(host, port, address)]
        if not permitted:
            raise Refused(host, first)
        return permitted
