"""What a run wrote for TensorBoard and Weights & Biases: where it lies, and all of it in one file."""

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from slmstudio.storage.artifacts import local_path
from training.models import TrainingRun

#: name -> title, folder below the run's, how its own tool reads it
_KNOWN = {
    "tensorboard": ("TensorBoard", "tensorboard", "tensorboard --logdir {folder}"),
    "wandb": ("Weights & Biases", "wandb", "wandb sync {folder}/offline-run-*"),
}


@dataclass(frozen=True)
class Tracked:
    """The files of one tracker. ``bytes`` is 0 as long as there are none; ``line`` is what to type on the machine."""

    name: str
    title: str
    folder: Path
    bytes: int
    line: str


def tracked(run: TrainingRun, names: tuple[str, ...]) -> list[Tracked]:
    """What a run has written for the trackers it was started with."""
    found = []
    for name in names:
        if name not in _KNOWN:
            continue
        title, below, line = _KNOWN[name]
        folder = local_path(f"{run.folder_key}/{below}")
        size = sum(file.stat().st_size for file in _files(folder))
        found.append(Tracked(name, title, folder, size, line.format(folder=_quoted(folder))))
    return found


def zipped(one: Tracked) -> IO[bytes]:
    """All files of a tracker as a zip, in a temporary file that goes when it is closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in _files(one.folder):
            archive.write(path, f"{one.name}/{path.relative_to(one.folder).as_posix()}")
    file.seek(0)
    return file


def _files(folder: Path) -> list[Path]:
    """The plain files below a folder; links lead elsewhere and are left out."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _quoted(path: Path) -> str:
    text = str(path)
    return f"'{text}'" if " " in text else text
