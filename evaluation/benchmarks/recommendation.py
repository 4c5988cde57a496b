"""Which of several models to start from, and why. Pure.

A model is right about a field or not, and the fields of one document are correlated: the document is the unit. Two
models are told apart by an exact sign test over the documents both answered (in how many each has more fields right;
McNemar's test where a document is right or wrong), adjusted after Holm over all pairs of models.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import Any

from evaluation.stats import holm, mcnemar_exact

SIGNIFICANT = 0.05
#: requests below which nothing bounds p95 from above at 95 %
FEWEST_FOR_P95 = 59
BYTES = 1e9


@dataclass(frozen=True)
class Limits:
    """What the contract allows; None: it says nothing."""

    memory_gb: float
    latency_p95_ms: float | None = None
    cost_per_request: float | None = None
    currency: str = ""

    @property
    def words(self) -> str:
        """ "16 GB and 800 ms"."""
        parts = [f"{self.memory_gb:g} GB"]
        if self.latency_p95_ms is not None:
            parts.append(_time(self.latency_p95_ms))
        if self.cost_per_request is not None:
            parts.append(f"{self.cost_per_request:g} {self.currency}".strip() + " a request")
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


@dataclass(frozen=True)
class Candidate:
    """A model in one mode as it was measured.

    ``right`` of ``fields`` fields; ``shares``: document -> share of its fields that are right; ``memory_bytes`` at its
    peak, None where it runs elsewhere; ``p95_least`` and ``p95_most``: what ``requests`` prove of p95, None where they
    are too few; ``machine`` that took the time; ``cost`` of a request, None: not known; ``size`` in parameters;
    ``base``: it can be fine-tuned here.
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
    p95_least: float | None = None
    p95_most: float | None = None
    requests: int = 0
    machine: str = ""
    cost: float | None = None
    size: int = 0
    base: bool = True

    @property
    def accuracy(self) -> float:
        """The share of fields that are right."""
        return self.right / self.fields if self.fields else 0.0

    def beyond(self, limits: Limits) -> list[str]:
        """What of the contract it breaks by more than luck, in words."""
        found = []
        if self.memory_bytes is not None and self.memory_bytes > limits.memory_gb * BYTES:
            found.append(f"took {self.memory_bytes / BYTES:.1f} GB")
        limit = limits.latency_p95_ms
        if limit is not None and (self.p95_ms is None or self._surely_over(limit)):
            found.append(f"p95 {_time(self.p95_ms)}")
        if limits.cost_per_request is not None and self.cost is not None and self.cost > limits.cost_per_request:
            found.append(f"{self.cost:.3g} {limits.currency}".strip() + " a request")
        return found

    def _surely_over(self, limit_ms: float) -> bool:
        """Whether p95 is over a limit by more than luck: its lower bound is, or the median where there is none."""
        sure = self.p50_ms if self.p95_least is None else self.p95_least
        return sure is not None and sure > limit_ms

    def over_by_luck(self, limits: Limits) -> str:
        """That its p95 is over the limit and that this could be luck, in words; "" where that is not so."""
        limit, p95 = limits.latency_p95_ms, self.p95_ms
        if limit is None or p95 is None or p95 <= limit or self._surely_over(limit):
            return ""
        return f"p95 {_time(p95)} is over {_time(limit)}, which could be luck in {self.requests} requests"

    def not_proven(self, limits: Limits) -> str:
        """What its p95 does not prove, as a sentence; "" where the contract says nothing of it, or it is proven."""
        limit = limits.latency_p95_ms
        if limit is None or self.p95_ms is None or (self.p95_most is not None and self.p95_most <= limit):
            return ""
        where = f" on {self.machine}" if self.machine else ""
        if over := self.over_by_luck(limits):
            return f"{self.name}, {self.mode}: {over}, one at a time{where}."
        few = f"; {FEWEST_FOR_P95} are the fewest that can" if self.requests < FEWEST_FOR_P95 else ""
        return (
            f"That p95 of {self.name} stays within {_time(limit)} is not proven by {self.requests} requests, one at a "
            f"time{where}{few}."
        )


