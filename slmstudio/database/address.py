"""Turns a PostgreSQL URL into Django's DATABASES entry."""

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


def database_settings(url: str) -> dict[str, Any]:
    """``postgresql://user:password@host:port/name?host=/socket/dir`` as a Django database entry.

    A ``host`` in the query names a directory of UNIX sockets and overrides the host of the address. Other query
    parameters are passed to libpq unchanged.
    """
    parts = urlsplit(url)
    options: dict[str, Any] = dict(parse_qsl(parts.query))
    host = options.pop("host", None) or parts.hostname or ""
    port = options.pop("port", None) or parts.port or ""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")) or "slmstudio",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(host),
        "PORT": str(port),
        "OPTIONS": options,
        # One per thread. No psycopg pool: RQ forks for every job, and a pool's threads do not survive a fork.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
