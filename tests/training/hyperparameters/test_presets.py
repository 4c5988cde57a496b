"""Hyperparameters: presets, validation and texts."""

from dataclasses import replace
from typing import Any

import pytest

from labeling.demo.templates import template
from slmstudio.contract.schema.compiled import compile_schema
from training.hyperparameters.definitions import Hyperparameters
from training.hyperparameters.display import describe, exact_text
from training.hyperparameters.presets import TASKS, Task, encoder_preset, preset, task_of, with_effective_batch
from training.hyperparameters.validation import problems


@pytest.mark.parametrize("task", TASKS)
def test_every_preset_is_valid(task: Task) -> None:
    for rows in (1, 60, 61, 400, 401, 2000, 2001, 100_000):
        for method in ("lora", "qlora", "full"):
            hyperparameters = preset(rows, method, task)
            assert hyperparameters.method == method
            assert problems(hyperparameters, cuda=True) == {}, (rows, method)


def test_task_is_derived_from_the_schema() -> None:
    for slug, expected in (
        ("receipt", "extraction"),
        ("invoice-with-lines", "extraction"),  # its currency is a class, but decides nothing
        ("ticket-routing", "classification"),
        ("policy-check", "extraction"),  # it also copies a passage
        ("pii-redaction", "redaction"),
    ):
        assert task_of(compile_schema(template(slug).schema).fields) == expected, slug
    label, spam = {"enum": ["a", "b"]}, {"type": "boolean"}

    def task(**fields: object) -> Task:
        return task_of(compile_schema({"type": "object", "properties": fields}).fields)

    assert task(label=label, spam={"type": ["boolean", "null"]}) == "classification"
    assert task(spam=spam) == "classification"
    assert task(label=label, spam=spam, name={"type": "string"}) == "extraction"
    assert task(label=label, flags={"type": "array", "items": spam}) == "extraction"


def test_fewer_documents_get_smaller_batches_and_more_epochs() -> None:
    few, many = preset(50), preset(5000)
    assert few.effective_batch < many.effective_batch
    assert few.epochs > many.epochs
    assert few.steps(50) > 50  # a run of a handful of steps learns nothing


def test_full_fine_tuning_has_a_lower_learning_rate_and_augments_extractions() -> None:
    assert preset(300, "full").learning_rate < preset(300).learning_rate
    methods: tuple[str, ...] = ("lora", "qlora", "full")
    augmented = {
        (task, method) for task in TASKS for method in methods if preset(300, method, task).augmentation != "none"
    }
    assert augmented == {("extraction", "full")}


@pytest.mark.parametrize("task", TASKS)
def test_every_preset_of_an_encoder_is_valid_for_it(task: Task) -> None:
    for rows in (1, 60, 61, 1000, 1001, 100_000):
        for method in ("lora", "full"):
            tried = encoder_preset(rows, 22_000_000, 256, method, task)
            assert problems(tried, 256, encoder=True) == {}, (rows, method)
            assert (tried.method, tried.augmentation == "exchange") == (method, task == "extraction")
            assert (4 <= tried.epochs <= 10, tried.batch_size <= 16) == (True, True)
    small, base = encoder_preset(500, 22_000_000), encoder_preset(500, 149_000_000, 8192)
    assert (small.learning_rate, base.learning_rate, base.max_length) == (1e-4, 5e-5, 512)
    assert (base.best_metric, base.sample_documents, base.weight_averaging) == ("field_accuracy", 50, "none")


def test_what_an_encoder_cannot_do_has_a_message() -> None:
    tried = replace(encoder_preset(500, 1), method="qlora", max_length=513, too_long="leave_out")
    assert set(problems(tried, 8192, cuda=True, encoder=True)) == {"method", "max_length", "too_long"}
    assert set(problems(Hyperparameters(without_heads=("total",)))) == {"without_heads"}


