"""Whether a machine can train a run: a run is planned for the most capable worker, and any worker can claim it."""

from redis.exceptions import RedisError

from slmstudio.workers import live_workers
from slmstudio.workers.hardware import Hardware
from training.estimates.machines import capabilities_of
from training.estimates.services import estimate_for
from training.hyperparameters.validation import problems
from training.hyperparameters.values import Hyperparameters
from training.models import TrainingRun

#: hyperparameters that depend on the machine, besides its memory
MACHINE_SETTINGS = ("devices", "method", "precision", "trackers")


def capability_problem(run: TrainingRun, hyperparameters: Hyperparameters, machine: Hardware) -> str:
    """Why a machine cannot train a run, with what to change; empty where it can, or where that is unknown."""
    found = problems(hyperparameters, **capabilities_of(machine))
    messages = [found[name] for name in MACHINE_SETTINGS if name in found]
    if not messages:
        estimate = estimate_for(
            dataset=run.dataset, base_model=run.base_model, hyperparameters=hyperparameters, hardware=machine
        )
        memory_problems = estimate.problems if estimate is not None else {}
        messages = [message for name, message in memory_problems.items() if name != "disk"]
    return " ".join(messages)


def any_worker_fits(run: TrainingRun, hyperparameters: Hyperparameters) -> bool:
    """Whether a live worker of the run's queue can train it; assumed where the queue is not reachable."""
    try:
        machines = live_workers.hardware_by_worker(run.queue_name)
    except RedisError:
        return True
    return any(not capability_problem(run, hyperparameters, machine) for machine in machines)
