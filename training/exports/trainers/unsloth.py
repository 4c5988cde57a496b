"""A RunSpec as a script for Unsloth, over rows with prompt and completion as the model reads them.

Unsloth needs a GPU and packages that conflict with the studio's, so the scripts are not validated, and say so.
"""

import json
import re
from typing import Any

from training.exports.child_specs import TrainerSpec
from training.exports.trainers.base import RowCounts, Trainer, accumulation, header, precision

SCRIPT = "unsloth_train.py"
_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def row(prompt: str, completion: str) -> dict[str, str]:
    """One row of the dataset file."""
    return {"prompt": prompt, "completion": completion}


def script(spec: TrainerSpec, counts: RowCounts) -> str:
    """The script as text. It reads train.jsonl and validation.jsonl in its folder and writes to out/."""
    note = (
        "NOT VALIDATED: this script is compiled and its values are checked, but it has not been run on a GPU.",
        f"Run it in this folder, where Unsloth is installed:  python {SCRIPT}",
    )
    values = {
        "@LOAD@": _literal(load(spec)),
        "@ADAPTER@": _literal(adapter(spec)),
        "@ARGUMENTS@": _literal(arguments(spec, counts)),
        "@PATIENCE@": repr(spec.run.early_stopping if counts.validation else None),
    }
    # In one pass: a value can contain text that looks like a placeholder.
    body = re.sub("|".join(values), lambda match: values[match[0]], _BODY)
    return header(spec, counts, *note) + body


def load(spec: TrainerSpec) -> dict[str, Any]:
    """Arguments of ``FastLanguageModel.from_pretrained``."""
    run = spec.run
    return {
        "model_name": spec.base_model,
        **({"revision": spec.revision} if spec.revision else {}),
        "max_seq_length": run.max_length,
        "load_in_4bit": run.method == "qlora",
        "load_in_8bit": False,
        "full_finetuning": run.method == "full",
        "trust_remote_code": False,
    }


def adapter(spec: TrainerSpec) -> dict[str, Any] | None:
    """Arguments of ``FastLanguageModel.get_peft_model``; None for full fine-tuning."""
    run = spec.run
    if run.method == "full":
        return None
    return {
        "r": run.lora.r,
        "lora_alpha": run.lora.alpha,
        "lora_dropout": run.lora.dropout,
        "target_modules": list(_LINEAR if run.lora.targets == "all-linear" else run.lora.targets),
        "bias": "none",
        "use_gradient_checkpointing": run.activation_checkpointing,
        "random_state": run.seed,
    }


def arguments(spec: TrainerSpec, counts: RowCounts) -> dict[str, Any]:
    """Arguments of ``SFTConfig``. The script chooses the precision where the run has ``auto``."""
    run = spec.run
    steps = run.max_steps if run.max_steps is not None else -1
    values: dict[str, Any] = {
        "output_dir": "out",
        "max_length": run.max_length,
        "packing": False,
        "completion_only_loss": True,
        "per_device_train_batch_size": run.batch_size,
        "per_device_eval_batch_size": run.batch_size,
        "gradient_accumulation_steps": accumulation(spec),
        "num_train_epochs": run.epochs,
        "max_steps": steps,
        "learning_rate": run.learning_rate,
        "lr_scheduler_type": run.scheduler,
        "warmup_steps": round(run.warmup_ratio * counts.steps),
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": run.seed,
        "data_seed": run.seed,
        "logging_steps": 1,
        "report_to": list(run.trackers) or "none",
        **precision(spec, None),
        "eval_strategy": "steps" if counts.validation else "no",
        "save_strategy": "steps",
        "save_steps": counts.eval_steps if counts.validation else counts.steps,
        "save_total_limit": 2,
    }
    if counts.validation:
        values["eval_steps"] = counts.eval_steps
    if counts.validation and run.early_stopping:
        values |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": False}
    return values


def _literal(value: Any) -> str:
    """Plain values as a Python expression: ``json.loads`` of a quoted text, so that no value can inject code."""
    return f"json.loads({json.dumps(value)!r})"


_BODY = '''
from unsloth import FastLanguageModel  # first: it changes the packages below

import json

import torch
from datasets import load_dataset
from transformers import EarlyStoppingCallback
from trl import SFTConfig, SFTTrainer

LOAD = @LOAD@
ADAPTER = @ADAPTER@
ARGUMENTS = @ARGUMENTS@
PATIENCE = @PATIENCE@

if ARGUMENTS["bf16"] is None:
    ARGUMENTS["bf16"] = torch.cuda.is_bf16_supported()
    ARGUMENTS["fp16"] = not ARGUMENTS["bf16"]

model, tokenizer = FastLanguageModel.from_pretrained(**LOAD)
tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
if ADAPTER is not None:
    model = FastLanguageModel.get_peft_model(model, **ADAPTER)


def tokenized(row):
    """Prompt and completion are tokenized separately and joined, as in generation."""
    prompt = tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
    completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
    ids = prompt + completion
    if len(ids) > ARGUMENTS["max_length"]:
        raise SystemExit(f"A row has {len(ids)} tokens; the limit is {ARGUMENTS['max_length']}. Nothing is truncated.")
    return {"input_ids": ids, "completion_mask": [0] * len(prompt) + [1] * len(completion)}


def rows(name):
    dataset = load_dataset("json", data_files=name, split="train")
    return dataset.map(tokenized, remove_columns=dataset.column_names)


trainer = SFTTrainer(
    model=model,
    processing_class=tokenizer,
    args=SFTConfig(**ARGUMENTS),
    train_dataset=rows("train.jsonl"),
    eval_dataset=rows("validation.jsonl") if ARGUMENTS["eval_strategy"] == "steps" else None,
    callbacks=[EarlyStoppingCallback(PATIENCE)] if PATIENCE else [],
)
trainer.train()
model.save_pretrained("out/adapter" if ADAPTER is not None else "out/model")
tokenizer.save_pretrained("out/adapter" if ADAPTER is not None else "out/model")
'''


def _files(spec: TrainerSpec, counts: RowCounts) -> dict[str, str]:
    return {SCRIPT: script(spec, counts)}


TRAINER = Trainer(
    name="unsloth",
    title="Unsloth",
    description="This run's settings as a training script, with the same rows.",
    note="The script compiles and its values are checked, but it has not been run on a GPU.",
    row=row,
    files=_files,
)
