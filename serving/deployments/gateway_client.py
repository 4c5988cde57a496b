"""Sends a document of a signed-in user to the gateway, for the page and the command."""

import httpx
from django.conf import settings

from serving.gateway import passes

#: seconds until the gateway must be connected
_CONNECT_SECONDS = 2.0


def send(*, slug: str, text: str) -> httpx.Response:
    """The gateway's response. Raises httpx.HTTPError where it does not answer."""
    return httpx.post(
        f"{str(settings.GATEWAY_URL).rstrip('/')}/api/v1/projects/{slug}/extract",
        headers={"Authorization": f"Bearer {passes.issue(slug)}"},
        json={"text": text},
        timeout=httpx.Timeout(settings.GATEWAY_TIMEOUT_SECONDS, connect=_CONNECT_SECONDS),
        trust_env=False,
    )
