"""Proposals and pruning by Optuna, from trials as they are stored. Pure: the same trials give the same answer.

Optuna keeps no state of its own: for each question a study in memory is filled from the rows. Its storage in a database
would need a second set of tables with migrations of its own, and the same facts as the runs in two places.
"""

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from training.search.study import EVALUATIONS, SearchSpec, Trial

#: of the trials that reach an evaluation, one in so many goes on
REDUCTION = 2
_STATES = {
    "running": TrialState.RUNNING,
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
}
# It warns that the rank, which full fine-tuning lacks, is sampled apart from the rest.
optuna.logging.set_verbosity(optuna.logging.ERROR)


def propose(spec: SearchSpec, past: Sequence[Trial]) -> dict[str, Any]:
    """The parameters of the next trial, by the tree-structured Parzen estimator (Bergstra et al. 2011).

    A third of all trials, at most ten, are drawn at random first.
    """
    startup = min(10, max(2, spec.trials // 3))
    sampler = optuna.samplers.TPESampler(seed=spec.seed + len(past), n_startup_trials=startup)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials([_frozen(spec, trial) for trial in past if trial.state in _STATES])
    trial = study.ask()
    method = trial.suggest_categorical("method", list(spec.method))
    (slow, fast), (few, many) = spec.learning_rate, spec.epochs
    trial.suggest_float("learning_rate", slow, fast, log=True)
    trial.suggest_int("epochs", few, many)
    trial.suggest_categorical("batch", list(spec.batch))
    if method != "full":
        trial.suggest_categorical("lora_r", list(spec.lora_r))
    rounded = float(f"{trial.params['learning_rate']:.3g}")  # three digits are enough, and can be read
    return {**trial.params, "learning_rate": min(max(rounded, slow), fast)}


def prunes(spec: SearchSpec, others: Sequence[Trial], current: Trial) -> bool:
    """Whether the current trial is to end at its newest evaluation.

    Asynchronous successive halving (Li et al. 2020): at evaluation 1, 2, 4, ... a trial goes on where it is among the
    best half of those that got there.
    """
    if not current.values or len(current.values) >= EVALUATIONS:
        return False
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.add_trials([_frozen(spec, trial) for trial in others if trial.state in _STATES])
    study.add_trial(_frozen(spec, current, judged=len(current.values) - 1))
    return bool(pruner.prune(study, study.get_trials(deepcopy=False)[-1]))


def _frozen(spec: SearchSpec, trial: Trial, judged: int | None = None) -> FrozenTrial:
    """As Optuna stores it. Its pruner notes in the trial what it had at evaluations 1, 2, 4, ...; ``judged``: up to
    which evaluation it has, by default all.
    """
    (slow, fast), (few, many) = spec.learning_rate, spec.epochs
    known: dict[str, BaseDistribution] = {
        "method": CategoricalDistribution(list(spec.method)),
        "learning_rate": FloatDistribution(slow, fast, log=True),
        "epochs": IntDistribution(few, many),
        "batch": CategoricalDistribution(list(spec.batch)),
        "lora_r": CategoricalDistribution(list(spec.lora_r)),
    }
    values = trial.values[:judged]
    rungs = {
        f"completed_rung_{rung}": values[REDUCTION**rung - 1] for rung in range(8) if len(values) >= REDUCTION**rung
    }
    return create_trial(
        state=_STATES[trial.state],
        value=trial.value if trial.state == "complete" else None,
        params=dict(trial.parameters),
        distributions={name: known[name] for name in trial.parameters},
        intermediate_values=dict(enumerate(trial.values, start=1)),
        system_attrs=rungs,
    )
