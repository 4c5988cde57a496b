"""Settings of the company's provider, from the environment. Imported by the settings: no models here."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from slmstudio.env import EnvError

#: the id of the provider, and of its accounts
PROVIDER = "oidc"


def providers(server_url: str, name: str, client_id: str, secret: str, scopes: Sequence[str]) -> dict[str, Any]:
    """``SOCIALACCOUNT_PROVIDERS``: the provider at this address; none without an address.

    Raises:
        EnvError: the client has no id.
    """
    if not server_url:
        return {}
    if not client_id:
        raise EnvError("OIDC_CLIENT_ID", "the id of the client that is registered at OIDC_SERVER_URL", None)
    app = {
        "provider_id": PROVIDER,
        "name": name,
        "client_id": client_id,
        "secret": secret,
        "settings": {"server_url": server_url.rstrip("/"), "scope": [*scopes]},
    }
    return {PROVIDER: {"APPS": [app], "OAUTH_PKCE_ENABLED": True}}


def origins(server_url: str) -> list[str]:
    """The origin of an address as a list, for a content security policy: a form leads there. Empty without one."""
    parts = urlsplit(server_url)
    return [f"{parts.scheme}://{parts.netloc}"] if parts.netloc else []
