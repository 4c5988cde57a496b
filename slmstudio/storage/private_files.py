"""Files of the application are for its own account alone: documents, models and keys lie below SLM_HOME."""

import logging
import os
import stat
from pathlib import Path

logger = logging.getLogger(__name__)
UMASK = 0o077


def restrict_permissions(home: Path) -> None:
    """Makes ``home`` and closes it, and the folders in it, to other accounts, also where an older version made them.

    What this process and its children write from now on is private as well. Where an embedded PostgreSQL runs as an
    account of its own, ``home`` stays one that it may pass through; nobody may list it.
    """
    os.umask(UMASK)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close(home, 0o066 if os.geteuid() == 0 else 0o077)
    for folder in home.iterdir() if os.access(home, os.R_OK) else ():
        if folder.is_dir() and not folder.is_symlink():
            _close(folder, 0o077)


def _close(folder: Path, taken: int) -> None:
    """Takes these permissions away; what belongs to another account is left alone."""
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if mode & taken and found.st_uid == os.geteuid():
        try:
            folder.chmod(mode & ~taken)
        except OSError as error:  # a file system without permissions
            logger.warning("%s cannot be closed to other accounts: %s", folder, error)
