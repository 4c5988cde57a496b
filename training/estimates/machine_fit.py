"""Whether a machine can do a run: a run is started for the ablest worker, and any worker may take it."""

from redis.exceptions import RedisError

from slmstudio.workers import registry as worker_registry
from slmstudio.workers.hardware import Hardware
from training.estimates.machines import abilities_of
from training.estimates.services import estimate_for
from training.models import TrainingRun
from training.runs.presets import Knobs, problems

#: what a machine decides besides its memory
_OF_THE_MACHINE = ("devices", "method", "precision", "trackers")


def unfit(run: TrainingRun, knobs: Knobs, machine: Hardware) -> str:
    """Why a machine cannot do a run, with the knob to turn; empty where it can, or where nobody can say."""
    found = problems(knobs, **abilities_of(machine))
    said = [found[name] for name in _OF_THE_MACHINE if name in found]
    if not said:
        foretold = estimate_for(dataset=run.dataset, base_model=run.base_model, knobs=knobs, hardware=machine)
        refusals = foretold.refusals if foretold is not None else {}
        said = [sentence for name, sentence in refusals.items() if name != "disk"]
    return " ".join(said)


def somebody_fits(run: TrainingRun, knobs: Knobs) -> bool:
    """Whether a live worker of the run's queue could do it; so it is taken where the queue does not answer."""
    try:
        machines = worker_registry.hardware_by_worker(run.queue_name)
    except RedisError:
        return True
    return any(not unfit(run, knobs, machine) for machine in machines)
