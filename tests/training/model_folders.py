"""Folders of models that are made once in a run of the tests, also where it is spread over processes."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path


@cache
def _models() -> Path:
    """Where they are: a folder of this process, or that of all processes of a spread run."""
    if shared := os.environ.get("SLM_TEST_MODELS"):
        return Path(shared)
    folder = Path(tempfile.mkdtemp(prefix="slm-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that is made by the process that comes first; the others wait for it."""
    folder, mark = _models() / name, _models() / f"{name}.made"
    with (_models() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists():
            make(folder)
            mark.touch()
    return folder


@cache
def tiny() -> Path:
    """The tiny model, made by the child that prepares models."""
    from training.child_processes import run_child, spec_file
    from training.spec import PrepareSpec

    def make(folder: Path) -> None:
        spec = spec_file(PrepareSpec(kind="tiny", source="tiny-random", output_dir=str(folder)).to_yaml())
        run_child("training.ml.prepare", spec, folder.with_suffix(".log"))
        spec.unlink()

    return made_once("tiny", make)
