"""HTTP requests to addresses that users entered: webhooks, model endpoints. Internal hosts are blocked.

An address is checked when it is saved and again when a connection is made, against what its name resolves to at that
moment. Redirects are not followed. ``OUTBOUND_ALLOW`` lists internal hosts and networks that are allowed;
``OUTBOUND_HOSTS`` lists the external ones, if it is set. A time-out applies to each read; ``deadline`` limits a whole
call, against servers that send slowly without end.
"""

import ipaddress
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
from django.conf import settings
from django.http.request import validate_host

from slmstudio.errors import Refused

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: networks that Python calls global although they may lead inside: 6to4 and its relays, old site-local addresses.
#: NAT64, IPv4-compatible and IPv4-translated addresses are among those that are "reserved" in IPv6.
_HIDDEN_NETWORKS = tuple(
    map(ipaddress.ip_network, ("2002::/16", "2001::/32", "64:ff9b::/96", "192.88.99.0/24", "fec0::/10"))
)
#: metadata services of clouds, which return keys, at addresses that are formally global
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        ("168.63.129.16/32", "192.0.0.0/24", "100.100.100.200/32", "169.254.0.0/16", "fd00:ec2::/32"),
    )
)


def check(url: str) -> None:
    """Raises Refused for an address that is invalid, not http(s), unknown, or internal and not allowed."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refused("This is not a valid URL.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Refused("The URL must start with https:// or http:// and include a host.")
    if parts.username is not None or parts.password is not None:
        raise Refused("The URL must not contain a username or password.")
    addresses(parts.hostname, port or (443 if parts.scheme == "https" else 80))


def client(*, timeout: float = 10, **more: Any) -> httpx.Client:
    """An HTTP client that connects to allowed addresses only, follows no redirects and uses no proxy."""
    transport = httpx.HTTPTransport(retries=0)
    transport._pool._network_backend = _AllowlistBackend()
    return httpx.Client(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False, **more)


def is_internal(host: str) -> bool:
    """Whether a host is internal and allowed by OUTBOUND_ALLOW. Raises Refused for other internal hosts."""
    return not any(_is_public(ipaddress.ip_address(address.partition("%")[0])) for address in addresses(host, 443))


_due = threading.local()


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Ends whatever a ``client`` does in this thread inside the block after so many seconds, as a time-out of httpx."""
    before = getattr(_due, "at", None)
    _due.at = time.monotonic() + seconds
    try:
        yield
    finally:
        _due.at = before


def _left(timeout: float | None, error: type[Exception]) -> float | None:
    """The time-out of one step, limited by the deadline. Raises ``error`` if the deadline has passed."""
    at = getattr(_due, "at", None)
    if at is None:
        return timeout
    left = float(at - time.monotonic())
    if left <= 0:
        raise error("the deadline has passed")
    return left if timeout is None else min(timeout, left)


def addresses(host: str, port: int) -> list[str]:
    """The addresses of a host, all of them allowed. Raises Refused: it is unknown, or not allowed."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused(f"The host {host[:100]} is unknown.") from error
    resolved = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    for address in resolved:
        if not _allowed(host, ipaddress.ip_address(address.partition("%")[0])):
            raise Refused(
                f"The host {host[:100]} is an internal address ({address}). Ask an administrator to allow it."
            )
        if _is_public(ipaddress.ip_address(address.partition("%")[0])):
            require_listed(host)
    return resolved


def require_listed(host: str) -> None:
    """Raises Refused for an external host that OUTBOUND_HOSTS does not list."""
    listed = settings.OUTBOUND_HOSTS
    if listed and not validate_host(host.casefold().rstrip("."), [entry.casefold() for entry in listed]):
        address = next(iter(_literal(host)), None)
        if address is None or not any(_within(address, entry) for entry in listed):
            raise Refused(
                f"An administrator has not allowed {host[:100]}: it is not in OUTBOUND_HOSTS.", code="host_not_allowed"
            )


def require_hub() -> None:
    """Raises Refused where neither list has the host of the hub (HF_ENDPOINT), and OUTBOUND_HOSTS is set."""
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or ""
    if host not in settings.OUTBOUND_ALLOW:
        require_listed(host)


def _literal(host: str) -> Iterator[_Address]:
    """The address, if the host is one."""
    with suppress(ValueError):
        yield _plain(ipaddress.ip_address(host))


def _allowed(host: str, address: _Address) -> bool:
    return _is_public(address) or any(
        host.casefold() == entry.casefold() or _within(_plain(address), entry) for entry in settings.OUTBOUND_ALLOW
    )


def _is_public(address: _Address) -> bool:
    """Whether an address is public, and does not embed one that is not."""
    plain = _plain(address)
    if not plain.is_global or plain.is_multicast or (plain.version == 6 and plain.is_reserved):
        return False
    return not any(plain in network for network in (*_HIDDEN_NETWORKS, *_METADATA) if network.version == plain.version)


def _plain(address: _Address) -> _Address:
    """An IPv4 address that is written as an IPv6 one, as IPv4."""
    return getattr(address, "ipv4_mapped", None) or address


def _within(address: _Address, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except (ValueError, TypeError):
        return False


class _AllowlistBackend(httpcore.NetworkBackend):
    """Connects to the checked address, not to a name that may resolve to another one a moment later."""

    def __init__(self) -> None:
        self._real = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        *others, last = addresses(host, port)
        for address in others:
            try:
                return self._connect(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return self._connect(last, port, timeout, local_address, socket_options)

    def _connect(self, address: str, port: int, timeout: float | None, *more: Any) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._real.connect_tcp(address, port, left, *more))


class _DeadlineStream(httpcore.NetworkStream):
    """A connection that limits every step by the deadline of its thread."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
