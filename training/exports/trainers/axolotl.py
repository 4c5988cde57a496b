"""Axolotl: a configuration, rows with exactly the studio's text, and a check that loads both.

Rows have the type ``input_output``: segments that are tokenized as they are and joined, the prompt without labels and
the completion with labels. No template of Axolotl is applied. ``make test-axolotl`` loads reference configurations
with a real Axolotl, and fails where the record (``validated.json``) is of others.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from training.exports.child_specs import TrainerSpec
from training.exports.trainers import axolotl_check
from training.exports.trainers.base import RowCounts, Trainer, accumulation, header, precision

#: the release that configurations are written for and tested with
VERSION = "0.19.0"
CONFIG = "axolotl.yaml"


def row(prompt: str, completion: str) -> dict[str, Any]:
    """One row of the dataset file."""
    return {"segments": [{"label": False, "text": prompt}, {"label": True, "text": completion}]}


def config(spec: TrainerSpec, counts: RowCounts) -> str:
    """The configuration file as text. Paths are relative to its folder."""
    note: tuple[str, ...] = (
        f"Axolotl {VERSION}: run from this folder with  axolotl train {CONFIG}",
        "The rows hold the prompts as the studio's own trainer reads them; check.py compares the token ids.",
    )
    if spec.run.devices > 1:
        note = (*note, "With N GPUs (accelerate launch --num_processes N) divide gradient_accumulation_steps by N.")
    text = yaml.safe_dump(settings(spec, counts), sort_keys=False, allow_unicode=True, width=110)
    return header(spec, counts, *note) + "\n" + text


def settings(spec: TrainerSpec, counts: RowCounts) -> dict[str, Any]:
    """The configuration as plain values."""
    run = spec.run
    values: dict[str, Any] = {"base_model": spec.base_model}
    if spec.revision:
        values["revision_of_model"] = spec.revision
    values |= {"trust_remote_code": False, "strict": False, **_adapter_settings(spec)}
    values |= {
        "datasets": [_source("train.jsonl")],
        **({"test_datasets": [_source("validation.jsonl")]} if counts.validation else {}),
        "val_set_size": 0.0,
        "dataset_prepared_path": "prepared",
        "train_on_inputs": False,
        "sequence_len": run.max_length,
        "excess_length_strategy": "raise",
        "sample_packing": False,
        "pad_to_sequence_len": False,
        "group_by_length": True,
        "micro_batch_size": run.batch_size,
        "gradient_accumulation_steps": accumulation(spec),
        **({"max_steps": run.max_steps} if run.max_steps is not None else {"num_epochs": run.epochs}),
        "learning_rate": run.learning_rate,
        "lr_scheduler": run.scheduler,
        "warmup_steps": round(run.warmup_ratio * counts.steps),
        "optimizer": "adamw_torch",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        **precision(spec, "auto"),
        "tf32": False,
        "gradient_checkpointing": run.activation_checkpointing,
        "seed": run.seed,
        "logging_steps": 1,
        "output_dir": "out",
        **_evaluation_settings(spec, counts),
        **_tracker_settings(spec),
    }
    return values


def _adapter_settings(spec: TrainerSpec) -> dict[str, Any]:
    run = spec.run
    if run.method == "full":
        return {}
    targets = run.lora.targets
    return {
        "adapter": run.method,
        "load_in_4bit": run.method == "qlora",
        "load_in_8bit": False,
        "lora_r": run.lora.r,
        "lora_alpha": run.lora.alpha,
        "lora_dropout": run.lora.dropout,
        **({"lora_target_linear": True} if targets == "all-linear" else {"lora_target_modules": list(targets)}),
    }


def _source(name: str) -> dict[str, Any]:
    return {"path": name, "ds_type": "json", "split": "train", "type": "input_output"}


def _evaluation_settings(spec: TrainerSpec, counts: RowCounts) -> dict[str, Any]:
    """Evaluation and checkpoint intervals. Early stopping needs both set explicitly."""
    run = spec.run
    if not counts.validation:
        return {"eval_strategy": "no", "save_strategy": "steps", "save_steps": run.save_every or counts.steps}
    values: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": counts.eval_steps,
        "save_strategy": "steps",
        "save_steps": counts.eval_steps if run.early_stopping else run.save_every or counts.eval_steps,
        "save_total_limit": 2,
    }
    if run.early_stopping:
        values |= {
            "early_stopping_patience": run.early_stopping,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
        }
    return values


def _tracker_settings(spec: TrainerSpec) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if "tensorboard" in spec.run.trackers:
        settings["use_tensorboard"] = True
    if "wandb" in spec.run.trackers:
        settings |= {"use_wandb": True, "wandb_project": "slm-studio"}
    return settings


#: the last validation with a real Axolotl, which a test compares with the configurations
RECORD = Path(__file__).with_name("validated.json")


def _files(spec: TrainerSpec, counts: RowCounts) -> dict[str, str]:
    return {CONFIG: config(spec, counts)}


TRAINER = Trainer(
    name="axolotl",
    title="Axolotl",
    description="This run's settings as axolotl.yaml, with the training rows.",
    row=row,
    files=_files,
    check=Path(axolotl_check.__file__),
    python_setting="AXOLOTL_PYTHON",
    last_validation=json.loads(RECORD.read_text(encoding="utf-8")),
)
