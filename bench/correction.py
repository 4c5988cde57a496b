"""A simulated team that corrects what it sees, and has its model tested on the hold-out in every round.

Documents come in layouts: a few common ones that the model knows, and many rare ones (``tail``: their share of all
documents) that it gets wrong until it is trained on them. In each round the team looks at the failing documents of one
split, labels documents with the same layouts and trains again. The gate tests a rate of right documents on the
hold-out, at the level of its hold-out evaluation. A pass is false where the true rate of the model, over all layouts,
is below the threshold.

On documents of the validation split the team learns what holds for all documents of these layouts, and the hold-out
remains a sample that it knows nothing of. On documents of the hold-out it learns exactly the layouts that the gate
tests: the measured rate rises to 100% whatever the true rate is. The same happens with figures of slices that have
few documents each; with ``MIN_SLICE_DOCUMENTS`` in a slice it does not.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.gate_workflow import Level, counted, critical

#: what the team looks at: failing documents of validation or of the hold-out, or slices of the hold-out by layout
Seen = Literal["validation", "holdout", "slices", "nothing"]


@dataclass(frozen=True)
class Correction:
    """How a team works.

    Args:
        tail: the share of documents in rare layouts.
        layouts: how many rare layouts there are, equally frequent.
        slip: the share of errors on documents of known layouts; they differ from round to round.
        documents: of the hold-out, and of the validation split.
        rounds: trainings, each with a hold-out evaluation.
        seen: what the team looks at.
        least: with ``slices``, how many documents a slice has at least to be shown.
        fresh: whether the validation split has new documents in each round.
        swaps: how many layouts of those that the model knew at first are lost in a round while as many others are
            learned, as training again does.
        known: the share of rare layouts that the model knows at first.
        keeps_better: whether a round is undone if the rate on the hold-out fell, as a team does that follows it.
    """

    tail: float = 0.12
    layouts: int = 400
    slip: float = 0.0
    documents: int = 200
    rounds: int = 10
    seen: Seen = "validation"
    least: int = 1
    fresh: bool = False
    swaps: int = 0
    known: float = 0.0
    keeps_better: bool = False


#: what ``python -m bench.gate_simulation`` simulates; true rates end just below 95% except where the text says so
PLANS = (
    ("what fails on validation is corrected", Correction(tail=0.0535, documents=300)),
    ("the same, with 2.3% other errors", Correction(tail=0.03, slip=0.0225, documents=300)),
    ("the same, with other validation documents in each round", Correction(tail=0.06, layouts=1000, fresh=True)),
    (
        "each training loses and learns 10% of the rare layouts; undone where the rate on the hold-out falls",
        Correction(tail=0.2005, known=0.75, swaps=40, seen="nothing", keeps_better=True, documents=300),
    ),
    (
        "the figures of hold-out slices with at least 20 documents are corrected",
        Correction(seen="slices", least=20, tail=0.48, layouts=16, documents=1000),
    ),
    ("lookalikes of the hold-out are trained on, true rate 89%: not possible", Correction(seen="holdout")),
    ("the figures of all hold-out slices are corrected, true rate 89%: not possible", Correction(seen="slices")),
)


@dataclass(frozen=True)
class Outcome:
    """Shares of simulated teams that pass falsely and that pass, and the mean true rate after the last round."""

    false: float
    passed: float
    rate: float


def simulate(
    rng: np.random.Generator, teams: int, plan: Correction, *, threshold: float = 0.95, level: Level = counted
) -> Outcome:
    """Simulates ``teams`` independent teams."""
    held_out, validation = _layouts(rng, teams, plan), _layouts(rng, teams, plan)
    known = np.zeros((teams, plan.layouts + 1), dtype=bool)
    known[:, : round(plan.known * plan.layouts)] = True
    known[:, plan.layouts] = True  # the common layouts
    passed, false = np.zeros(teams, dtype=bool), np.zeros(teams, dtype=bool)
    best = np.zeros(teams)
    for number in range(1, plan.rounds + 1):
        before = known.copy()
        if plan.fresh:
            validation = _layouts(rng, teams, plan)
        if number > 1:
            _swap(rng, known, plan)
            if plan.seen != "nothing":
                _learn(known, validation if plan.seen == "validation" else held_out, plan)
        good = (np.take_along_axis(known, held_out, axis=1) & (rng.random(held_out.shape) >= plan.slip)).sum(axis=1)
        if plan.keeps_better:
            undone = good < best
            known[undone] = before[undone]
        best = np.maximum(best, good)
        true = _true_rate(known, plan)
        passes = ~passed & (good >= critical(plan.documents, threshold, level(number)))
        false |= passes & (true < threshold)
        passed |= passes
    return Outcome(float(false.mean()), float(passed.mean()), float(_true_rate(known, plan).mean()))


def _layouts(rng: np.random.Generator, teams: int, plan: Correction) -> NDArray[np.int64]:
    """The layout of each document, (teams, documents); ``plan.layouts`` stands for the common ones."""
    rare = rng.random((teams, plan.documents)) < plan.tail
    return np.where(rare, rng.integers(0, plan.layouts, (teams, plan.documents)), plan.layouts)


def _learn(known: NDArray[np.bool_], seen: Any, plan: Correction) -> None:
    """Adds the layouts of the documents that the team sees; of slices only those with enough documents."""
    counts = np.zeros(known.shape, dtype=np.int64)
    np.add.at(counts, (np.arange(len(known))[:, None], seen), 1)
    known |= counts >= (plan.least if plan.seen == "slices" else 1)  # the common layouts are known anyway


def _swap(rng: np.random.Generator, known: NDArray[np.bool_], plan: Correction) -> None:
    """Loses and learns the same number of rare layouts, chosen at random."""
    if not plan.swaps:
        return
    draw = rng.random((len(known), plan.layouts))
    for side in (True, False):
        order = np.argsort(np.where(known[:, : plan.layouts] == side, draw, 2.0), axis=1)[:, : plan.swaps]
        np.put_along_axis(known, order, not side, axis=1)


def _true_rate(known: NDArray[np.bool_], plan: Correction) -> Any:
    """The share of all documents that the model gets right."""
    rare = known[:, : plan.layouts].mean(axis=1)
    return (1 - plan.slip) * (1 - plan.tail + plan.tail * rare)
