"""From counts of both arms to a verdict. Pure.

Of each event (a document that failed, an answer that was slow) it is known whose it was. If both versions have as many,
it is B's with the probability of its share: ``FailureRatio``, once for each direction. Judged outputs have no share,
as feedback may be given more often for one of them; they are paired in the order in which they were judged, and of
pairs in which one is right each is as likely to be the wrong one: ``PairedFailures``. All of it may be read at any
time.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.stats.sequential import FailureRatio, PairedFailures

ALPHA = 0.05


@dataclass(frozen=True)
class Arms:
    """Requests and events of both versions; ``b_alone`` and ``a_alone``: of judged pairs, those with one event."""

    a_requests: int = 0
    b_requests: int = 0
    a_events: int = 0
    b_events: int = 0
    a_alone: int | None = None
    b_alone: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As ``Experiment.counts`` stores it."""
        return asdict(self)


def evidence(arms: Arms, share: float) -> dict[str, float]:
    """Logarithms of the evidence that A, and that B, has fewer events."""
    if arms.a_alone is not None and arms.b_alone is not None:
        pairs = PairedFailures(arms.b_alone, arms.a_alone)
        # The sign test is two-sided: the direction is that of the counts, and half of alpha is left unused.
        side = "a" if pairs.worse else "b"
        return {"a": 0.0, "b": 0.0, side: pairs.log_e}
    b_worse, a_worse = FailureRatio(), FailureRatio()
    b_worse.add(candidate=arms.b_events, stable=arms.a_events, share=share)
    a_worse.add(candidate=arms.a_events, stable=arms.b_events, share=1 - share)
    return {"a": b_worse.log_e, "b": a_worse.log_e}


def verdict(log_e: dict[str, float]) -> str:
    """``a``, ``b``, or "" where no difference is shown yet. Both directions share alpha."""
    limit = -math.log(ALPHA / 2)
    return next((side for side in ("a", "b") if log_e.get(side, 0.0) >= limit), "")
