"""Simulated gate workflows: a growing hold-out, several candidates, counted hold-out evaluations.

Every candidate is exactly at the threshold, so every pass is a false positive. The rules are those of
``evaluation.stats``, vectorized over thousands of workflows.

The second half is a team that corrects what it sees, and has its model tested on the hold-out in every round.
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

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from evaluation.stats import additional_sample_size, alpha_level, family_p_value

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Level = Callable[[int], float]


@dataclass(frozen=True)
class Plan:
    """``candidates`` are evaluated at each of the sizes: the first hold-out and each extension of it."""

    first: int = 100
    step: int = 100
    extensions: int = 5
    candidates: int = 10

    @property
    def sizes(self) -> list[int]:
        """Documents of the hold-out, from the first evaluation to the last extension."""
        return [self.first + self.step * extension for extension in range(self.extensions + 1)]

    @property
    def evaluations(self) -> int:
        """The number of hold-out evaluations."""
        return len(self.sizes) * self.candidates


def counted(look: int) -> float:
    """The level of a hold-out evaluation under alpha spending."""
    return alpha_level(look)


def naive(look: int) -> float:
    """5% for every evaluation, without alpha spending."""
    return 0.05


# -- rates -----------------------------------------------------------------------------------------


@cache
def critical(n: int, threshold: float, level: float) -> int:
    """The minimum successes of ``n`` whose exact lower bound reaches the threshold at this level, else n + 1."""
    good = np.arange(n + 1)
    passing = scipy_stats.binom.sf(good - 1, n, threshold) <= level
    return int(good[passing][0]) if passing.any() else n + 1


def correlated(rng: np.random.Generator, shape: tuple[int, int, int], rate: float, rho: float) -> Bools:
    """Whether each document is right, (rounds, candidates, documents): some are hard for every candidate (``rho``: the
    correlation of the normal variables behind it, 0 for none).
    """
    rounds, candidates, documents = shape
    hard = rng.standard_normal((rounds, 1, documents), dtype=np.float32)
    own = rng.standard_normal((rounds, candidates, documents), dtype=np.float32)
    limit = np.float32(scipy_stats.norm.ppf(rate))
    return np.sqrt(np.float32(rho)) * hard + np.sqrt(np.float32(1 - rho)) * own < limit


def rates(
    rng: np.random.Generator, rounds: int, plan: Plan, *, threshold: float, rho: float = 0.0, level: Level = counted
) -> float:
    """The share of workflows in which any evaluation of any candidate passes a gate on a rate of documents."""
    right = correlated(rng, (rounds, plan.candidates, plan.sizes[-1]), threshold, rho)
    passed = np.zeros(rounds, dtype=bool)
    for look, (size, candidate) in enumerate(_order(plan), 1):
        good = right[:, candidate, :size].sum(axis=1)
        passed |= good >= critical(size, threshold, level(look))
    return float(passed.mean())


def _order(plan: Plan) -> list[tuple[int, int]]:
    return [(size, candidate) for size in plan.sizes for candidate in range(plan.candidates)]


def best_of(
    rng: np.random.Generator, rounds: int, *, documents: int, candidates: int, threshold: float, level: Level
) -> float:
    """Ten candidates are evaluated and the best one is tested, at the level of its number.

    With ``naive``, as if it were the only one.
    """
    good = rng.binomial(documents, threshold, size=(rounds, candidates))
    best = good.argmax(axis=1)
    needed = np.array([critical(documents, threshold, level(place + 1)) for place in range(candidates)])
    return float((good[np.arange(rounds), best] >= needed[best]).mean())


def by_price(
    rng: np.random.Generator, rounds: int, *, first: int, extensions: int, threshold: float, level: Level = counted
) -> float:
    """One candidate whose hold-out grows to the required sample size, as often as it is computed."""
    passed = 0
    for _ in range(rounds):
        good, n = int(rng.binomial(first, threshold)), first
        for look in range(1, extensions + 2):
            if good >= critical(n, threshold, level(look)):
                passed += 1
                break
            if good / n <= threshold + 0.004:
                break  # so near that no price, or one of tens of thousands, is named
            wanted = _price(good, n, threshold, level(look + 1))
            if wanted is None or wanted.more > 20_000:
                break
            good, n = good + int(rng.binomial(wanted.more, threshold)), n + wanted.more
    return passed / rounds


@cache
def _price(good: int, n: int, threshold: float, level: float) -> Any:
    return additional_sample_size(good, n, threshold, level)


# -- bounds of losses ------------------------------------------------------------------------------


def below(losses: Floats, limit: float, level: float) -> Bools:
    """Whether ``paired_loss(...).value`` of each data set is within the limit; ``losses`` is (documents, data sets)."""
    values = np.unique(losses)
    counts = np.stack([(losses == value).sum(axis=0) for value in values])
    rows = zip(*counts.tolist(), strict=True)
    return np.array([_p_value(tuple(values.tolist()), row, limit) <= level for row in rows])


@cache
def _p_value(values: tuple[float, ...], counts: tuple[int, ...], limit: float) -> float:
    rows = [(value, 1.0) for value, count in zip(values, counts, strict=True) for _ in range(count)]
    return family_p_value(rows, limit)


def regressions(
    rng: np.random.Generator,
    rounds: int,
    plan: Plan,
    *,
    limit: float,
    churn: float,
    level: Level = counted,
) -> float:
    """The share of workflows in which any candidate, truly worse by ``limit``, passes a gate on no regression.

    Half the fields of a document are broken or fixed: broken in ``churn + 2 * limit`` of the documents, fixed in
    ``churn``.
    """
    passed = np.zeros(rounds, dtype=bool)
    draw = rng.random((plan.sizes[-1], plan.candidates, rounds), dtype=np.float32)
    lost = churn + 2 * limit
    losses = np.where(draw < lost, 0.5, np.where(draw < lost + churn, -0.5, 0.0))
    for look, (size, candidate) in enumerate(_order(plan), 1):
        passed |= below(losses[:size, candidate], limit, level(look))
    return float(passed.mean())


def field_errors(
    rng: np.random.Generator, rounds: int, plan: Plan, *, rate: float, fields: int = 8, level: Level = counted
) -> float:
    """The share of workflows in which any candidate passes a gate on field errors, with a true rate of ``rate``.

    Half the documents are right or wrong as a whole. With equal numbers of fields the rate is a mean over documents.
    """
    passed = np.zeros(rounds, dtype=bool)
    shape = (plan.sizes[-1], plan.candidates, rounds)
    alike = (rng.random(shape, dtype=np.float32) < rate).astype(np.float32)
    apart = (rng.binomial(fields, rate, shape) / fields).astype(np.float32)
    losses = np.where(rng.random(shape, dtype=np.float32) < 0.5, alike, apart).astype(np.float64)
    for look, (size, candidate) in enumerate(_order(plan), 1):
        passed |= below(losses[:size, candidate], rate, level(look))
    return float(passed.mean())


# -- a team that corrects what it sees --------------------------------------------------------------

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
TEAMS = (
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


def _learn(known: Bools, seen: Any, plan: Correction) -> None:
    """Adds the layouts of the documents that the team sees; of slices only those with enough documents."""
    counts = np.zeros(known.shape, dtype=np.int64)
    np.add.at(counts, (np.arange(len(known))[:, None], seen), 1)
    known |= counts >= (plan.least if plan.seen == "slices" else 1)  # the common layouts are known anyway


def _swap(rng: np.random.Generator, known: Bools, plan: Correction) -> None:
    """Loses and learns the same number of rare layouts, chosen at random."""
    if not plan.swaps:
        return
    draw = rng.random((len(known), plan.layouts))
    for side in (True, False):
        order = np.argsort(np.where(known[:, : plan.layouts] == side, draw, 2.0), axis=1)[:, : plan.swaps]
        np.put_along_axis(known, order, not side, axis=1)


def _true_rate(known: Bools, plan: Correction) -> Any:
    """The share of all documents that the model gets right."""
    rare = known[:, : plan.layouts].mean(axis=1)
    return (1 - plan.slip) * (1 - plan.tail + plan.tail * rare)
