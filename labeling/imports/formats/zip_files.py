"""Opening zips whose central directory may be hostile."""

import zipfile
from pathlib import Path
from typing import Final

from labeling.imports.rows import ReadError

MAX_FILES: Final = 200_000
#: of the central directory: enough for as many files with names of a hundred characters
MAX_DIRECTORY_BYTES: Final = 32 * 1024**2


def open_zip(path: Path, name: str) -> zipfile.ZipFile:
    """A zip whose list of files fits into memory; ``name`` begins the error message.

    Raises:
        ReadError: it is not a zip, is damaged, or has too many files.
    """
    try:
        large = _directory_size(path) > MAX_DIRECTORY_BYTES
        archive = None if large else zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ReadError(
            f"{name} is a zip that cannot be opened: {error}. It may be truncated; create it again."
        ) from None
    if archive is None or len(archive.filelist) > MAX_FILES:
        raise ReadError(f"{name} is a zip with too many files; the maximum is {MAX_FILES:,}.")
    return archive


def _directory_size(path: Path) -> int:
    """Bytes of the central directory as the end record states them and zipfile trusts them; 0 without an end record."""
    with path.open("rb") as file:
        # Private, but a parser of our own could be led to another record than zipfile's.
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
        return int(end[zipfile._ECD_SIZE]) if end else 0  # type: ignore[attr-defined]
