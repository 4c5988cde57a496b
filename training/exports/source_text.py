"""What the texts for other trainers have in common. Pure."""

import unicodedata
from dataclasses import dataclass
from typing import Any

from training.exports.child_specs import TrainerSpec


@dataclass(frozen=True)
class Counts:
    """Rows that are learned from and watched, and the steps that follow from them.

    ``steps`` of the whole run; ``eval_steps`` between two looks at the validation rows; ``longest`` row in tokens.
    """

    train: int
    validation: int
    steps: int
    eval_steps: int
    longest: int


def one_line(text: str, most: int = 200) -> str:
    """A text as it may stand in a comment: one line, nothing that is not printed."""
    clean = "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in text)
    return " ".join(clean.split())[:most]


def accumulation(spec: TrainerSpec) -> int:
    """Batches behind one step on one GPU, so that a step has as many rows as it had on the run's own devices."""
    return spec.run.accumulation * spec.run.devices


def header(spec: TrainerSpec, counts: Counts, *words: str) -> str:
    """The comment that both files begin with: what it is, what it rests on, and what is said about it."""
    run = spec.run
    rows = f"{counts.train} training, {counts.validation} validation rows"
    if run.devices > 1:
        size = run.batch_size * accumulation(spec)
        words = (*words, f"The run shared the {size} rows of a step among {run.devices} GPUs; this is for one GPU.")
    lines = [
        one_line(spec.title) or "A run of SLM Studio",
        *words,
        "",
        f"base model  {one_line(run.base_model.slug)} (folder hash {run.base_model.sha256 or 'not known'})",
        f"dataset     {run.dataset.sha256 or 'not known'} ({rows})",
        f"schema      {run.contract.schema_sha256 or 'not known'}",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def precision(spec: TrainerSpec, auto: Any) -> dict[str, Any]:
    """``bf16`` and ``fp16`` as both trainers name them; ``auto`` is what stands for the trainer's own choice."""
    wanted = spec.run.precision
    return {"bf16": auto if wanted == "auto" else wanted == "bf16", "fp16": wanted == "fp16"}
