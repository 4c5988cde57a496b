"""Proposals and pruning, with a made-up objective."""

import math
from typing import Any

from training.search.optimizer import propose, prunes
from training.search.study import SearchSpec, Trial

SPEC = SearchSpec.model_validate({"dataset": 1, "base_model": "m", "method": ("lora", "full")})


def objective(parameters: dict[str, Any]) -> float:
    """The highest at a learning rate of 0.001 and four epochs."""
    return 0.9 - 0.2 * abs(math.log10(parameters["learning_rate"]) + 3) - 0.02 * abs(parameters["epochs"] - 4)


def running(parameters: dict[str, Any], *values: float) -> Trial:
    return Trial(0, parameters, values=list(values))


def complete(parameters: dict[str, Any], *values: float) -> Trial:
    return Trial(0, parameters, state="complete", values=list(values), value=values[-1])


def search(trials: int, seed: int = 1) -> list[Trial]:
    """A whole search, one trial after the other; each nears its final value over four evaluations."""
    spec = SPEC.model_copy(update={"seed": seed, "trials": trials})
    past: list[Trial] = []
    for _ in range(trials):
        trial = running(propose(spec, past))
        for share in (0.5, 0.7, 0.9, 1.0):
            trial.values.append(share * objective(trial.parameters))
            if prunes(spec, past, trial):
                trial.state = "pruned"
                break
        else:
            trial.state, trial.value = "complete", trial.values[-1]
        past.append(trial)
    return past


def test_proposals_are_in_the_space_and_the_same_for_the_same_trials() -> None:
    past = search(12)
    for trial in past:
        parameters = trial.parameters
        assert SPEC.learning_rate[0] <= parameters["learning_rate"] <= SPEC.learning_rate[1]
        assert SPEC.epochs[0] <= parameters["epochs"] <= SPEC.epochs[1]
        assert parameters["batch"] in SPEC.batch
        assert ("lora_r" in parameters) == (parameters["method"] == "lora")
    assert propose(SPEC, past) == propose(SPEC, past)
    assert propose(SPEC, past) != propose(SPEC.model_copy(update={"seed": 2}), past)


def test_later_trials_are_better_than_the_first_ones() -> None:
    early, late = 0.0, 0.0
    for seed in range(2):
        values = [objective(dict(trial.parameters)) for trial in search(24, seed=seed)]
        early, late = early + sum(values[:8]), late + sum(values[-8:])
    assert late - early > 2 * 8 * 0.02


def test_pruning_saves_evaluations_and_keeps_the_best() -> None:
    past = search(24)
    pruned = [trial for trial in past if trial.state == "pruned"]
    assert len(pruned) >= 5
    assert sum(len(trial.values) for trial in past) < 0.85 * 4 * len(past)
    best = max(past, key=lambda trial: objective(dict(trial.parameters)))
    assert best.state == "complete"


def test_the_worse_of_two_ends_at_the_first_evaluation() -> None:
    parameters = {"method": "lora", "learning_rate": 1e-3, "epochs": 2, "batch": 8, "lora_r": 16}
    good = complete(parameters, 0.6, 0.7, 0.8, 0.9)
    assert prunes(SPEC, [good], running(parameters, 0.5))
    assert not prunes(SPEC, [good], running(parameters, 0.61))
    assert prunes(SPEC, [good], running(parameters, 0.61, 0.65))
    assert not prunes(SPEC, [good], running(parameters, 0.61, 0.75, 0.1))
    assert not prunes(SPEC, [good], running(parameters, *[0.1] * 4)), "the last evaluation never prunes"
    assert not prunes(SPEC, [good], running(parameters))
