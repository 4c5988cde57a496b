"""What tells runs apart: only what differs, in the order of the runs."""

from dataclasses import replace

from training.runs.differences import Side, differences
from training.runs.presets import Knobs

FACTS = {"Base model": "tiny", "Dataset": "v1"}


def lines(*sides: Side) -> dict[str, tuple[str, ...]]:
    return {line.title: line.values for line in differences(sides)}


def test_runs_that_are_the_same_differ_in_nothing() -> None:
    assert lines(Side(FACTS, Knobs()), Side(FACTS, Knobs())) == {}


def test_only_what_differs_is_listed_in_words() -> None:
    other = replace(Knobs(), learning_rate=3e-4, batch_size=2, trackers=("wandb",))
    found = lines(Side(FACTS, Knobs()), Side({**FACTS, "Dataset": "v2"}, other), Side(FACTS, Knobs()))
    assert found == {
        "Dataset": ("v1", "v2", "v1"),
        "Batch size": ("8 documents", "2 documents", "8 documents"),
        "Learning rate": ("0.001", "0.0003", "0.001"),
        "Trackers": ("none", "Weights & Biases", "none"),
    }


def test_knobs_of_an_adapter_say_nothing_of_a_full_fine_tuning() -> None:
    found = lines(Side(FACTS, Knobs()), Side(FACTS, replace(Knobs(), method="full", lora_r=99)))
    assert found["LoRA rank"] == ("16", "–")


def test_a_spec_that_cannot_be_read_is_a_dash() -> None:
    assert lines(Side(FACTS, Knobs()), Side(FACTS, None))["Seed"] == ("17", "–")
