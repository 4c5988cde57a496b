"""The client address of a request: that of the connection, or the one reported by a trusted proxy."""

import ipaddress
import logging
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, register
from django.core.checks import Warning as Caution
from django.http import HttpRequest

logger = logging.getLogger(__name__)
#: the address of a connection through a UNIX socket
UNIX = "localhost"


def client_address(request: HttpRequest) -> str:
    """The client's address as a text; "" if unknown."""
    peer = str(request.META.get("REMOTE_ADDR", ""))
    forwarded = str(request.META.get("HTTP_X_FORWARDED_FOR", ""))
    if forwarded and settings.HTTPS and not is_trusted_proxy(peer):
        logger.warning("X-Forwarded-For from %s is not used: TRUSTED_PROXIES does not name it", peer)
    return address_of(peer, forwarded)


def address_of(peer: str, forwarded: str) -> str:
    """The client's address, of a connection from ``peer`` with this ``X-Forwarded-For``.

    It counts only if the connection comes from one of ``TRUSTED_PROXIES``, and of its addresses the last one that is
    not a trusted proxy: the client could write the ones before it.
    """
    address = peer
    if not is_trusted_proxy(peer):
        return _plain(address)
    for hop in reversed(forwarded.split(",") if forwarded else []):
        address = hop.strip()
        if not is_trusted_proxy(address):
            break
    return _plain(address)


def is_untrusted_proxy(request: HttpRequest) -> bool:
    """Whether the connection seems to come from the site's own proxy, missing in ``TRUSTED_PROXIES``: all clients then
    share its address. Only with ``HTTPS``, which requires a proxy.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    if not settings.HTTPS or not request.META.get("HTTP_X_FORWARDED_FOR") or is_trusted_proxy(address):
        return False
    try:
        return address == UNIX or ipaddress.ip_address(_plain(address)).is_private
    except ValueError:
        return False


@register(Tags.security, deploy=True)
def check_proxies(**_: Any) -> list[CheckMessage]:
    """Warns if an untrusted proxy makes all clients share its address."""
    if not settings.HTTPS or settings.TRUSTED_PROXIES:
        return []
    return [
        Caution(
            "TRUSTED_PROXIES is empty, so all clients share the proxy's address: sign-in is limited by account alone.",
            hint="Set it to the address of the proxy that ends TLS, such as 127.0.0.1.",
            id="slmstudio.W002",
        )
    ]


def network_of(address: str) -> str:
    """The network that counts as one client: an IPv4 address, or the /64 of an IPv6 address, which one machine owns."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def is_trusted_proxy(address: str) -> bool:
    """Whether ``TRUSTED_PROXIES`` names an address."""
    if address == UNIX:
        return bool(settings.TRUSTED_PROXIES)
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in ipaddress.ip_network(network, strict=False) for network in settings.TRUSTED_PROXIES)


def _plain(address: str) -> str:
    """An IPv4 address that came through an IPv6 socket as IPv4; an invalid address is truncated."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:45]
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
