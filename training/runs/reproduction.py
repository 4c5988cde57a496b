"""The spec that reproduces a run: its own, with the measured precision in place of ``auto``. Reads only."""

from dataclasses import replace

from slmstudio.runs.models import Status
from training.models import TrainingRun
from training.spec import RunSpec
from training.strict_yaml import SpecError


def resolved_spec(run: TrainingRun, spec: RunSpec) -> RunSpec:
    """The spec of a run; for one that is done, with the precision that ``auto`` resolved to.

    On a CPU ``auto`` is decided by timing, so the next run could use another precision and train another model.
    """
    precision = run.facts.get("precision")
    if run.status != Status.DONE or spec.precision != "auto" or precision not in ("fp32", "bf16"):
        return spec
    return replace(spec, precision=precision)


def reproducible_spec_text(run: TrainingRun) -> str:
    """The file that reproduces a run: the text it was started with, if that is complete."""
    try:
        spec = RunSpec.from_yaml(run.spec)
    except SpecError:
        return run.spec
    ran = resolved_spec(run, spec)
    if ran == spec:
        return run.spec
    head = f"# Started with precision: auto, which resolved to {ran.precision}; this file reproduces the run.\n"
    return head + ran.to_yaml()
