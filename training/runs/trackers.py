"""Files of a run for TensorBoard and Weights & Biases."""

from pathlib import Path
from typing import Any

from slmstudio.storage.artifacts import local_path
from training.models import TrainingRun

#: name, which is that of the folder below the run's -> title, command that opens it
TRACKERS = {
    "tensorboard": ("TensorBoard", "tensorboard --logdir {folder}"),
    "wandb": ("Weights & Biases", "wandb sync {folder}/offline-run-*"),
}


def trackers_of(run: TrainingRun, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """The trackers of a run: name, title, ``bytes`` of their files, the ``command`` to type on the machine, and
    ``url``, the run's page at the tracker where it reports online.
    """
    trackers = []
    for name in names:
        title, command = TRACKERS[name]
        folder = tracker_folder(run, name)
        size = sum((folder / file).stat().st_size for file in tracker_files(folder))
        quoted = f"'{folder}'" if " " in str(folder) else str(folder)
        url = (run.facts or {}).get("tracker_urls", {}).get(name, "")
        command = command.format(folder=quoted)
        trackers.append({"name": name, "title": title, "bytes": size, "command": command, "url": url})
    return trackers


def tracker_folder(run: TrainingRun, name: str) -> Path:
    """The folder of a tracker below that of a run."""
    return local_path(f"{run.folder_key}/{name}")


def tracker_files(folder: Path) -> list[str]:
    """The plain files below a folder, without links."""
    paths = sorted(folder.rglob("*")) if folder.is_dir() else []
    return [path.relative_to(folder).as_posix() for path in paths if path.is_file() and not path.is_symlink()]
