"""A model server over HTTP, on a port or a UNIX socket, for the engines that ask one."""

from pathlib import Path
from typing import Any

import aiohttp

_CONNECT_SECONDS = 5.0
_KEEPALIVE_SECONDS = 2.0


class ServerError(Exception):
    """A server rejected a request, or does not answer (``status`` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ModelServer:
    """Connections to one server. ``socket``: its UNIX socket; then the host of ``url`` has no meaning."""

    def __init__(self, url: str, *, key: str = "", socket: Path | None = None) -> None:
        self.url = url.rstrip("/")
        # llama.cpp closes a connection after five idle seconds, which a busy event loop may notice too late.
        options: Any = {"limit": 0, "keepalive_timeout": _KEEPALIVE_SECONDS}
        connector = aiohttp.UnixConnector(str(socket), **options) if socket else aiohttp.TCPConnector(**options)
        self._client = aiohttp.ClientSession(
            connector=connector,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        )

    async def get(self, path: str) -> dict[str, Any]:
        """A JSON object. Raises ServerError."""
        return await self._json("GET", path)

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """A JSON object. Raises ServerError."""
        return await self._json("POST", path, json=body)

    async def text(self, path: str) -> str:
        """The body of a response; "" where the server has no such page."""
        try:
            async with self._client.get(f"{self.url}{path}") as response:
                return await response.text() if response.status == 200 else ""
        except (aiohttp.ClientError, OSError):
            return ""

    async def exists(self, path: str) -> bool:
        """Whether a HEAD request finds something. Raises ServerError."""
        try:
            async with self._client.head(f"{self.url}{path}") as response:
                return response.status == 200
        except (aiohttp.ClientError, OSError) as error:
            raise ServerError(0, _unreachable(self.url, error)) from error

    async def upload(self, path: str, file: Path) -> None:
        """Sends a file as the body. Raises ServerError."""
        with file.open("rb") as content:
            await self._json("POST", path, data=content)

    async def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            async with self._client.request(method, f"{self.url}{path}", **options) as response:
                body = await response.read()
                value: Any = None
                if body:
                    value = await _parsed(response)
                if response.status >= 400:
                    raise ServerError(response.status, _message(value) or f"status {response.status}")
                return value if isinstance(value, dict) else {}
        except (aiohttp.ClientError, OSError) as error:
            raise ServerError(0, _unreachable(self.url, error)) from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


async def _parsed(response: aiohttp.ClientResponse) -> Any:
    try:
        return await response.json(content_type=None)
    except ValueError:
        return await response.text(errors="replace")


def _message(body: Any) -> str:
    """What an error response says: OpenAI's and Ollama's shapes, or its text."""
    if isinstance(body, dict):
        error = body.get("error", body.get("message", body.get("detail", "")))
        return str(error.get("message", error) if isinstance(error, dict) else error)[:500]
    return str(body or "")[:500]


def _unreachable(url: str, error: BaseException) -> str:
    return f"{url} does not respond: {error or type(error).__name__}"
