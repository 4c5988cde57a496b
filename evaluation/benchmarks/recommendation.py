"""Which of several models to fine-tune, and why. Pure.

The fields of one document are correlated, so the document is the unit. Two models are compared with an exact sign test
over the documents both answered (in how many each has more correct fields; McNemar's test where a document is right or
wrong), adjusted after Holm over all pairs of models.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any

from evaluation.benchmarks.fine_tuning import fine_tuning_advice
from evaluation.benchmarks.measured import Limits, MeasuredCandidate
from evaluation.stats import holm, mcnemar_exact
from slmstudio.text.formatting import milliseconds, percent

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Pair:
    """Two eval runs on the same documents: in how many A has more correct fields, in how many B, and the p-value."""

    a: int
    b: int
    documents: int
    a_better: int
    b_better: int
    p_value: float
    p_adjusted: float

    @property
    def is_significant(self) -> bool:
        """Whether the difference is significant."""
        return self.p_adjusted < SIGNIFICANT


@dataclass(frozen=True)
class Recommendation:
    """``run``: number of the recommended eval run, or None; ``sentence``: which model, and why; ``notes``: others;
    ``separable``: it is significantly better than every other model; ``alone``: it was the only candidate;
    ``fine_tuning``: whether fine-tuning is needed at all, "" where that is unknown.
    """

    run: int | None
    sentence: str
    notes: tuple[str, ...] = ()
    separable: bool = False
    pairs: tuple[Pair, ...] = ()
    alone: bool = False
    fine_tuning: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def recommend(candidates: Sequence[MeasuredCandidate], limits: Limits) -> Recommendation:
    """The model to fine-tune: the best field accuracy among base models within the limits of the contract; and whether
    to fine-tune at all.

    Other models are baselines, and candidates only where there is no base model.
    """
    return replace(_recommend(candidates, limits), fine_tuning=fine_tuning_advice(candidates, limits))


def _recommend(candidates: Sequence[MeasuredCandidate], limits: Limits) -> Recommendation:
    choice = [one for one in candidates if one.base] or list(candidates)
    others = [one for one in candidates if one not in choice]
    if not choice:
        return Recommendation(None, "No model was measured.")
    fitting = best_modes(one for one in choice if not one.over_limits(limits))
    notes = [*_excluded(choice, fitting, limits), *(_baseline_note(one) for one in best_modes(others))]
    if not fitting:
        best = best_modes(choice)[0]
        many = len({one.model for one in choice})
        subject = f"{best.name} is not" if many == 1 else f"None of the {many} models is"
        sentence = f"{subject} within {limits.words}, so no model is recommended."
        if many > 1:
            sentence += f" Best without these limits: {best.title}, {percent(best.accuracy)} field accuracy."
        return Recommendation(None, sentence, tuple(notes))
    pairs = _pairs(fitting)
    best, second = fitting[0], fitting[1] if len(fitting) > 1 else None
    alone = len({one.model for one in choice}) == 1
    if best.right == 0:
        return _none_right(fitting, notes, pairs, alone=alone)
    notes = [*filter(None, [best.not_proven(limits)]), *_modes(best, choice), *notes]
    if alone:
        return Recommendation(best.run, _single_candidate(best, limits, others), tuple(notes), False, pairs, alone=True)
    if second is None:
        right = f"{percent(best.accuracy)} field accuracy"
        sentence = f"{best.title}: the only model within {limits.words}; {right}."
        return Recommendation(best.run, sentence, tuple(notes), True, pairs)
    mine = [pair for pair in pairs if best.run in (pair.a, pair.b)]
    rivals = [one for one in fitting[1:] if not _beats(best, one, mine)]
    first = next(pair for pair in mine if second.run in (pair.a, pair.b))
    sentence = (
        f"{best.title}: best field accuracy within {limits.words}; "
        f"{percent(best.accuracy)} compared with {percent(second.accuracy)} of {second.name}, "
        f"{_significance(best, first)}."
    )
    if rivals:
        notes.insert(0, _advice(best, rivals))
    return Recommendation(best.run, sentence, tuple(notes), not rivals, pairs)


def best_modes(candidates: Iterable[MeasuredCandidate]) -> list[MeasuredCandidate]:
    """Each model in its most accurate mode, the best first; ties by validity, then speed."""
    found: dict[str, MeasuredCandidate] = {}
    for one in sorted(candidates, key=_rank):
        found.setdefault(one.model, one)
    return list(found.values())


def _rank(one: MeasuredCandidate) -> tuple[float, float, float, int]:
    return (-one.accuracy, -one.valid, one.p50_ms if one.p50_ms is not None else float("inf"), one.run)


def _pairs(candidates: Sequence[MeasuredCandidate]) -> tuple[Pair, ...]:
    counted = []
    for a, b in combinations(candidates, 2):
        both = [key for key in a.shares if key in b.shares]
        a_better = sum(a.shares[key] > b.shares[key] for key in both)
        b_better = sum(a.shares[key] < b.shares[key] for key in both)
        counted.append((a.run, b.run, len(both), a_better, b_better, mcnemar_exact(a_better, b_better)))
    adjusted = holm([row[-1] for row in counted])
    return tuple(Pair(*row, p_adjusted=p) for row, p in zip(counted, adjusted, strict=True))


def _beats(best: MeasuredCandidate, other: MeasuredCandidate, pairs: Iterable[Pair]) -> bool:
    pair = next(pair for pair in pairs if {pair.a, pair.b} == {best.run, other.run})
    better, worse = _counts(best, pair)
    return pair.is_significant and better > worse


def _counts(best: MeasuredCandidate, pair: Pair) -> tuple[int, int]:
    return (pair.a_better, pair.b_better) if pair.a == best.run else (pair.b_better, pair.a_better)


def _significance(best: MeasuredCandidate, pair: Pair) -> str:
    better, worse = _counts(best, pair)
    label = "significant" if pair.is_significant and better > worse else "not significant"
    p = "p < 0.001" if pair.p_adjusted < 0.001 else f"p = {pair.p_adjusted:.3f}"
    return f"{label} (better on {better} of {pair.documents} documents, worse on {worse}, {p})"


def _single_candidate(best: MeasuredCandidate, limits: Limits, others: Sequence[MeasuredCandidate]) -> str:
    only = "the only base model measured" if best.base and others else "the only model measured"
    return f"{best.title}: {only}; {percent(best.accuracy)} field accuracy, within {limits.words}."


def _none_right(
    fitting: Sequence[MeasuredCandidate], notes: list[str], pairs: tuple[Pair, ...], *, alone: bool
) -> Recommendation:
    small = min(fitting, key=lambda one: (one.size or float("inf"), one.p50_ms or float("inf")))
    if len(fitting) == 1:
        sentence = f"{small.name} has no correct field before fine-tuning. It is within the contract's limits."
    else:
        sentence = (
            f"No model has a correct field before fine-tuning. {small.name} is the smallest within the contract's "
            "limits."
        )
    return Recommendation(small.run, sentence, tuple(notes), False, pairs, alone=alone)


def _advice(best: MeasuredCandidate, rivals: Sequence[MeasuredCandidate]) -> str:
    """What to choose by where accuracy is not significantly different."""
    names = _and([one.name for one in rivals])
    text = (
        f"No significant difference between {best.name} and {names}: choose by size, speed and license, or use more "
        "documents."
    )
    quick = min([best, *rivals], key=lambda one: one.p50_ms if one.p50_ms is not None else float("inf"))
    if quick is not best and quick.p50_ms is not None:
        text += f" {quick.name} is the fastest ({milliseconds(quick.p50_ms)} at p50)."
    return text


def _modes(best: MeasuredCandidate, choice: Sequence[MeasuredCandidate]) -> list[str]:
    """The other modes of the recommended model."""
    return [
        f"{best.name}, {one.mode}: {percent(one.accuracy)} field accuracy, {percent(one.valid)} schema-valid."
        for one in choice
        if one.model == best.model and one.run != best.run
    ]


def _excluded(choice: Sequence[MeasuredCandidate], fitting: Sequence[MeasuredCandidate], limits: Limits) -> list[str]:
    """Models that exceed the limits in every mode, and which limits."""
    there = {one.model for one in fitting}
    rest = best_modes(one for one in choice if one.model not in there)
    return [f"{one.name} is not within {limits.words}: {_and(one.over_limits(limits))}." for one in rest]


def _baseline_note(one: MeasuredCandidate) -> str:
    p50 = f", {milliseconds(one.p50_ms)} at p50" if one.p50_ms is not None else ""
    return f"Baseline: {one.title}, {percent(one.accuracy)} field accuracy{p50}."


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
