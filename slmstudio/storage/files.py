"""Files that only the application's account reads, and files that are there as a whole or not at all."""

import logging
import os
import stat
from pathlib import Path

logger = logging.getLogger(__name__)
UMASK = 0o077


def restrict_permissions(home: Path) -> None:
    """Creates ``home`` and removes access of other accounts to it and its folders, also those of an older version.

    New files of this process and its children are private as well. If an embedded PostgreSQL has its own account, it
    may traverse ``home``, but not list it.
    """
    os.umask(UMASK)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close(home, 0o066 if os.geteuid() == 0 else 0o077)
    for folder in home.iterdir() if os.access(home, os.R_OK) else ():
        if folder.is_dir() and not folder.is_symlink():
            _close(folder, 0o077)


def _close(folder: Path, taken: int) -> None:
    """Removes these permissions; files of another account are skipped."""
    state = folder.stat()
    mode = stat.S_IMODE(state.st_mode)
    if mode & taken and state.st_uid == os.geteuid():
        try:
            folder.chmod(mode & ~taken)
        except OSError as error:  # a file system without permissions
            logger.warning("the permissions of %s cannot be restricted: %s", folder, error)
