"""Room on the disks that take uploads."""

import errno
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from slmstudio.storage import artifacts

#: stays free for everything else
_RESERVE: Final = 64 * 2**20


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that a disk or quota is used up."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def has_room(size: int, *, temporary: int) -> bool:
    """Whether an upload of ``size`` bytes can be stored, with ``temporary`` more copies of it until it is."""
    places = [Path(artifacts.store().path(""))] + [Path(tempfile.gettempdir())] * temporary
    needed: Counter[int] = Counter()
    folders: dict[int, Path] = {}
    for place in places:
        folder = next(parent for parent in (place, *place.parents) if parent.exists())
        device = folder.stat().st_dev
        needed[device] += size
        folders[device] = folder
    return all(shutil.disk_usage(folders[device]).free >= total + _RESERVE for device, total in needed.items())
