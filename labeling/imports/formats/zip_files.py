"""Opening zips whose list of files may be hostile."""

import zipfile
from pathlib import Path
from typing import Final

from labeling.imports.formats import ReadError

MOST_FILES: Final = 200_000
#: bytes of the list of files at a zip's end: enough for as many files with names of a hundred characters
MOST_DIRECTORY: Final = 32 * 1024**2


def opened(path: Path, name: str) -> zipfile.ZipFile:
    """A zip whose list of files is short enough to be held in memory; ``name`` begins the sentence where it is not.

    Raises:
        ReadError: it is no zip, is damaged, or has too many files.
    """
    try:
        large = _directory_size(path) > MOST_DIRECTORY
        archive = None if large else zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ReadError(f"{name} is a zip that cannot be opened: {error}. It may be cut off; pack it again.") from None
    if archive is None or len(archive.filelist) > MOST_FILES:
        raise ReadError(f"{name} is a zip of too many files; at most {MOST_FILES:,} are read.")
    return archive


def _directory_size(path: Path) -> int:
    """Bytes of the list of files, as the end of the zip says and as zipfile will believe it; 0 where it has no end."""
    with path.open("rb") as file:
        # Private, but any reading of our own could be led to another place than zipfile's.
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        return int(end[zipfile._ECD_SIZE]) if end else 0  # type: ignore[attr-defined]
