"""Which of several models to use or to fine-tune, and why. Pure.

The smallest model that passes the gates on outputs is recommended; where none does, the model trained here that is
closest to it and fails none, and without one the base model to fine-tune.

The fields of one document are correlated, so the document is the unit. Two models are compared with an exact sign test
over the documents both answered (in how many each has more correct fields; McNemar's test where a document is right or
wrong), adjusted after Holm over all pairs of models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from typing import Any

from evaluation.stats import holm, mcnemar_exact
from slmstudio.text.formatting import format_money, milliseconds, percent

#: requests that an upper bound of p95 at 95% needs
MIN_REQUESTS_FOR_P95 = 59
BYTES = 1e9


@dataclass(frozen=True)
class Limits:
    """The limits of the contract; None: no limit."""

    memory_gb: float
    latency_p95_ms: float | None = None
    cost_per_request: float | None = None
    currency: str = ""

    @property
    def words(self) -> str:
        """ "16 GB and 800 ms"."""
        parts = [f"{self.memory_gb:g} GB"]
        if self.latency_p95_ms is not None:
            parts.append(milliseconds(self.latency_p95_ms))
        if self.cost_per_request is not None:
            parts.append(f"{format_money(self.cost_per_request, self.currency)} per request")
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


@dataclass(frozen=True)
class MeasuredCandidate:
    """A model in one decoding mode, as measured.

    ``mode`` is "" where there is no decoding. ``right`` of ``fields`` fields are correct; ``shares``: document -> field
    accuracy; ``memory_bytes``: peak, None for external models; ``p95_low`` and ``p95_high``: bounds of p95 from
    ``requests``, None for too few; ``machine``: where it was measured; ``cost`` per request, None: unknown; ``size`` in
    parameters, 0: unknown or none; ``base``: it can be fine-tuned here.
    ``labels``: labels that it learned from, None: unknown; ``verdict``: of the gates on outputs, "" where none can be
    tested; ``classical`` and ``fine_tuned``: what it is.
    """

    run: int
    model: str
    name: str
    mode: str
    right: int
    fields: int
    valid: float
    shares: Mapping[str, float] = field(repr=False)
    memory_bytes: int | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p95_low: float | None = None
    p95_high: float | None = None
    requests: int = 0
    machine: str = ""
    cost: float | None = None
    size: int = 0
    base: bool = True
    labels: int | None = None
    verdict: str = ""
    classical: bool = False
    fine_tuned: bool = False

    @property
    def title(self) -> str:
        """Name and decoding mode."""
        return f"{self.name}, {self.mode}" if self.mode else self.name

    @property
    def accuracy(self) -> float:
        """Field accuracy."""
        return self.right / self.fields if self.fields else 0.0

    def over_limits(self, limits: Limits) -> list[str]:
        """The limits that it exceeds, of p95 only where that is significant; as text."""
        exceeded = []
        if self.memory_bytes is not None and self.memory_bytes > limits.memory_gb * BYTES:
            exceeded.append(f"needs {self.memory_bytes / BYTES:.1f} GB")
        limit = limits.latency_p95_ms
        if limit is not None and (self.p95_ms is None or self._exceeds_limit(limit)):
            exceeded.append(f"p95 {milliseconds(self.p95_ms)}" if self.p95_ms is not None else "p95 not measured")
        if limits.cost_per_request is not None and self.cost is not None and self.cost > limits.cost_per_request:
            exceeded.append(f"{format_money(self.cost, limits.currency)} per request")
        return exceeded

    def _exceeds_limit(self, limit_ms: float) -> bool:
        """Whether p95 exceeds a limit significantly: its lower bound does, or the median where there is none."""
        low = self.p50_ms if self.p95_low is None else self.p95_low
        return low is not None and low > limit_ms

    def over_limit_not_significant(self, limits: Limits) -> str:
        """A note that p95 exceeds the limit, but not significantly; "" if that is not so."""
        limit, p95 = limits.latency_p95_ms, self.p95_ms
        if limit is None or p95 is None or p95 <= limit or self._exceeds_limit(limit):
            return ""
        return (
            f"p95 {milliseconds(p95)} exceeds {milliseconds(limit)}, but not significantly ({self.requests:,} requests)"
        )

    def not_proven(self, limits: Limits) -> str:
        """What is not proven about its p95, as a sentence; "" if it is proven, or the contract has no limit."""
        limit = limits.latency_p95_ms
        if limit is None or self.p95_ms is None or (self.p95_high is not None and self.p95_high <= limit):
            return ""
        where = f" on {self.machine}" if self.machine else ""
        if over := self.over_limit_not_significant(limits):
            return f"{self.title}: {over}, measured with a concurrency of 1{where}."
        few = f"; at least {MIN_REQUESTS_FOR_P95} are needed" if self.requests < MIN_REQUESTS_FOR_P95 else ""
        return (
            f"{self.requests:,} requests do not prove that the p95 of {self.name} stays within {milliseconds(limit)}"
            f"{where}{few}."
        )


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
    ``fine_tuning``: whether fine-tuning is needed at all, "" where that is unknown; ``passes``: it is the smallest
    model that passes the gates on outputs; ``unproven``: it was trained here and fails no gate.
    """

    run: int | None
    sentence: str
    notes: tuple[str, ...] = ()
    separable: bool = False
    pairs: tuple[Pair, ...] = ()
    alone: bool = False
    fine_tuning: str = ""
    passes: bool = False
    unproven: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def recommend(candidates: Sequence[MeasuredCandidate], limits: Limits) -> Recommendation:
    """The smallest model that passes the gates on outputs within the limits of the contract. Where none does, the most
    accurate model that was trained here and fails none. Else the model to fine-tune: the best field accuracy among base
    models within the limits. And whether to fine-tune at all.

    Other models are baselines then, and candidates only where there is no base model.
    """
    advice = fine_tuning_advice(candidates, limits)
    return replace(_deployable(candidates, limits) or _recommend(candidates, limits), fine_tuning=advice)


