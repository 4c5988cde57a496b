"""The account that runs PostgreSQL if this process is root, as PostgreSQL does not run as root."""

import contextlib
import fcntl
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from slmstudio.stack.errors import StackError

NAME = "slmstudio-db"


class Account(NamedTuple):
    """User and group id to run a program as; None to run it as the current account."""

    uid: int
    gid: int

    def popen_options(self) -> dict[str, object]:
        """Keyword arguments for ``subprocess`` that run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def for_data(folder: Path) -> Account | None:
    """The account for a server with its data in ``folder``; None if this process's own account can run it.

    Existing data keep their owner. For new data a system account is used, and created if it is missing.

    Raises:
        StackError: the account could not be created.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists():
        owner = folder.stat()
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        entry = _make()
    return Account(entry.pw_uid, entry.pw_gid)


def _make() -> pwd.struct_passwd:
    tool = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if tool is None:
        raise StackError(
            f"PostgreSQL cannot run as root, and creating the account {NAME} for it requires the program useradd."
        )
    shell = shutil.which("nologin", path="/usr/sbin:/sbin") or "/bin/false"
    command = [tool, "--system", "--user-group", "--no-create-home", "--shell", shell, NAME]
    with _locked():
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(NAME)  # another process has created it since
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        raise StackError(f"The account {NAME} for PostgreSQL could not be created: {made.stderr.strip()}") from None


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One process at a time: of two useradd at once, each replaces the account of the other, with another id."""
    descriptor = os.open("/etc", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def allow_traversal(path: Path) -> None:
    """Lets other accounts traverse (not list) every folder above ``path`` that forbids it, and prints which.

    PostgreSQL, not being root, must reach its programs and its data below folders such as /root.
    """
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            print(
                f"PostgreSQL runs as the account {NAME}: {folder} now lets other accounts through, without listing it.",
                file=sys.stderr,
            )
