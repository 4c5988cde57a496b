"""An error rate with an interval that may be read after every judgment: betting on a ratio of means. Pure.

Each judged answer has ``wrong`` of ``counted`` fields (one document: 0 or 1 of 1). The rate is the ratio of the means.
Under a rate r, Z = wrong - r counted has a mean of 0; a bet of size L on Z > 0 multiplies a capital of 1 by 1 + L Z,
and capital never grows in expectation where the true rate is at most r. So it reaches 1/alpha with a probability of at
most alpha, however often it is read (Ville's inequality; Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 86, 2024). Capitals of several fixed bets are averaged; the interval has the rates against
which neither side has won. Fields of one document may be dependent: the document is the unit.

An answer with more than ``largest`` fields counts as one of ``largest`` with the same share of wrong ones, so that
bets are bounded.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

#: bets that the rate is higher: by how much it may be, as a factor minus 1, where errors come alone
_BETS = (0.25, 0.5, 1.0, 2.0, 4.0, 9.0)
#: bets that it is lower: shares of the highest possible
_SHARES = (0.95, 0.7, 0.4, 0.15)
_EDGE = 0.95
#: places at which the interval is searched
_STEPS = 200


@dataclass
class ErrorRate:
    """Judged answers. ``largest``: fields of one answer that bets allow for; 1 for documents."""

    largest: int = 1
    counts: Counter[tuple[float, int]] = field(default_factory=Counter)

    def add(self, wrong: int, counted: int, times: int = 1) -> None:
        """``times`` answers with ``wrong`` of ``counted`` fields; answers without fields say nothing."""
        if counted > self.largest:
            self.counts[self.largest * wrong / counted, self.largest] += times
        elif counted:
            self.counts[float(wrong), counted] += times

    @property
    def answers(self) -> int:
        """How many were judged."""
        return sum(self.counts.values())

    @property
    def rate(self) -> float | None:
        """The estimate; None without judgments."""
        total = sum(counted * times for (_, counted), times in self.counts.items())
        return sum(wrong * times for (wrong, _), times in self.counts.items()) / total if total else None

    def log_e_above(self, rate: float) -> float:
        """The logarithm of the evidence that the rate is higher than ``rate``."""
        top = _EDGE / (rate * self.largest)
        return self._log_capital(rate, [min(bet, top) for bet in _BETS])

    def log_e_below(self, rate: float) -> float:
        """The logarithm of the evidence that it is lower."""
        top = 1 / (self.largest * (1 - rate))
        return self._log_capital(rate, [-share * top for share in _SHARES])

    def _log_capital(self, rate: float, bets: list[float]) -> float:
        logs = [
            sum(times * math.log1p(bet * (wrong - rate * counted)) for (wrong, counted), times in self.counts.items())
            for bet in bets
        ]
        most = max(logs)
        return most + math.log(sum(math.exp(one - most) for one in logs) / len(logs))

    def interval(self, alpha: float = 0.05) -> tuple[float, float]:
        """The rates that are not ruled out, each side at half of alpha; (0, 1) without judgments."""
        limit = math.log(2 / alpha)
        rates = _rates()
        low = high = None
        for rate in rates:  # the last one that is ruled out on each side
            if self.log_e_above(rate) < limit:
                break
            low = rate
        for rate in reversed(rates):
            if self.log_e_below(rate) < limit:
                break
            high = rate
        return low or 0.0, 1.0 if high is None else high

    def upper_bound(self, alpha: float = 0.05) -> float:
        """The one-sided upper bound of the rate; 1 without judgments."""
        limit = -math.log(alpha)
        high = 1.0
        for rate in reversed(_rates()):
            if self.log_e_below(rate) < limit:
                break
            high = rate
        return high


def _rates() -> list[float]:
    """Places in (0, 1), close together near 0."""
    return [1e-4 * (0.999 / 1e-4) ** (step / (_STEPS - 1)) for step in range(_STEPS)]
