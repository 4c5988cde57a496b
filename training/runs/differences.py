"""Differences between the settings of runs, as text. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.hyperparameters.display import TITLES, describe_value
from training.hyperparameters.values import Hyperparameters


@dataclass(frozen=True)
class RunSettings:
    """The inputs of a run by title (``Base model``, ``Dataset``, ``Prompt``, ...) and its hyperparameters.

    ``hyperparameters`` is None where the spec cannot be read.
    """

    facts: Mapping[str, str]
    hyperparameters: Hyperparameters | None


@dataclass(frozen=True)
class RunDifference:
    """One setting that differs, with the value of each run in the order of the runs."""

    title: str
    values: tuple[str, ...]


def differences(sides: Sequence[RunSettings]) -> list[RunDifference]:
    """The settings that differ between the runs: inputs first, then hyperparameters."""
    titles = list(dict.fromkeys(title for side in sides for title in side.facts))
    lines = [RunDifference(title, tuple(side.facts.get(title, "–") for side in sides)) for title in titles]
    for name, title in TITLES.items():
        lines.append(RunDifference(title, tuple(_value_text(name, side.hyperparameters) for side in sides)))
    return [line for line in lines if len(set(line.values)) > 1]


def _value_text(name: str, hyperparameters: Hyperparameters | None) -> str:
    if hyperparameters is None or (name.startswith("lora_") and hyperparameters.method == "full"):
        return "–"
    return describe_value(name, hyperparameters)
