"""The error budget: which limit on confidence keeps the automatic answers within it, and what it costs. Pure.

An answer is automatic if each of its fields has at least the limit as calibrated confidence; the limit of each field on
the scale of token probabilities differs, as its calibration does. Errors are counted in fields or in documents; the
document is the unit of all bounds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from evaluation.stats import exact_upper, share_loss, wilson
from serving.confidence.automation import ALPHA
from serving.confidence.records import DocumentRecord

#: limits that are tried, at most
MAX_LIMITS = 60
Unit = Literal["field", "document"]
Basis = Literal["proven", "expected"]


@dataclass(frozen=True)
class Budget:
    """At most ``wrong`` of ``of`` fields or documents."""

    wrong: int
    of: int
    unit: Unit = "field"
    basis: Basis = "proven"

    @property
    def rate(self) -> float:
        """The share that may be wrong."""
        return self.wrong / self.of


@dataclass(frozen=True)
class LimitPoint:
    """What a limit achieves on the validation documents. ``share``: automatic ones, of ``documents``, with its 95%
    interval; ``wrong`` of ``counted`` fields or documents among them; ``bound``: one-sided upper 95% bound of that
    rate; ``expected``: the rate by the calibration.
    """

    limit: float
    documents: int
    accepted: int
    wrong: int
    counted: int
    bound: float
    expected: float

    @property
    def share(self) -> float:
        return self.accepted / self.documents if self.documents else 0.0

    @property
    def share_interval(self) -> tuple[float, float]:
        return wilson(self.accepted, self.documents)

    @property
    def risk(self) -> float:
        return self.wrong / self.counted if self.counted else 0.0


def largest(records: Sequence[DocumentRecord], unit: Unit) -> int:
    """Fields of a document that bounds and audits allow for: twice as many as any validation document has."""
    return 1 if unit == "document" else max(1, 2 * max((one.counted for one in records), default=8))


def points(records: Sequence[DocumentRecord], unit: Unit) -> list[LimitPoint]:
    """What each limit achieves, from the strictest on; limits are confidences that occur.

    Bounds on documents are exact; those on fields have the document as their unit (``evaluation.stats.share_loss``).
    """
    usable = sorted((one for one in records if one.is_valid and one.holds and one.fields), key=lambda r: -r.confidence)
    ends = [
        at
        for at in range(1, len(usable) + 1)
        if at == len(usable) or usable[at - 1].confidence != usable[at].confidence
    ]
    step = max(1, -(-len(ends) // MAX_LIMITS))
    found = []
    for at in sorted(ends[::-1][::step]):
        accepted = usable[:at]
        doubt = [sum(1 - one.calibrated for one in record.fields) for record in accepted]
        if unit == "field":
            wrong, counted = sum(one.wrong for one in accepted), sum(one.counted for one in accepted)
            loss = share_loss([one.wrong for one in accepted], [one.counted for one in accepted], confidence=1 - ALPHA)
            bound, expected = loss.value, sum(doubt)
        else:
            wrong, counted = sum(one.wrong > 0 for one in accepted), at
            bound, expected = exact_upper(wrong, at, 1 - ALPHA), sum(min(1.0, one) for one in doubt)
        rate = min(1.0, expected / counted) if counted else 0.0
        found.append(LimitPoint(usable[at - 1].confidence, len(records), at, wrong, counted, bound, rate))
    return found


def choose(found: Sequence[LimitPoint], budget: Budget) -> LimitPoint | None:
    """The lowest limit that keeps the budget; None where none does.

    Proven: limits are tested from the first at which no error would prove it on, up to the first that fails, so that
    the confidence holds for the one that is returned (fixed-sequence testing; Angelopoulos et al., 2021;
    arXiv:2110.01052). Expected: both the rate on the validation documents and that by the calibration are within it.
    """
    if budget.basis == "expected":
        within = [one for one in found if max(one.risk, one.expected) <= budget.rate]
        return within[-1] if within else None
    best = None
    for one in found:
        if one.bound <= budget.rate:
            best = one
        elif best is not None or _could_be_proven(one, budget):
            break
    return best


def _could_be_proven(one: LimitPoint, budget: Budget) -> bool:
    """Whether the same documents without an error would prove it."""
    return exact_upper(0, one.accepted, 1 - ALPHA) <= budget.rate


def documents_to_prove(budget: Budget) -> int:
    """Automatic validation documents without an error that prove a budget."""
    return math.ceil(math.log(ALPHA) / math.log1p(-budget.rate))


# -- what if ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WhatIf:
    """A limit, if answers below it go to the larger model or to people. ``rest``: their share; ``cost``: of a thousand
    documents, None: unknown. ``accuracy``: the expected share of exact documents with its 95% interval; over the
    automatic answers alone where the outputs of the larger model are not known.
    """

    limit: float
    rest: float
    cost: float | None
    accuracy: float
    low: float
    high: float


def what_if(
    records: Sequence[DocumentRecord],
    *,
    price: float | None = None,
    rest_exact: Mapping[str, bool] | None = None,
    rest_is_right: bool = False,
) -> list[WhatIf]:
    """The curve from a limit of 0 (nothing but invalid outputs goes on) to 1.

    ``price``: of one document at the larger model or of one review. ``rest_exact``: document -> whether the larger
    model's output for it is exact; ``rest_is_right``: people are taken to be right.
    """
    if not records:
        return []
    known = [one for one in records if rest_is_right or rest_exact is None or one.name in rest_exact]
    limits = sorted({0.0, *(one.confidence for one in known if one.is_valid and one.holds)})
    step = max(1, -(-len(limits) // MAX_LIMITS))
    found = []
    for limit in [*limits[::step], 1.01]:
        kept = [one for one in known if one.is_valid and one.holds and one.fields and one.confidence >= limit]
        names = {one.name for one in kept}
        right = sum(one.wrong == 0 for one in kept)
        total = len(kept)
        if rest_is_right or rest_exact is not None:
            others = [one for one in known if one.name not in names]
            right += sum(rest_is_right or bool((rest_exact or {})[one.name]) for one in others)
            total = len(known)
        if not total:
            continue
        rest = 1 - len(kept) / len(known)
        low, high = wilson(right, total)
        cost = None if price is None else 1000 * rest * price
        found.append(WhatIf(min(limit, 1.0), rest, cost, right / total, low, high))
    return found
