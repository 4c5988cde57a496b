"""Sends a document of a signed-in user to the gateway, for the page and the command."""

from typing import IO, Any

import httpx
from django.conf import settings

from serving.gateway import passes

#: seconds until the gateway must be connected
_CONNECT_SECONDS = 2.0


def send(*, slug: str, text: str = "", file: tuple[str, IO[bytes]] | None = None) -> httpx.Response:
    """The gateway's response to a text, or to a file with its name. Raises httpx.HTTPError where it does not answer."""
    body: dict[str, Any] = {"json": {"text": text}} if file is None else {"files": {"file": file}}
    return httpx.post(
        f"{str(settings.GATEWAY_URL).rstrip('/')}/api/v1/projects/{slug}/extract",
        headers={"Authorization": f"Bearer {passes.issue(slug)}"},
        **body,
        timeout=httpx.Timeout(settings.GATEWAY_TIMEOUT_SECONDS, connect=_CONNECT_SECONDS),
        trust_env=False,
    )
