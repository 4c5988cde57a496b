"""Differences between runs of a project. Reads only."""

from collections.abc import Sequence

from training.models import TrainingRun
from training.runs.curves import spec_of
from training.runs.differences import RunDifference, RunSettings, differences
from training.runs.run_spec import hyperparameters_of


def settings_of(run: TrainingRun) -> RunSettings:
    """The settings of a run; reads its dataset with schema version and its base model."""
    spec = spec_of(run)
    facts = {
        "Base model": f"{run.base_model} {spec.base_model.sha256[:8] if spec else ''}".strip(),
        "Dataset": f"v{run.dataset.number}",
        "Schema": f"v{run.dataset.schema_version.number}",
        "Instruction": run.dataset.instruction.strip(),
        "Prompt": {"chat": "chat template", "plain": "plain"}.get(spec.prompt, spec.prompt) if spec else "–",
    }
    return RunSettings(facts, hyperparameters_of(spec) if spec else None)


def differences_of(runs: Sequence[TrainingRun]) -> list[RunDifference]:
    """The settings that differ between the runs."""
    return differences([settings_of(run) for run in runs])