def _deployable(candidates: Sequence[MeasuredCandidate], limits: Limits) -> Recommendation | None:
    """The smallest model on this machine that passes, or the most accurate one trained here that fails no gate; None
    where there is neither or it is the only model."""
    fitting = [row for row in candidates if row.memory_bytes is not None and not row.over_limits(limits)]
    passing = [row for row in fitting if row.verdict == "PASS"]
    unproven = [row for row in fitting if row.verdict == "NOT PROVEN" and row.fine_tuned]
    if not (passing or unproven) or len({candidate.model for candidate in candidates}) == 1:
        return None
    best = min(passing, key=_size) if passing else min(unproven, key=lambda row: (-row.accuracy, _size(row)))
    size = f", {best.size / 1e6:,.0f} M parameters" if best.size else ""
    speed = f", {milliseconds(best.p50_ms)} at p50" if best.p50_ms is not None else ""
    what = "the smallest model that passes the gates on outputs" if passing else "fails no gate on outputs"
    sentence = (
        f"{best.title}: {what}, within {limits.words}; {percent(best.accuracy)} field accuracy{size}{speed}."
        + f" {len(best.shares):,} documents are too few to prove that it passes; the hold-out can." * (not passing)
    )
    others = best_modes(candidate for candidate in candidates if candidate.model != best.model)
    notes = [*filter(None, [best.not_proven(limits)]), *map(_other_note, others)]
    pairs = _pairs([best, *others])
    return Recommendation(best.run, sentence, tuple(notes), pairs=pairs, passes=bool(passing), unproven=not passing)


def _size(candidate: MeasuredCandidate) -> tuple[bool, float, float, int]:
    """Classical models first, then by parameters, then by speed."""
    unknown = float("inf")
    return (not candidate.classical, candidate.size or unknown, candidate.p50_ms or unknown, candidate.run)


def _other_note(candidate: MeasuredCandidate) -> str:
    verdict = {"PASS": "passes the gates", "FAIL": "fails the gates", "NOT PROVEN": "not proven"}
    p50 = f", {milliseconds(candidate.p50_ms)} at p50" if candidate.p50_ms is not None else ""
    outcome = f"; {verdict[candidate.verdict]}" if candidate.verdict in verdict else ""
    return f"{candidate.title}: {percent(candidate.accuracy)} field accuracy{p50}{outcome}."


def _recommend(candidates: Sequence[MeasuredCandidate], limits: Limits) -> Recommendation:
    choice = [candidate for candidate in candidates if candidate.base] or list(candidates)
    others = [candidate for candidate in candidates if candidate not in choice]
    if not choice:
        return Recommendation(None, "No model was measured.")
    fitting = best_modes(candidate for candidate in choice if not candidate.over_limits(limits))
    notes = [*_excluded(choice, fitting, limits), *(_baseline_note(candidate) for candidate in best_modes(others))]
    if not fitting:
        best = best_modes(choice)[0]
        many = len({candidate.model for candidate in choice})
        subject = f"{best.name} is not" if many == 1 else f"None of the {many} models is"
        sentence = f"{subject} within {limits.words}, so no model is recommended."
        if many > 1:
            sentence += f" Best without these limits: {best.title}, {percent(best.accuracy)} field accuracy."
        return Recommendation(None, sentence, tuple(notes))
    pairs = _pairs(fitting)
    best, second = fitting[0], fitting[1] if len(fitting) > 1 else None
    alone = len({candidate.model for candidate in choice}) == 1
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
    rivals = [candidate for candidate in fitting[1:] if not _beats(best, candidate, mine)]
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
    best: dict[str, MeasuredCandidate] = {}
    for candidate in sorted(candidates, key=_rank):
        best.setdefault(candidate.model, candidate)
    return list(best.values())


