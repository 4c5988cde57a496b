"""The type of another trainer. Pure: a spec and counts in, files out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.exports.child_specs import TrainerSpec
from training.exports.trainers.source_text import RowCounts


@dataclass(frozen=True)
class ValidationRecord:
    """The trainer ``version`` loaded ``cases`` reference configurations on the date ``on`` (ISO)."""

    version: str
    on: str
    cases: int


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """Another trainer.

    ``name`` is stored with exports, as a choice of ``SpecExport.Trainer``; ``title``, ``description`` and ``note`` are
    shown. ``row`` makes a row of the dataset file from prompt and completion, ``files`` the other files by name.
    """

    name: str
    title: str
    description: str
    row: Callable[[str, str], dict[str, Any]]
    files: Callable[[TrainerSpec, RowCounts], dict[str, str]]
    note: str = ""
    #: a script that loads an exported folder with the trainer; the folder gets it as check.py
    check: Path | None = None
    #: the setting that names the Python of an environment with the trainer, which runs the check
    python_setting: str = ""
    #: the last validation of reference configurations
    last_validation: Callable[[], ValidationRecord | None] = lambda: None
