"""What tells runs of a project apart. Nothing here writes."""

from collections.abc import Sequence

from training.models import TrainingRun
from training.runs.curves import spec_of
from training.runs.differences import Difference, Side, differences
from training.runs.services import knobs_of


def side_of(run: TrainingRun) -> Side:
    """A run for ``differences``; its dataset with schema version, and its base model, are read."""
    spec = spec_of(run)
    facts = {
        "Base model": f"{run.base_model} {spec.base_model.sha256[:8] if spec else ''}".strip(),
        "Dataset": f"v{run.dataset.number}",
        "Schema": f"v{run.dataset.schema_version.number}",
        "Instruction": run.dataset.instruction.strip(),
        "Prompt": {"chat": "chat template", "plain": "plain"}.get(spec.prompt, spec.prompt) if spec else "–",
    }
    return Side(facts, knobs_of(spec) if spec else None)


def differences_of(runs: Sequence[TrainingRun]) -> list[Difference]:
    """Only what is not the same in all of the runs."""
    return differences([side_of(run) for run in runs])