def _rank(candidate: MeasuredCandidate) -> tuple[float, float, float, int]:
    return (
        -candidate.accuracy,
        -candidate.valid,
        candidate.p50_ms if candidate.p50_ms is not None else float("inf"),
        candidate.run,
    )


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
    small = min(fitting, key=lambda candidate: (candidate.size or float("inf"), candidate.p50_ms or float("inf")))
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
    names = _and([candidate.name for candidate in rivals])
    text = (
        f"No significant difference between {best.name} and {names}: choose by size, speed and license, or use more "
        "documents."
    )
    quick = min(
        [best, *rivals], key=lambda candidate: candidate.p50_ms if candidate.p50_ms is not None else float("inf")
    )
    if quick is not best and quick.p50_ms is not None:
        text += f" {quick.name} is the fastest ({milliseconds(quick.p50_ms)} at p50)."
    return text


def _modes(best: MeasuredCandidate, choice: Sequence[MeasuredCandidate]) -> list[str]:
    """The other modes of the recommended model."""
    return [
        f"{best.name}, {candidate.mode}: {percent(candidate.accuracy)} field accuracy, "
        f"{percent(candidate.valid)} schema-valid."
        for candidate in choice
        if candidate.model == best.model and candidate.run != best.run
    ]


def _excluded(choice: Sequence[MeasuredCandidate], fitting: Sequence[MeasuredCandidate], limits: Limits) -> list[str]:
    """Models that exceed the limits in every mode, and which limits."""
    there = {candidate.model for candidate in fitting}
    rest = best_modes(candidate for candidate in choice if candidate.model not in there)
    return [
        f"{candidate.name} is not within {limits.words}: {_and(candidate.over_limits(limits))}." for candidate in rest
    ]


def _baseline_note(candidate: MeasuredCandidate) -> str:
    p50 = f", {milliseconds(candidate.p50_ms)} at p50" if candidate.p50_ms is not None else ""
    what = "Trained here" if candidate.fine_tuned else "Baseline"
    return f"{what}: {candidate.title}, {percent(candidate.accuracy)} field accuracy{p50}."


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def fine_tuning_advice(candidates: Sequence[MeasuredCandidate], limits: Limits) -> str:
    """A sentence or two; "" where no candidate without fine-tuning was measured or no gate can be tested, or where none
    is good enough and a model that was trained here is."""
    eligible = [
        candidate
        for candidate in candidates
        if not candidate.fine_tuned and candidate.verdict and not candidate.over_limits(limits)
    ]
    if not eligible:
        return ""
    best = min(eligible, key=lambda candidate: (-candidate.accuracy, _simplicity(candidate)))
    passed = [candidate for candidate in eligible if candidate.verdict == "PASS"]
    if passed:
        simplest = min(passed, key=_simplicity)
        return (
            f"Fine-tuning may not be needed: {_described(simplest)} and passes the gates on outputs. Evaluate it on "
            "the hold-out to prove that."
        )
    possible = [candidate for candidate in eligible if candidate.verdict == "NOT PROVEN"]
    if possible:
        nearest = min(possible, key=lambda candidate: (-candidate.accuracy, _simplicity(candidate)))
        return (
            f"Fine-tuning may not be needed: {_described(nearest)}. These documents are too few to show whether it "
            "passes the gates on outputs. Evaluate it on the hold-out before fine-tuning."
        )
    trained = [candidate for candidate in candidates if candidate.fine_tuned and not candidate.over_limits(limits)]
    if any(candidate.verdict in ("PASS", "NOT PROVEN") for candidate in trained):
        return ""
    return (
        f"No candidate is good enough without fine-tuning. {_described(best)}, the highest, and fails the gates on "
        "outputs. A fine-tuned model must exceed that."
    )


def _simplicity(candidate: MeasuredCandidate) -> tuple[bool, bool, float, float]:
    """Classical models first, then those on this machine, then the fastest."""
    return (not candidate.classical, candidate.memory_bytes is None, candidate.p50_ms or float("inf"), candidate.run)


def _described(candidate: MeasuredCandidate) -> str:
    labels = f" with {candidate.labels:,} labels" if candidate.labels else ""
    return f"{candidate.title} has {percent(candidate.accuracy)} field accuracy{labels}"
