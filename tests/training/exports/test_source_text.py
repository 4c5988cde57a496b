"""Files for other trainers: every hyperparameter by value, user text verbatim and never as code."""

import ast
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.exports.child_specs import TrainerSpec
from training.exports.trainers import axolotl, unsloth
from training.exports.trainers.base import RowCounts
from training.spec import ContractRef, DatasetRef, Lora, ModelRef, RunSpec

COUNTS = RowCounts(train=400, validation=40, steps=150, eval_steps=38, longest=900)
HOSTILE = 'x"""\n\'\'\'); import os; os.system("id") #\r\u2028- a: !!python/object:os.system [id]\x85{{ 7*7 }}\\'


def spec(title: str = "", base_model: str = "base", revision: str = "", **changes: Any) -> TrainerSpec:
    run = RunSpec(
        base_model=ModelRef(path="base", sha256="0" * 64, slug=changes.pop("slug", "base")),
        dataset=DatasetRef(path="dataset.jsonl", sha256="1" * 64),
        contract=ContractRef(instruction="Extract.", schema={"type": "object"}),
        output_dir="/somewhere/else",
    )
    run = replace(run, **changes)
    return TrainerSpec(
        run=run, trainer="axolotl", output_dir="out", base_model=base_model, revision=revision, title=title
    )


runs = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["lora", "qlora", "full"]),
        "lora": st.builds(
            Lora,
            r=st.integers(1, 512),
            alpha=st.integers(1, 2048),
            dropout=st.floats(0, 0.9),
            targets=st.one_of(st.just("all-linear"), st.just(("q_proj", "o_proj"))),
        ),
        "max_length": st.integers(16, 32768),
        "batch_size": st.integers(1, 512),
        "accumulation": st.integers(1, 1024),
        "learning_rate": st.floats(1e-8, 0.1),
        "scheduler": st.sampled_from(["cosine", "linear", "constant"]),
        "warmup_ratio": st.floats(0, 0.9),
        "epochs": st.floats(0.01, 100),
        "max_steps": st.one_of(st.none(), st.integers(1, 10_000)),
        "precision": st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
        "activation_checkpointing": st.booleans(),
        "seed": st.integers(0, 2**31 - 1),
        "early_stopping": st.one_of(st.none(), st.integers(1, 20)),
        "trackers": st.sampled_from([(), ("tensorboard",), ("tensorboard", "wandb")]),
    }
)


#: the first draw builds tables of Unicode, which takes seconds on a busy machine
patient = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(runs)
def test_axolotl_config_has_every_hyperparameter(hyperparameters: dict[str, Any]) -> None:
    wanted = spec(**hyperparameters)
    run, written = wanted.run, yaml.safe_load(axolotl.config(wanted, COUNTS))
    assert written == axolotl.settings(wanted, COUNTS)  # YAML loses nothing, no exponent becomes a text
    assert (written["sequence_len"], written["seed"]) == (run.max_length, run.seed)
    assert (written["micro_batch_size"], written["gradient_accumulation_steps"]) == (run.batch_size, run.accumulation)
    assert (written["learning_rate"], written["lr_scheduler"]) == (run.learning_rate, run.scheduler)
    assert written["warmup_steps"] == round(run.warmup_ratio * COUNTS.steps)
    assert written.get("max_steps") == run.max_steps
    assert written.get("num_epochs") == (run.epochs if run.max_steps is None else None)
    assert written["gradient_checkpointing"] == run.activation_checkpointing
    expected = {"auto": ("auto", False), "fp32": (False, False), "bf16": (True, False), "fp16": (False, True)}
    assert (written["bf16"], written["fp16"]) == expected[run.precision]
    assert written.get("adapter") == (None if run.method == "full" else run.method)
    assert written.get("load_in_4bit", False) == (run.method == "qlora")
    if run.method != "full":
        assert (written["lora_r"], written["lora_alpha"], written["lora_dropout"]) == (
            run.lora.r, run.lora.alpha, run.lora.dropout,
        )  # fmt: skip
        assert written.get("lora_target_linear", False) == (run.lora.targets == "all-linear")
    assert (written["excess_length_strategy"], written["sample_packing"]) == ("raise", False)
    assert written.get("use_tensorboard", False) == ("tensorboard" in run.trackers)


