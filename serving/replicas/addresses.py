"""Addresses of replicas, and the secret that a gateway sends them."""

import hashlib
import hmac
import socket
from pathlib import Path

from django.conf import settings

from slmstudio.accounts.secret_keys import all_keys
from slmstudio.stack.paths import Paths, private_folder

HTTP = "http://"
UNIX = "unix:"


def secret() -> str:
    """The secret that a gateway sends, the same for every process with this SECRET_KEY."""
    return _derived(settings.SECRET_KEY)


def accepted_secrets() -> list[str]:
    """The secrets that a replica accepts: also those of former keys, which a gateway may still have."""
    return [_derived(key) for key in all_keys()]


def _derived(key: str) -> str:
    return hmac.new(key.encode(), b"serving.replicas", hashlib.sha256).hexdigest()


def host_name() -> str:
    """The name of this host in the rows of replicas."""
    return str(settings.REPLICA_HOST_NAME or socket.gethostname())


def new_address(name: str) -> str:
    """An address for a replica: a UNIX socket in SLM_HOME, or with REPLICA_BIND a free port of that address."""
    if settings.REPLICA_BIND:
        with socket.socket(socket.AF_INET6 if ":" in settings.REPLICA_BIND else socket.AF_INET) as free:
            free.bind((settings.REPLICA_BIND, 0))
            port = free.getsockname()[1]
        host = f"[{settings.REPLICA_BIND}]" if ":" in settings.REPLICA_BIND else settings.REPLICA_BIND
        return f"{HTTP}{host}:{port}"
    folder = Path(settings.HOME) / "serve"
    folder = Paths.of(Path(settings.HOME)).socket_folder(folder, f"{name}.sock")
    private_folder(folder)  # one in /tmp may have been made by another account
    return f"{UNIX}{folder / name}.sock"