@dataclass(frozen=True)
class Pair:
    """Two eval runs on the same documents: in how many A has more fields right, in how many B, and what that proves."""

    a: int
    b: int
    documents: int
    a_better: int
    b_better: int
    p_value: float
    p_adjusted: float

    @property
    def apart(self) -> bool:
        """More than luck."""
        return self.p_adjusted < SIGNIFICANT


@dataclass(frozen=True)
class Recommendation:
    """``run``: number of the eval run that is recommended, None where none can be; ``sentence`` says which and why,
    ``notes`` what else should be known; ``separable``: whether it is better than every other model by more than luck;
    ``alone``: whether it stands there because there was no other to choose from.
    """

    run: int | None
    sentence: str
    notes: tuple[str, ...] = ()
    separable: bool = False
    pairs: tuple[Pair, ...] = ()
    alone: bool = False

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def recommend(candidates: Sequence[Candidate], limits: Limits) -> Recommendation:
    """The model to start a fine-tuning from: the best field accuracy among base models that the contract does not rule
    out.

    Models tuned already and models elsewhere are no choice, but what has to be beaten; where there is no base model,
    they are the choice.
    """
    choice = [one for one in candidates if one.base] or list(candidates)
    others = [one for one in candidates if one not in choice]
    if not choice:
        return Recommendation(None, "No model was measured, so there is nothing to recommend.")
    fitting = best_modes(one for one in choice if not one.beyond(limits))
    notes = [*_left_out(choice, fitting, limits), *(_to_beat(one) for one in best_modes(others))]
    if not fitting:
        best = best_modes(choice)[0]
        many = len({one.model for one in choice})
        keeps = f"{best.name} does not keep" if many == 1 else f"None of the {many} models keeps"
        sentence = f"{keeps} to {limits.words}, so none is recommended."
        if many > 1:
            sentence += f" Best without these limits: {best.name}, {best.mode}, {_percent(best.accuracy)} of fields."
        return Recommendation(None, sentence, tuple(notes))
    pairs = _pairs(fitting)
    best, second = fitting[0], fitting[1] if len(fitting) > 1 else None
    alone = len({one.model for one in choice}) == 1
    if best.right == 0:
        return _none_right(fitting, notes, pairs, alone=alone)
    notes = [*filter(None, [best.not_proven(limits)]), *_modes(best, choice), *notes]
    if alone:
        return Recommendation(best.run, _only_one(best, limits, others), tuple(notes), False, pairs, alone=True)
    if second is None:
        right = f"{_percent(best.accuracy)} of fields right"
        sentence = f"{best.name}, {best.mode}: the only one not ruled out by {limits.words}; {right}."
        return Recommendation(best.run, sentence, tuple(notes), True, pairs)
    mine = [pair for pair in pairs if best.run in (pair.a, pair.b)]
    rivals = [one for one in fitting[1:] if not _beats(best, one, mine)]
    first = next(pair for pair in mine if second.run in (pair.a, pair.b))
    sentence = (
        f"{best.name}, {best.mode}: best field accuracy among those not ruled out by {limits.words}; "
        f"{_percent(best.accuracy)} against {_percent(second.accuracy)} of {second.name}, {_how_sure(best, first)}."
    )
    if rivals:
        notes.insert(0, _advice(best, rivals))
    return Recommendation(best.run, sentence, tuple(notes), not rivals, pairs)


