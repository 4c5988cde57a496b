"""Differences between runs, in the order of the runs."""

from dataclasses import replace

from training.hyperparameters.values import Hyperparameters
from training.runs.differences import RunSettings, differences

FACTS = {"Base model": "tiny", "Dataset": "v1"}


def lines(*sides: RunSettings) -> dict[str, tuple[str, ...]]:
    return {line.title: line.values for line in differences(sides)}


def test_equal_runs_have_no_differences() -> None:
    assert lines(RunSettings(FACTS, Hyperparameters()), RunSettings(FACTS, Hyperparameters())) == {}


def test_only_differences_are_listed() -> None:
    other = replace(Hyperparameters(), learning_rate=3e-4, batch_size=2, trackers=("wandb",))
    found = lines(
        RunSettings(FACTS, Hyperparameters()),
        RunSettings({**FACTS, "Dataset": "v2"}, other),
        RunSettings(FACTS, Hyperparameters()),
    )
    assert found == {
        "Dataset": ("v1", "v2", "v1"),
        "Batch size": ("8 documents", "2 documents", "8 documents"),
        "Learning rate": ("0.001", "0.0003", "0.001"),
        "Trackers": ("none", "Weights & Biases", "none"),
    }


def test_lora_settings_are_ignored_for_full_fine_tuning() -> None:
    found = lines(
        RunSettings(FACTS, Hyperparameters()), RunSettings(FACTS, replace(Hyperparameters(), method="full", lora_r=99))
    )
    assert found["LoRA rank"] == ("16", "–")


def test_unreadable_spec_is_a_dash() -> None:
    assert lines(RunSettings(FACTS, Hyperparameters()), RunSettings(FACTS, None))["Seed"] == ("17", "–")
