"""The last validation of configurations with a real Axolotl, and whether it still applies.

``make test-axolotl`` loads the configurations of all reference cases, and fails where the record is of others.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from slmstudio.storage.hashing import sha256_text
from training.exports.child_specs import TrainerSpec
from training.exports.trainers.axolotl_config import config
from training.exports.trainers.base import ValidationRecord
from training.exports.trainers.source_text import RowCounts
from training.spec import ContractRef, DatasetRef, Lora, ModelRef, RunSpec

NOTE = Path(__file__).with_name("validated.json")


def reference_cases() -> list[tuple[TrainerSpec, RowCounts]]:
    """One configuration for each difference between configurations."""
    base = RunSpec(
        base_model=ModelRef(path="base", sha256="0" * 64, slug="base"),
        dataset=DatasetRef(path="dataset.jsonl", sha256="1" * 64),
        contract=ContractRef(instruction="Extract.", schema={"type": "object"}, schema_sha256="2" * 64),
        output_dir="out",
    )
    counts = RowCounts(train=400, validation=40, steps=150, eval_steps=38, longest=900)
    few = Lora(r=8, alpha=16, dropout=0.1, targets=("q_proj", "v_proj"))
    changes: list[dict[str, Any]] = [
        {},
        {"method": "qlora", "precision": "bf16", "lora": few},
        {"method": "full", "precision": "fp32", "learning_rate": 1e-5, "scheduler": "linear"},
        {"precision": "fp16", "scheduler": "constant", "warmup_ratio": 0.0, "activation_checkpointing": True},
        {"early_stopping": 3, "save_every": 10, "accumulation": 4, "batch_size": 2},
        {"max_steps": 12, "trackers": ("tensorboard", "wandb"), "eval_every": 5},
    ]
    cases = [(_case(replace(base, **change)), counts) for change in changes]
    return [
        *cases,
        (_case(base), replace(counts, validation=0)),
        (_case(replace(base, early_stopping=2), revision="a" * 40), counts),
    ]


def _case(run: RunSpec, revision: str = "") -> TrainerSpec:
    model = "someone/a-model" if revision else "base"
    return TrainerSpec(
        run=run, trainer="axolotl", output_dir="out", base_model=model, revision=revision, title="A reference case"
    )


@cache
def configuration_hash() -> str:
    """A hash of all reference configurations; it changes with the generated text."""
    return sha256_text("\n".join(config(spec, counts) for spec, counts in reference_cases()))


@cache
def last_validation() -> ValidationRecord | None:
    """The record, where it is of the current configurations; else None."""
    try:
        noted = json.loads(NOTE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        ValidationRecord(noted["version"], noted["on"], noted["cases"])
        if noted.get("form") == configuration_hash()
        else None
    )
