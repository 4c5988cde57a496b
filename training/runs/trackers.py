"""Files of a run for TensorBoard and Weights & Biases, and their download as one zip."""

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from slmstudio.storage.artifacts import local_path
from training.models import TrainingRun

#: name -> title, folder below the run's, command that opens it
TRACKERS = {
    "tensorboard": ("TensorBoard", "tensorboard", "tensorboard --logdir {folder}"),
    "wandb": ("Weights & Biases", "wandb", "wandb sync {folder}/offline-run-*"),
}


@dataclass(frozen=True)
class TrackerFiles:
    """The files of one tracker. ``bytes`` is 0 as long as there are none; ``command`` is what to type on the machine.

    ``url``: the run's page at the tracker, where it reports online; else empty.
    """

    name: str
    title: str
    folder: Path
    bytes: int
    command: str
    url: str = ""


def trackers_of(run: TrainingRun, names: tuple[str, ...]) -> list[TrackerFiles]:
    """The trackers of a run with their files."""
    found = []
    urls = (run.facts or {}).get("tracker_urls", {})
    for name in names:
        if name not in TRACKERS:
            continue
        title, below, line = TRACKERS[name]
        folder = local_path(f"{run.folder_key}/{below}")
        size = sum(file.stat().st_size for file in _files(folder))
        found.append(TrackerFiles(name, title, folder, size, line.format(folder=_quoted(folder)), urls.get(name, "")))
    return found


def zip_tracker_files(tracker: TrackerFiles) -> IO[bytes]:
    """All files of a tracker as a zip, in a temporary file that is deleted when closed."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in _files(tracker.folder):
            archive.write(path, f"{tracker.name}/{path.relative_to(tracker.folder).as_posix()}")
    file.seek(0)
    return file


def _files(folder: Path) -> list[Path]:
    """The plain files below a folder, without links."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _quoted(path: Path) -> str:
    text = str(path)
    return f"'{text}'" if " " in text else text
