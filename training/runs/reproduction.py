"""The spec that gives a run again: its own, with what the clock decided in it said outright. Nothing here writes."""

from dataclasses import replace

from slmstudio.runs.models import Status
from training.models import TrainingRun
from training.spec import RunSpec
from training.strict_yaml import SpecError


def as_it_ran(run: TrainingRun, spec: RunSpec) -> RunSpec:
    """The spec of a run; of one that is done, with the precision that ``auto`` came to there.

    On a CPU ``auto`` is timed, so it may come out otherwise the next time, and another model with it.
    """
    found = run.facts.get("precision")
    if run.status != Status.DONE or spec.precision != "auto" or found not in ("fp32", "bf16"):
        return spec
    return replace(spec, precision=found)


def spec_text(run: TrainingRun) -> str:
    """The file that gives a run again: the very text it was started with where that says all."""
    try:
        spec = RunSpec.from_yaml(run.spec)
    except SpecError:
        return run.spec
    ran = as_it_ran(run, spec)
    if ran == spec:
        return run.spec
    head = f"# The run was started with precision: auto, which came to {ran.precision}. With that it can be repeated.\n"
    return head + ran.to_yaml()
