"""Files that are there as a whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

from slmstudio.errors import Refused


def write_whole(path: Path, chunks: Iterable[bytes]) -> None:
    """Writes a file next to its place and then moves it there, so that a reader never gets a part of it.

    Raises:
        Refused: it cannot be written, with the reason.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            file.writelines(chunks)
        part.replace(path)
    except OSError as error:
        raise Refused(f"Cannot write {path}: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
