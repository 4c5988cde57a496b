"""Which requests are drawn for review. Pure.

For each reason that a request has, a hash of its id is compared with the reason's probability, so that the draws for
different reasons are independent and the same on every machine. The probability depends on how many requests had the
reason, never on what became of them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

UNIFORM, FEEDBACK, FAILURE = "uniform", "feedback", "failure"
SHADOW, FALLBACK, CONFIDENCE = "shadow", "fallback", "confidence"
REVIEW, AUDIT = "review", "audit"
#: the most urgent first
ORDER = (FEEDBACK, FAILURE, REVIEW, SHADOW, FALLBACK, CONFIDENCE, AUDIT, UNIFORM)
#: whose labels must not depend on the output that they judge
INDEPENDENT = frozenset({AUDIT, UNIFORM})
#: drawn whenever they occur: a caller, or the answer policy, asks for a person
_ALWAYS = frozenset({FEEDBACK, REVIEW, AUDIT})
_SEVERITY = {
    FEEDBACK: 1.0, FAILURE: 0.9, REVIEW: 0.8, SHADOW: 0.7, FALLBACK: 0.6, CONFIDENCE: 0.2, AUDIT: 0.1, UNIFORM: 0.0,
}  # fmt: skip
#: error codes of requests whose document says something about the model
FAILURE_CODES = frozenset({"invalid_output", "grammar", "too_long"})


@dataclass(frozen=True, slots=True)
class Rates:
    """How many requests are drawn: ``share`` of all, at least about ``per_day`` a day; ``targeted_per_day`` of each
    other reason, about."""

    share: float
    per_day: int
    targeted_per_day: int

    def probability(self, reason: str, seen: int) -> float:
        """Of being drawn for a reason that ``seen`` requests of the day have. Negative feedback, and what the
        answer policy sends to people, is always drawn."""
        if reason in _ALWAYS:
            return 1.0
        if reason == UNIFORM:
            return max(self.share, _portion(self.per_day, seen))
        return _portion(self.targeted_per_day, seen)


def _portion(wanted: int, seen: int) -> float:
    return min(1.0, wanted / seen) if seen else float(wanted > 0)


def position(reason: str, request_id: str) -> float:
    """Where a request falls in [0, 1) for a reason."""
    return int(hashlib.sha256(f"draw:{reason!s}:{request_id}".encode()).hexdigest()[:13], 16) / 16**13


def drawn(request_id: str, probabilities: Mapping[str, float]) -> dict[str, float]:
    """The reasons that a request is drawn for, with their probabilities; empty where it is not drawn."""
    return {str(reason): p for reason, p in probabilities.items() if position(reason, request_id) < p}


def severity(reasons: Iterable[str], confidence: float | None) -> float:
    """The place in the queue, 0 to 1: the most urgent reason; among low confidences the lowest."""
    worst = max((_SEVERITY[reason] for reason in reasons), default=0.0)
    if confidence is None or worst != _SEVERITY[CONFIDENCE]:
        return worst
    return worst + 0.3 * (1 - confidence)


def ordered(reasons: Iterable[str]) -> list[str]:
    """Reasons, the most urgent first."""
    return sorted({str(reason) for reason in reasons}, key=ORDER.index)
