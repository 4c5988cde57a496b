"""Evidence about a candidate that may be read after every request: e-processes, in logarithms.

An e-process is a non-negative process that starts at 1 and whose expectation is at most 1 at every stopping time while
the null hypothesis holds. By Ville's inequality (1939) it reaches 1/alpha with a probability of at most alpha, however
often it is read. So evidence is added up over stages, and a page that shows it may be watched. See Ramdas, Grünwald,
Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38 (2023); the
mixtures are those of Robbins, "Statistical methods related to the law of the iterated logarithm" (1970).

Every process here depends on its data only through counts, so that counts are stored and ``add`` takes them. Counts may
be fractions, for planning.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

#: how many times as often as at the margin a candidate fails (or the inverse), each as likely
THETAS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
#: the share of requests that may be slower than the limit of a p95 latency
SLOW_SHARE = 0.05


def log_mean_exp(values: Iterable[float]) -> float:
    """log of the mean of exp(values), without overflow."""
    logs = list(values)
    top = max(logs)
    if math.isinf(top):
        return top
    return top + math.log(sum(math.exp(value - top) for value in logs) / len(logs))


class EProcess:
    """What all processes answer. ``log_e``: the natural logarithm of the evidence against the null hypothesis."""

    @property
    def log_e(self) -> float:
        """The logarithm of the current e-value."""
        raise NotImplementedError

    def decided(self, alpha: float) -> bool:
        """Whether the null hypothesis is rejected: E >= 1/alpha (Ville's inequality)."""
        return self.log_e >= -math.log(alpha)


@dataclass
class FailureRatio(EProcess):
    """Failures of the candidate against those of the stable release, given the share in force.

    Null hypothesis: the candidate fails at most ``margin`` times as often. Of each failure it is known whose it was.
    With a share w and a risk ratio r, it is the candidate's with probability p(r) = w r / (w r + 1 - w). E is the mean
    over theta of the likelihood ratios of r = margin * theta to r = margin. The share may change between failures.
    ``mirrored``: the null hypothesis is that it fails at least ``margin`` times as often, and theta divides:
    evidence for non-inferiority.
    """

    margin: float = 1.0
    mirrored: bool = False
    _logs: list[float] = field(default_factory=lambda: [0.0] * len(THETAS))

    def add(self, *, candidate: float, stable: float, share: float) -> None:
        """Counts of failures while the candidate had ``share`` (0 to 1, exclusive) of the requests."""
        null = _of_candidate(share, self.margin)
        for at, theta in enumerate(THETAS):
            other = _of_candidate(share, self.margin / theta if self.mirrored else self.margin * theta)
            self._logs[at] += candidate * math.log(other / null) + stable * math.log((1 - other) / (1 - null))

    @property
    def log_e(self) -> float:
        return log_mean_exp(self._logs)


def _of_candidate(share: float, ratio: float) -> float:
    """The probability that a failure is the candidate's."""
    return share * ratio / (share * ratio + 1 - share)


@dataclass
class PairedFailures(EProcess):
    """Requests of both releases, in shadow. Null hypothesis: of those that one of them fails, each fails half.

    With b failed by the candidate alone, c by the stable release alone and n = b + c:
    E = 2^n B(1/2 + b, 1/2 + c) / B(1/2, 1/2), the sign test with Jeffreys' mixture. It is two-sided;
    ``worse`` has the direction.
    """

    candidate_only: float = 0.0
    stable_only: float = 0.0

    def add(self, *, candidate_only: float, stable_only: float) -> None:
        """Counts of requests that one release failed and the other did not."""
        self.candidate_only += candidate_only
        self.stable_only += stable_only

    @property
    def log_e(self) -> float:
        b, c = self.candidate_only, self.stable_only
        return (b + c) * math.log(2) + log_beta(0.5 + b, 0.5 + c) - log_beta(0.5, 0.5)

    @property
    def worse(self) -> bool:
        """Whether the candidate fails more often. Where it truly does not, ``worse`` and ``decided`` meet with a
        probability of at most alpha: the region is an upper set in b."""
        return self.candidate_only > self.stable_only


@dataclass
class RateLimit(EProcess):
    """A rate against a fixed limit. Null hypothesis: the rate is at most ``limit``.

    E is the beta-binomial mixture over the rates above the limit: with k of n and a prior Beta(a, b) with mean
    ``limit``, cut off at it, E = I(a + k, b + n - k) / I(a, b) * B(a + k, b + n - k) / B(a, b) / (limit^k
    (1 - limit)^(n - k)), where I is the upper tail of the beta distribution. ``mirrored``: the null hypothesis is that
    the rate is at least ``limit``, and I the lower tail.
    """

    limit: float
    mirrored: bool = False
    hits: float = 0.0
    total: float = 0.0

    def add(self, *, hits: float, total: float) -> None:
        """Counts: ``hits`` of ``total``."""
        self.hits += hits
        self.total += total

    @property
    def log_e(self) -> float:
        # A prior that is worth as many requests as have one hit at the limit: half above the limit, half below.
        a, b = 1.0, (1 - self.limit) / self.limit
        k, misses = self.hits, self.total - self.hits
        tail = log_beta_lower if self.mirrored else log_beta_upper
        return (
            tail(self.limit, a + k, b + misses)
            - tail(self.limit, a, b)
            + log_beta(a + k, b + misses)
            - log_beta(a, b)
            - k * math.log(self.limit)
            - misses * math.log1p(-self.limit)
        )


def latency(*, mirrored: bool = False) -> RateLimit:
    """p95 <= L as a rate: no more than 5% of the requests take longer than L. Hits are those that do."""
    return RateLimit(SLOW_SHARE, mirrored)


# -- the beta distribution in logarithms ------------------------------------------------------------------------------


def log_beta(a: float, b: float) -> float:
    """log B(a, b)."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_beta_lower(x: float, a: float, b: float) -> float:
    """log P(X <= x) of a beta distribution, 0 < x < 1; does not underflow."""
    if x < (a + 1) / (a + b + 2):
        return _log_tail(x, a, b)
    # The upper tail is at most about a half here: nothing is lost in the difference.
    return math.log1p(-math.exp(_log_tail(1 - x, b, a)))


def _log_tail(x: float, a: float, b: float) -> float:
    front = a * math.log(x) + b * math.log1p(-x) - math.log(a) - log_beta(a, b)
    return min(0.0, front + math.log(_continued_fraction(x, a, b)))


def log_beta_upper(x: float, a: float, b: float) -> float:
    """log P(X > x) of a beta distribution."""
    return log_beta_lower(1 - x, b, a)


def _continued_fraction(x: float, a: float, b: float) -> float:
    """The incomplete beta function's continued fraction (DLMF 8.17.22) by the modified method of Lentz."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    found = d
    for m in range(1, 20_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + step / c
            c = c if abs(c) > tiny else tiny
            found *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return found
