"""Which addresses a callback may go to: public ones, and what the operator allows besides.

A name is judged by the addresses that it resolves to, and the call goes to an address that was
judged, so that a name which resolves otherwise a moment later gains nothing.
"""

import ipaddress
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpx

from msgmetrics.errors import UserError

MAX_URL_LENGTH = 2048
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Not private by their number, but answered by machinery of the provider or of the protocol.
_OF_THE_PROVIDER = (IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"))
_NAT64 = IPv6Network("64:ff9b::/96")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")

_Address = IPv4Address | IPv6Address

# How long a request waits for its callback's name.
_REQUEST_SECONDS = 1.0
# The system's resolver knows no time-out of its own.
# Of names that nobody answers for many can be asked; calls must not wait behind those of requests.
_resolvers = {
    use: ThreadPoolExecutor(threads, thread_name_prefix=f"resolve-{use}")
    for use, threads in (("requests", 8), ("calls", 32))
}


class RefusedAddressError(Exception):
    """An address that callbacks may not go to; the message says why."""


@dataclass(frozen=True)
class Target:
    """Where a callback goes: what the URL says, as one parser understood it."""

    scheme: str
    host: str
    port: int
    path: bytes

    @property
    def authority(self) -> str:
        """The host, and the port where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True)
class AllowedTargets:
    """What MSGMETRICS_CALLBACK_ALLOW lists: names and addresses, with a port or any, and nets."""

    hosts: frozenset[tuple[str, int | None]]
    networks: tuple[IPv4Network | IPv6Network, ...]

    @classmethod
    def of(cls, text: str) -> "AllowedTargets":
        """Read the list. Raises UserError for an entry that is none of those."""
        hosts, networks = set(), []
        for entry in filter(None, (part.strip().lower() for part in text.split(","))):
            try:
                networks.append(ipaddress.ip_network(entry.strip("[]")))
            except ValueError:
                hosts.add(_host_and_port(entry))
        return cls(frozenset(hosts), tuple(networks))

    def allow_name(self, host: str, port: int) -> bool:
        return bool({(host, None), (host, port)} & self.hosts)

    def allow_address(self, address: _Address, port: int) -> bool:
        if self.allow_name(str(address), port):
            return True
        return any(address in net for net in self.networks if net.version == address.version)


def _host_and_port(entry: str) -> tuple[str, int | None]:
    host, colon, port = entry.rpartition(":")
    host = host.strip("[]")
    if not colon:
        host, port = entry, ""
    is_address = ":" in host and "[" in entry
    if (is_address or _NAME.fullmatch(host)) and re.fullmatch("[0-9]{0,5}", port):
        return host, int(port) if port else None
    raise UserError(
        f"MSGMETRICS_CALLBACK_ALLOW has {entry!r}, which is no host, host:port, address or CIDR; "
        "correct or remove it."
    )


def target_of(url: str) -> Target:
    """Where a URL leads. Raises RefusedAddressError where that is no place for a callback."""
    if len(url) > MAX_URL_LENGTH:
        raise RefusedAddressError(f"must not be longer than {MAX_URL_LENGTH} characters")
    if not url.isprintable() or " " in url or "\\" in url:
        raise RefusedAddressError("must be a URL without blanks and control characters")
    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii").lower().rstrip(".")
    except (httpx.InvalidURL, ValueError, TypeError):
        raise RefusedAddressError("must be a URL, such as https://example.com/path") from None
    if parsed.scheme not in _DEFAULT_PORTS or not host:
        raise RefusedAddressError("must be an http or https URL with a host")
    if not (_NAME.fullmatch(host) or _is_address(host)):
        raise RefusedAddressError("must have a host that is a name or an address")
    if parsed.userinfo:
        raise RefusedAddressError("must not hold a user name or password")
    port = _DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port
    if not 0 < port < 2**16:
        raise RefusedAddressError("must have a port from 1 to 65535, or none")
    return Target(parsed.scheme, host, port, parsed.raw_path)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    # A zone is one of this machine's own links.
    return "%" not in host


def refuse_at_once(target: Target, allowed: AllowedTargets) -> None:
    """Raise RefusedAddressError where it is known already that no call may go there.

    A name that does not resolve now, or not within a second, is judged when it is called.
    """
    if target.host == "localhost" and not allowed.allow_name(target.host, target.port):
        raise RefusedAddressError(_REFUSED)
    try:
        addresses = _resolve(target, "requests", seconds=_REQUEST_SECONDS)
    except (OSError, TimeoutError):
        return
    for address in addresses:
        _judge(address, target, allowed)


def addresses_to_call(target: Target, allowed: AllowedTargets, *, seconds: float) -> list[str]:
    """The addresses of the host to connect to, the best first. All are judged.

    Raises RefusedAddressError where one may not be called, OSError or TimeoutError where the name
    does not resolve in time.
    """
    addresses = _resolve(target, "calls", seconds=seconds)
    for address in addresses:
        _judge(address, target, allowed)
    return list(dict.fromkeys(map(str, addresses)))


_REFUSED = "must not lead to a loopback, private, link-local or other internal address"


def _judge(address: _Address, target: Target, allowed: AllowedTargets) -> None:
    if allowed.allow_name(target.host, target.port):
        return
    if not is_public(address) and not allowed.allow_address(address, target.port):
        raise RefusedAddressError(_REFUSED)


def is_public(address: _Address) -> bool:
    """Whether an address, and the one that it may stand for, is one of the public internet."""
    meant = _meant(address)
    if meant != address:
        return is_public(meant)
    internal = (
        not address.is_global
        or address.is_multicast
        or address.is_reserved
        or address.is_link_local
        or address.is_loopback
        or address.is_unspecified
        or (address.version == 6 and address.is_site_local)
    )
    return not internal and not any(address in network for network in _OF_THE_PROVIDER)


def _meant(address: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for, where it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else address)


def _resolve(target: Target, use: str, *, seconds: float) -> list[_Address]:
    lookup = _resolvers[use].submit(
        socket.getaddrinfo, target.host, target.port, type=socket.SOCK_STREAM
    )
    try:
        found = lookup.result(seconds)
    except UnicodeError:
        raise OSError("not a name") from None
    except TimeoutError:
        lookup.cancel()
        raise
    return [ipaddress.ip_address(entry[4][0].partition("%")[0]) for entry in found]
