"""One HTTP call of a callback: to a judged address, without redirects, within a fixed time.

When a callback is tried, and how often, is the worker's affair.
"""

import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import certifi
import httpcore

from endpoint.asynchronous.addresses import (
    AllowedTargets,
    RefusedAddressError,
    Target,
    addresses_to_call,
    target_of,
)

CALL_SECONDS = 10.0
_PIECE_BYTES = 64 * 1024


class NoAnswerError(Exception):
    """A call that got no HTTP answer; the message is a kind of error and names no address."""


def call(url: str, body: Path, allowed: AllowedTargets) -> int:
    """POST a file as JSON and return the status of whatever HTTP answer comes.

    Raises NoAnswerError where none comes within ten seconds, or where the address is refused.
    """
    deadline = time.monotonic() + CALL_SECONDS
    try:
        target = target_of(url)
        addresses = addresses_to_call(target, allowed, seconds=CALL_SECONDS)
        return _post(target, addresses, body, deadline)
    except (
        RefusedAddressError,
        TimeoutError,
        OSError,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.TimeoutException,
    ) as error:
        raise NoAnswerError(type(error).__name__) from None


def _post(target: Target, addresses: Sequence[str], body: Path, deadline: float) -> int:
    tls = ssl.create_default_context(cafile=certifi.where())
    headers = [
        (b"Host", target.authority.encode()),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", str(body.stat().st_size).encode()),
        (b"User-Agent", f"msgmetrics/{version('msgmetrics')}".encode()),
        (b"Connection", b"close"),
    ]
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    pool = httpcore.ConnectionPool(
        ssl_context=tls, network_backend=_Addresses(addresses, deadline), retries=0
    )
    # Nothing of the answer is read but its status: a body may have no end.
    with pool, pool.stream("POST", url, headers=headers, content=_pieces(body)) as response:
        return response.status


def _pieces(body: Path) -> Iterator[bytes]:
    with body.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


class _Addresses(httpcore.NetworkBackend):
    """Connects to the first of some addresses that takes it, whatever the name.

    There is one deadline for all that is done: the library's own time-outs are those of single
    reads and writes, so that a byte now and then would keep a call up for ever.
    """

    def __init__(self, addresses: Sequence[str], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._beneath = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = self._addresses
        for number, address in enumerate(others):
            # One that does not answer must leave time for those after it.
            share = _left(self._deadline) / (len(self._addresses) - number)
            try:
                stream = self._beneath.connect_tcp(address, port, share, None, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
            return _Stream(stream, self._deadline)
        stream = self._beneath.connect_tcp(last, port, _left(self._deadline), None, socket_options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, beneath: httpcore.NetworkStream, deadline: float) -> None:
        self._beneath = beneath
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._beneath.read(max_bytes, _left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._beneath.write(buffer, _left(self._deadline))

    def close(self) -> None:
        self._beneath.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline)
        stream = self._beneath.start_tls(ssl_context, server_hostname, left)
        return _Stream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._beneath.get_extra_info(info)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise httpcore.TimeoutException
    return left