def best_modes(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Each model in the mode in which it has most fields right, the best first; then validity, then speed decide."""
    found: dict[str, Candidate] = {}
    for one in sorted(candidates, key=_rank):
        found.setdefault(one.model, one)
    return list(found.values())


def _rank(one: Candidate) -> tuple[float, float, float, int]:
    return (-one.accuracy, -one.valid, one.p50_ms if one.p50_ms is not None else float("inf"), one.run)


def _pairs(candidates: Sequence[Candidate]) -> tuple[Pair, ...]:
    counted = []
    for a, b in combinations(candidates, 2):
        both = [key for key in a.shares if key in b.shares]
        a_better = sum(a.shares[key] > b.shares[key] for key in both)
        b_better = sum(a.shares[key] < b.shares[key] for key in both)
        counted.append((a.run, b.run, len(both), a_better, b_better, mcnemar_exact(a_better, b_better)))
    adjusted = holm([row[-1] for row in counted])
    return tuple(Pair(*row, p_adjusted=p) for row, p in zip(counted, adjusted, strict=True))


def _beats(best: Candidate, other: Candidate, pairs: Iterable[Pair]) -> bool:
    pair = next(pair for pair in pairs if {pair.a, pair.b} == {best.run, other.run})
    better, worse = _counts(best, pair)
    return pair.apart and better > worse


def _counts(best: Candidate, pair: Pair) -> tuple[int, int]:
    return (pair.a_better, pair.b_better) if pair.a == best.run else (pair.b_better, pair.a_better)


def _how_sure(best: Candidate, pair: Pair) -> str:
    better, worse = _counts(best, pair)
    sure = "more than luck" if pair.apart and better > worse else "difference within noise"
    p = "p < 0.001" if pair.p_adjusted < 0.001 else f"p = {pair.p_adjusted:.3f}"
    return f"{sure} (better on {better} of {pair.documents} documents, worse on {worse}, {p})"


def _only_one(best: Candidate, limits: Limits, others: Sequence[Candidate]) -> str:
    only = "the only base model measured" if best.base and others else "the only one measured"
    return (
        f"{best.name}, {best.mode}: {only}, so nothing is compared; {_percent(best.accuracy)} of fields right, and not "
        f"ruled out by {limits.words}."
    )


def _none_right(
    fitting: Sequence[Candidate], notes: list[str], pairs: tuple[Pair, ...], *, alone: bool
) -> Recommendation:
    small = min(fitting, key=lambda one: (one.size or float("inf"), one.p50_ms or float("inf")))
    if len(fitting) == 1:
        sentence = f"{small.name} gets no field right before tuning; the contract's limits do not rule it out."
    else:
        sentence = (
            f"No model gets a field right before tuning, so accuracy does not choose. {small.name} is the smallest "
            "that the contract does not rule out."
        )
    return Recommendation(small.run, sentence, tuple(notes), False, pairs, alone=alone)


def _advice(best: Candidate, rivals: Sequence[Candidate]) -> str:
    """What decides where accuracy does not."""
    names = _and([one.name for one in rivals])
    text = (
        f"These documents do not tell {best.name} and {names} apart: choose by size, speed and licence, or judge more."
    )
    quick = min([best, *rivals], key=lambda one: one.p50_ms if one.p50_ms is not None else float("inf"))
    if quick is not best and quick.p50_ms is not None:
        text += f" {quick.name} is the fastest of them ({_time(quick.p50_ms)} at p50)."
    return text


def _modes(best: Candidate, choice: Sequence[Candidate]) -> list[str]:
    """How the other mode of the recommended model did."""
    return [
        f"{best.name}, {one.mode}: {_percent(one.accuracy)} of fields right, {_percent(one.valid)} of outputs valid."
        for one in choice
        if one.model == best.model and one.run != best.run
    ]


def _left_out(choice: Sequence[Candidate], fitting: Sequence[Candidate], limits: Limits) -> list[str]:
    """Models that break the contract in every mode, and with what."""
    there = {one.model for one in fitting}
    rest = best_modes(one for one in choice if one.model not in there)
    return [f"{one.name} does not keep to {limits.words}: {_and(one.beyond(limits))}." for one in rest]


def _to_beat(one: Candidate) -> str:
    p50 = f", {_time(one.p50_ms)} at p50" if one.p50_ms is not None else ""
    return f"To beat: {one.name}, {one.mode}, has {_percent(one.accuracy)} of fields right{p50}."


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _time(ms: float | None) -> str:
    if ms is None:
        return "not measured"
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.2f} s"
