"""Differences between the settings of runs of a project, as text."""

from collections.abc import Sequence

from training.hyperparameters.display import TITLES, describe_value
from training.models import TrainingRun
from training.runs.curves import spec_of
from training.runs.run_spec import hyperparameters_of


def differences_of(runs: Sequence[TrainingRun]) -> list[tuple[str, tuple[str, ...]]]:
    """The settings that differ between the runs, inputs first: their title, and the value of each run in order."""
    sides = [_settings(run) for run in runs]
    lines = [(title, tuple(side[title] for side in sides)) for title in sides[0]]
    return [(title, values) for title, values in lines if len(set(values)) > 1]


def _settings(run: TrainingRun) -> dict[str, str]:
    """The settings of a run by title; reads its dataset with schema version and its base model."""
    spec = spec_of(run)
    hyperparameters = hyperparameters_of(spec) if spec else None
    settings = {
        "Base model": f"{run.base_model} {spec.base_model.sha256[:8] if spec else ''}".strip(),
        "Dataset": f"v{run.dataset.number}",
        "Schema": f"v{run.dataset.schema_version.number}",
        "Instruction": run.dataset.instruction.strip(),
        "Prompt": {"chat": "chat template", "plain": "plain"}[spec.prompt] if spec else "–",
    }
    for name, title in TITLES.items():
        hidden = hyperparameters is None or (name.startswith("lora_") and hyperparameters.method == "full")
        settings[title] = "–" if hyperparameters is None or hidden else describe_value(name, hyperparameters)
    return settings
