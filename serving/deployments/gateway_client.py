"""Sends a document of a signed-in user to the gateway, for the page and the command."""

from typing import IO, Any

import httpx
from django.conf import settings

from serving.gateway.tokens import issue_pass
from slmstudio.contract.json_text import dumps

#: seconds until the gateway must be connected
_CONNECT_SECONDS = 2.0


def send(
    *,
    slug: str,
    text: str = "",
    page: Any = None,
    file: tuple[str, IO[bytes]] | None = None,
    layout: bool = False,
    caller: str = "",
) -> httpx.Response:
    """The gateway's response to a text, with the boxes of its page or without, or to a file with its name (``layout``:
    with that of its pages). ``caller``: the name of the user, who may see the request in the log.

    Raises:
        httpx.HTTPError: it does not answer.
    """
    headers = {"Authorization": f"Bearer {issue_pass(slug)}"}
    body: dict[str, Any] = {"files": {"file": file}, "data": {"layout": str(layout).lower(), "caller": caller}}
    if file is None:
        headers["Content-Type"] = "application/json"
        document = {"text": text, "caller": caller}
        body = {"content": dumps(document if page is None else {**document, "page": page})}
    return httpx.post(
        f"{str(settings.GATEWAY_URL).rstrip('/')}/api/v1/projects/{slug}/extract",
        headers=headers,
        **body,
        timeout=httpx.Timeout(settings.GATEWAY_TIMEOUT_SECONDS, connect=_CONNECT_SECONDS),
        trust_env=False,
    )