@patient
@given(runs)
def test_unsloth_script_has_every_hyperparameter(hyperparameters: dict[str, Any]) -> None:
    wanted = spec(**hyperparameters)
    run, written = wanted.run, values(unsloth.script(wanted, COUNTS))
    arguments, adapter = written["ARGUMENTS"], written["ADAPTER"]
    assert (arguments["max_length"], arguments["seed"]) == (run.max_length, run.seed)
    assert arguments["per_device_train_batch_size"] == run.batch_size
    assert arguments["gradient_accumulation_steps"] == run.accumulation
    assert (arguments["learning_rate"], arguments["lr_scheduler_type"]) == (run.learning_rate, run.scheduler)
    assert arguments["num_train_epochs"] == run.epochs
    assert arguments["max_steps"] == (run.max_steps or -1)
    assert (arguments["completion_only_loss"], arguments["packing"]) == (True, False)
    expected = {"auto": (None, False), "fp32": (False, False), "bf16": (True, False), "fp16": (False, True)}
    assert (arguments["bf16"], arguments["fp16"]) == expected[run.precision]
    assert written["LOAD"]["load_in_4bit"] == (run.method == "qlora")
    assert written["LOAD"]["full_finetuning"] == (run.method == "full")
    assert written["PATIENCE"] == run.early_stopping
    assert (adapter is None) == (run.method == "full")
    if adapter is not None:
        assert (adapter["r"], adapter["lora_alpha"], adapter["lora_dropout"]) == (
            run.lora.r, run.lora.alpha, run.lora.dropout,
        )  # fmt: skip


def values(script: str) -> dict[str, Any]:
    """The upper-case names a script gives values to, without running it."""
    compile(script, "unsloth_train.py", "exec")
    constants: dict[str, Any] = {}
    for node in ast.parse(script).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            value = node.value
            if isinstance(value, ast.Call):
                assert isinstance(value.func, ast.Attribute)
                assert value.func.attr == "loads"
                constants[node.targets[0].id] = json.loads(ast.literal_eval(value.args[0]))
            else:
                constants[node.targets[0].id] = ast.literal_eval(value)
    return constants


@pytest.mark.parametrize("hostile", [HOSTILE, "\n\nbase_model: evil", "@ADAPTER@ @PATIENCE@"])
def test_user_text_stays_a_comment_or_a_value(hostile: str) -> None:
    mean = spec(title=hostile, slug=hostile, base_model=hostile, revision=hostile)
    harmless = spec(base_model=hostile, revision=hostile)
    assert yaml.safe_load(axolotl.config(mean, COUNTS)) == axolotl.settings(harmless, COUNTS)
    script = unsloth.script(mean, COUNTS)
    assert values(script)["LOAD"]["model_name"] == hostile
    assert ast.dump(ast.parse(script)) == ast.dump(ast.parse(unsloth.script(harmless, COUNTS)))


def test_early_stopping_sets_evaluation_and_save_steps_where_rows_validate() -> None:
    written = axolotl.settings(spec(early_stopping=3, save_every=5), COUNTS)
    assert (written["eval_strategy"], written["save_strategy"]) == ("steps", "steps")
    assert written["eval_steps"] == written["save_steps"] == COUNTS.eval_steps
    assert written["early_stopping_patience"] == 3
    assert written["load_best_model_at_end"] is True
    blind = replace(COUNTS, validation=0)
    without = axolotl.settings(spec(early_stopping=3), blind)
    assert without["eval_strategy"] == "no"
    assert not {"test_datasets", "early_stopping_patience", "load_best_model_at_end"} & without.keys()
    assert values(unsloth.script(spec(early_stopping=3), blind))["PATIENCE"] is None


def test_effective_batch_is_kept_on_one_gpu() -> None:
    of_two = spec(batch_size=4, accumulation=3, devices=2)
    written = axolotl.settings(of_two, COUNTS)
    assert written["micro_batch_size"] * written["gradient_accumulation_steps"] == 4 * 3 * 2
    given_ = unsloth.arguments(of_two, COUNTS)
    assert given_["per_device_train_batch_size"] * given_["gradient_accumulation_steps"] == 4 * 3 * 2
    assert "over 2 GPUs" in axolotl.config(of_two, COUNTS)
    assert "--num_processes N" in axolotl.config(of_two, COUNTS)
    assert "over 2 GPUs" in unsloth.script(of_two, COUNTS)
    assert "GPUs" not in axolotl.config(spec(), COUNTS)
