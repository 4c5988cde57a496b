"""The folders below SLM_HOME, and the addresses of the servers in them.

Both servers listen on UNIX sockets in folders that only their owner may enter: no port can be in use, and no other
account of the machine can connect.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from slmstudio.stack.errors import StackError, file_sentence

DATABASE = "slmstudio"
DATABASE_OWNER = "slmstudio_owner"
POSTGRES_PORT = 5432  # only a part of the socket's name
# The kernel's limit for the path of a socket is 108 bytes with its closing NUL on Linux, 104 elsewhere.
_MAX_SOCKET_PATH = 103


@dataclass(frozen=True)
class Paths:
    """The folders of one SLM_HOME. ``home`` is absolute."""

    home: Path

    @classmethod
    def of(cls, home: Path) -> "Paths":
        """The folders below ``home``, as absolute paths."""
        return cls(home.expanduser().resolve())

    @property
    def postgres(self) -> Path:
        """PostgreSQL's folder: data, log, socket. Belongs to the account PostgreSQL runs as."""
        return self.home / "postgres"

    @property
    def valkey(self) -> Path:
        """Valkey's folder: data, log, socket."""
        return self.home / "valkey"

    @property
    def lock(self) -> Path:
        """The lock of processes that start or stop servers."""
        return self.home / "stack.lock"

    @property
    def state(self) -> Path:
        """The file with the servers that were started here."""
        return self.home / "stack.json"

    def users(self, server: str) -> Path:
        """The file that the users of a server lock."""
        return self.home / f"{server}.users"

    def socket_folder(self, folder: Path, socket_name: str) -> Path:
        """``folder``, or a short folder in /tmp if the path of a socket in it would be too long for the kernel."""
        if len(os.fsencode(folder / socket_name)) <= _MAX_SOCKET_PATH:
            return folder
        mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        return Path("/tmp") / f"slmstudio-{mark}"

    @property
    def postgres_socket_folder(self) -> Path:
        """The folder of PostgreSQL's socket."""
        return self.socket_folder(self.postgres, f".s.PGSQL.{POSTGRES_PORT}")

    @property
    def valkey_socket(self) -> Path:
        """Valkey's socket."""
        return self.socket_folder(self.valkey, "valkey.sock") / "valkey.sock"

    def database_url(self, *, user: str = DATABASE, database: str = DATABASE) -> str:
        """The address of a database of the embedded PostgreSQL."""
        host = quote(str(self.postgres_socket_folder), safe="")
        return f"postgresql://{user}@/{database}?host={host}&port={POSTGRES_PORT}"

    @property
    def database_owner_url(self) -> str:
        """The same database for the role that owns its tables and migrates them."""
        return self.database_url(user=DATABASE_OWNER)

    @property
    def redis_url(self) -> str:
        """The address of the embedded Valkey."""
        return f"unix://{quote(str(self.valkey_socket))}?db=0"


def private_folder(folder: Path, owner: tuple[int, int] | None = None) -> None:
    """Creates a folder that only its owner may enter; ``owner`` is a user and group id, by default this process's.

    Raises:
        StackError: it cannot be created, or the path is a symbolic link or belongs to another account.
    """
    uid = os.geteuid() if owner is None else owner[0]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.is_symlink():
            raise StackError(f"{folder} is a symbolic link; it must be a folder.")
        if folder.stat().st_uid not in (uid, os.geteuid()):
            raise StackError(f"{folder} belongs to another account; give it to this one, or set SLM_HOME to another.")
        if owner is not None and os.geteuid() == 0:
            os.chown(folder, *owner)
        folder.chmod(0o700)
    except OSError as error:
        raise file_sentence(error, folder, "create a folder") from error
