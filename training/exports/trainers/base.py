"""Other trainers: their type, and the common parts of their files. Pure: a spec and counts in, files out."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.exports.child_specs import TrainerSpec


@dataclass(frozen=True)
class RowCounts:
    """Training and validation rows, and the steps of a run.

    ``steps`` in total; ``eval_steps`` between two evaluations; ``longest`` row in tokens.
    """

    train: int
    validation: int
    steps: int
    eval_steps: int
    longest: int


def one_line(text: str, limit: int = 200) -> str:
    """A text for a comment: one line of printable characters."""
    clean = "".join(" " if unicodedata.category(character)[0] in "CZ" else character for character in text)
    return " ".join(clean.split())[:limit]


def accumulation(spec: TrainerSpec) -> int:
    """Gradient accumulation on one GPU that gives the run's effective batch size."""
    return spec.run.accumulation * spec.run.devices


def header(spec: TrainerSpec, counts: RowCounts, *notes: str) -> str:
    """The head comment of a file: title, notes, and the hashes of model, dataset and schema."""
    run = spec.run
    rows = f"{counts.train} training, {counts.validation} validation rows"
    if run.devices > 1:
        size = run.batch_size * accumulation(spec)
        notes = (*notes, f"The run split the {size} rows of a step over {run.devices} GPUs; this is for one GPU.")
    if run.augmentation != "none":
        notes = (*notes, "The run trained on changed copies as well (augmentation); these rows are the documents.")
    lines = [
        one_line(spec.title) or "A run of SLM Studio",
        *notes,
        "",
        f"base model  {one_line(run.base_model.slug)} (folder hash {run.base_model.sha256 or 'unknown'})",
        f"dataset     {run.dataset.sha256 or 'unknown'} ({rows})",
        f"schema      {run.contract.schema_sha256 or 'unknown'}",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def precision(spec: TrainerSpec, auto: Any) -> dict[str, Any]:
    """``bf16`` and ``fp16`` as both trainers name them; ``auto``: the value for the trainer's own choice."""
    wanted = spec.run.precision
    return {"bf16": auto if wanted == "auto" else wanted == "bf16", "fp16": wanted == "fp16"}


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
    #: the last validation of reference configurations: version, cases, and the date ``on``
    last_validation: dict[str, Any] | None = None
