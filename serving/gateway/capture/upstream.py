"""Connections to external models for requests that are forwarded: allowed addresses only, no redirects, no proxy."""

import asyncio
import ipaddress
import posixpath
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import quote, unquote, urlsplit

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict

from serving.gateway.problems import GatewayProblem
from slmstudio.errors import Refused
from slmstudio.web import outbound

#: seconds that a model may think before the next byte; the default of OpenAI's client
READ_SECONDS = 600.0
CONNECT_SECONDS = 10.0
_MAX_HEADER = 64 * 1024
#: headers that belong to one connection (RFC 9110, 7.6.1), or to the gateway
_OF_A_CONNECTION = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "content-length", "host",
    }
)  # fmt: skip
_NOT_SENT = _OF_A_CONNECTION | {"accept-encoding", "cookie", "expect", "forwarded", "x-real-ip", "via"}
_NOT_RETURNED = _OF_A_CONNECTION | {"set-cookie", "date", "server", "alt-svc", "strict-transport-security"}
#: headers in which servers take a key
KEYS = frozenset({"authorization", "api-key", "x-api-key"})
#: headers that choose whose account a key is used for, which a caller must not choose for the studio's key
_OF_A_KEY = KEYS | {"openai-organization", "openai-project"}


class _AllowedResolver(AbstractResolver):
    """Resolves names to allowed addresses; the connection is made to what was checked."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            addresses = await asyncio.to_thread(outbound.addresses, host, port)
        except Refused as error:
            raise OSError(error.message) from error
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in addresses
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing is open."""


class Upstream:
    """The connections of one gateway process."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self, *, base: str, path: str, query: str, method: str, headers: Iterable[tuple[str, str]], body: bytes,
        key: str | None,
    ) -> aiohttp.ClientResponse:  # fmt: skip
        """The response of an external model, once its head arrived; the caller releases it.

        ``key``: sent instead of the caller's ("": none); None sends the caller's own.

        Raises:
            GatewayProblem: 404 for an address that is not below ``base``, 502 where there is no connection, 504 where
                it takes too long.
        """
        host = urlsplit(base).hostname or ""
        try:
            if _is_literal(host):  # these are not resolved
                outbound.check(base)
            return await self._sessions().request(
                method, address(base, path, query), data=body or None, headers=request_headers(headers, key),
                allow_redirects=False,
            )  # fmt: skip
        except Refused as error:
            raise GatewayProblem(502, "unreachable", error.message) from error
        except TimeoutError:
            raise GatewayProblem(504, "timeout", "The external model did not respond in time.") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise GatewayProblem(502, "unreachable", "The external model cannot be reached.") from error

    def _sessions(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=_AllowedResolver(), limit=0, ttl_dns_cache=30),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=READ_SECONDS),
                auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), max_line_size=_MAX_HEADER,
                max_field_size=_MAX_HEADER,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )  # fmt: skip
        return self._session

    async def close(self) -> None:
        """Closes all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def address(base: str, path: str, query: str) -> yarl.URL:
    """The address below ``base``, sent exactly as it was checked. ``query``: as the caller wrote it.

    Raises:
        GatewayProblem: 404: the path leads out of ``base``, however often it is decoded and by whichever program.
    """
    root = yarl.URL(base.rstrip("/") + "/")
    query = quote(query, safe="/?:@!$&'()*+,;=-._~%[]")
    target = yarl.URL(f"{root}{quote(path, safe='/:')}{f'?{query}' if query else ''}", encoded=True)
    decoded = target.raw_path
    while (once := unquote(decoded)) != decoded:
        decoded = once
    inside = posixpath.normpath(decoded.replace("\\", "/")).startswith(unquote(root.raw_path))
    if not (inside and target.raw_path.startswith(root.raw_path) and target.host == root.host):
        raise GatewayProblem(404, "address", "This URL is not forwarded.")
    return target


def request_headers(headers: Iterable[tuple[str, str]], key: str | None) -> "CIMultiDict[str]":
    """The headers that are sent on. A compressed response could not be logged, so none is asked for."""
    sent: CIMultiDict[str] = CIMultiDict()
    for name, value in headers:
        lower = name.lower()
        if lower in _NOT_SENT or lower.startswith("x-forwarded-") or (key is not None and lower in _OF_A_KEY):
            continue
        sent.add(name, value)
    sent["Accept-Encoding"] = "identity"
    if key:
        sent["Authorization"] = f"Bearer {key}"
    return sent


def response_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers that are returned: all that are not of the connection to the external model."""
    return [(name, value) for name, value in headers.items() if name.lower() not in _NOT_RETURNED]


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