def test_invalid_value_has_a_message() -> None:
    for name, values in {
        "max_length": (15, 40_000),
        "batch_size": (0,),
        "accumulation": (0,),
        "learning_rate": (0.0, -1e-4, float("nan"), float("inf"), 0.5),
        "epochs": (0.0, 1e9),
        "lora_r": (0,),
        "lora_alpha": (0,),
        "lora_dropout": (1.0,),
        "warmup_ratio": (-0.1,),
        "seed": (-1, 2**31),
        "method": ("magic", "qlora"),
        "scheduler": ("sawtooth",),
        "precision": ("fp7", "fp16"),
        "too_long": ("cut",),
        "devices": (2, 0),
        "early_stopping": (0,),
        "trackers": (("mlflow",),),
        "augmentation": ("shuffle",),
    }.items():
        for value in values:
            changed: dict[str, Any] = {name: value}
            assert list(problems(replace(Hyperparameters(), **changed))) == [name], value


def test_gpu_options_are_accepted_with_a_gpu() -> None:
    hyperparameters = replace(Hyperparameters(), method="qlora", precision="fp16", devices=2)
    assert problems(hyperparameters, cuda=True, gpus=2) == {}
    assert set(problems(hyperparameters)) == {"method", "precision", "devices"}
    shared = with_effective_batch(hyperparameters, 16)
    assert (shared.batch_size, shared.accumulation, shared.effective_batch) == (8, 1, 16)


def test_length_over_the_context_is_rejected() -> None:
    assert "2,048" in problems(Hyperparameters(max_length=4096), context=2048)["max_length"]
    assert problems(Hyperparameters(max_length=2048), context=2048) == {}


def test_effective_batch_is_exact() -> None:
    for effective, device_batch, batch, accumulation in (
        (4, 8, 4, 1), (16, 8, 8, 2), (12, 8, 6, 2), (7, 4, 1, 7), (1, 8, 1, 1), (64, 1, 1, 64),
    ):  # fmt: skip
        hyperparameters = with_effective_batch(Hyperparameters(), effective, device_batch)
        assert (hyperparameters.batch_size, hyperparameters.accumulation) == (batch, accumulation)
        assert hyperparameters.effective_batch == effective


def test_steps_count_the_last_batch_and_partial_epochs() -> None:
    hyperparameters = Hyperparameters(batch_size=4, accumulation=2, epochs=1.5)
    assert hyperparameters.steps(17) == 5  # 3 steps an epoch, one and a half epochs, rounded up
    assert hyperparameters.steps(0) == 0


def test_description_shows_presets_of_changed_values_only() -> None:
    usual = preset(100)
    lines = describe(replace(usual, learning_rate=2e-4, seed=4), usual)
    changed = {title: (text, preset_text) for title, text, preset_text, _ in lines if preset_text}
    assert changed.keys() == {"Learning rate", "Seed"}
    assert changed["Learning rate"] == ("0.0002", "0.001")
    assert not any(title.startswith("LoRA") for title, *_ in describe(preset(100, "full"), preset(100, "full")))


def test_numbers_are_shown_exactly() -> None:
    usual = replace(preset(100), learning_rate=2.12e-05)
    [line] = [line for line in describe(replace(usual, learning_rate=2.125e-05), usual) if line[2]]
    assert line[1:3] == ("2.125e-05", "2.12e-05")
    assert [exact_text(value) for value in (0.001, 3.0, 0.0, 0.1234567)] == ["0.001", "3", "0", "0.1234567"]


def test_missing_package_message_names_what_to_install() -> None:
    hyperparameters = Hyperparameters(method="qlora", trackers=("tensorboard", "wandb"))
    assert problems(hyperparameters, cuda=True) == {}
    missing = problems(hyperparameters, cuda=True, missing={"wandb", "bitsandbytes"})
    assert set(missing) == {"method", "trackers"}
    assert "Install it on the worker: pip install bitsandbytes" in missing["method"]
    assert "Install it on the worker: pip install wandb" in missing["trackers"]
    assert problems(Hyperparameters(trackers=("tensorboard",)), missing={"wandb", "bitsandbytes"}) == {}
