"""Anytime-valid tests: evidence that may be read after every observation, in logarithms.

An e-process is a non-negative process that starts at 1 and whose expectation is at most 1 at every stopping time while
the null hypothesis holds. By Ville's inequality (1939) it reaches 1/alpha with a probability of at most alpha, however
often it is read. So evidence is added up over stages, and a page that shows it may be watched. See Ramdas, Grünwald,
Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 38 (2023); the
mixtures are those of Robbins, "Statistical methods related to the law of the iterated logarithm" (1970), the bets those
of Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024).

Every process depends on its data only through counts, so that counts are stored and ``add`` takes them. Counts may be
fractions, for planning.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

from evaluation.stats.common import ALPHA, smallest_clearing
from evaluation.stats.losses import LossBound, paired_loss

#: how many times as often as at the margin a candidate fails (or the inverse), each as likely
THETAS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
#: the share of requests that may be slower than the limit of a p95 latency
SLOW_SHARE = 0.05


def needed(alpha: float = ALPHA) -> float:
    """The evidence that decides: log(1/alpha)."""
    return -math.log(alpha)


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
        return self.log_e >= needed(alpha)


# -- failures of two versions -----------------------------------------------------------------------------------------


@dataclass
class FailureRatio(EProcess):
    """Failures of the candidate against those of the stable version, given the share in force.

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
    """Requests of both versions, in shadow. Null hypothesis: of those that one of them fails, each fails half.

    With b failed by the candidate alone, c by the stable version alone and n = b + c:
    E = 2^n B(1/2 + b, 1/2 + c) / B(1/2, 1/2), the sign test with Jeffreys' mixture. It is two-sided;
    ``worse`` has the direction.
    """

    candidate_only: float = 0.0
    stable_only: float = 0.0

    def add(self, *, candidate_only: float, stable_only: float) -> None:
        """Counts of requests that one version failed and the other did not."""
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


# -- a rate against a limit -------------------------------------------------------------------------------------------


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


# The beta distribution in logarithms: those of SciPy underflow.


def log_beta(a: float, b: float) -> float:
    """log B(a, b)."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_beta_lower(x: float, a: float, b: float) -> float:
    """log P(X <= x) of a beta distribution, 0 < x < 1; does not underflow."""
    if x < (a + 1) / (a + b + 2):
        return _log_tail(x, a, b)
    # The upper tail is at most about a half here: nothing is lost in the difference.
    return math.log1p(-math.exp(_log_tail(1 - x, b, a)))


def log_beta_upper(x: float, a: float, b: float) -> float:
    """log P(X > x) of a beta distribution."""
    return log_beta_lower(1 - x, b, a)


def _log_tail(x: float, a: float, b: float) -> float:
    front = a * math.log(x) + b * math.log1p(-x) - math.log(a) - log_beta(a, b)
    return min(0.0, front + math.log(_continued_fraction(x, a, b)))


def _continued_fraction(x: float, a: float, b: float) -> float:
    """The incomplete beta function's continued fraction (DLMF 8.17.22) by the modified method of Lentz."""
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 20_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + step / c
            c = c if abs(c) > tiny else tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return fraction


# -- callers that always get the same version -------------------------------------------------------------------------
#
# Failures of one caller are not independent, so the processes above do not apply. What is random is the assignment:
# each caller went to the candidate with probability w, whatever it sends. Under the null hypothesis (no caller's
# requests depend on the version) that is all, and for any q that depends on a caller's requests but not on its version,
# the factors q / w for callers of the candidate and (1 - q) / (1 - w) for others have a mean of 1. E is the mean of
# their products over several q: a bet that callers who fail more often than they did before, with the stable version,
# are the candidate's. The bet uses Poisson likelihood ratios and need not be right to be valid.
#
# Each number of requests needs all callers anew, which is no martingale. So E is read at checkpoints only, the 100th,
# 200th, 400th ... request, and the k-th checkpoint decides at alpha 6 / (pi^2 k^2), whose sum is alpha.

#: how many times as often the candidate's callers fail, and how much their requests are believed, each as likely
CALLER_THETAS = (1.5, 2.0, 3.0, 5.0, 10.0)
BELIEFS = (0.1, 0.3, 1.0)
FIRST_CHECKPOINT = 100
#: requests that the rate over all callers is worth for each of them
_PRIOR_REQUESTS = 50.0
_PRIOR_FAILURES, _PRIOR_TOTAL = 1.0, 100.0
#: the largest evidence of one caller's requests, as a logarithm
_MAX_LOG = 30.0


@dataclass(frozen=True)
class CallerCount:
    """A caller: its requests and failures in this step, and those with the stable version before the rollout."""

    is_candidate: bool
    requests: int
    failures: int
    past_requests: int = 0
    past_failures: int = 0


def log_e_of_callers(callers: Sequence[CallerCount], share: float) -> float:
    """The logarithm of the evidence that the candidate's callers fail more often because of it."""
    if not callers or not 0 < share < 1:
        return 0.0
    total = sum(caller.past_requests for caller in callers)
    overall = (sum(caller.past_failures for caller in callers) + _PRIOR_FAILURES) / (total + _PRIOR_TOTAL)
    return log_mean_exp(
        math.fsum(_caller_factor(caller, share, overall, theta, belief) for caller in callers)
        for theta in CALLER_THETAS
        for belief in BELIEFS
    )


def _caller_factor(caller: CallerCount, share: float, overall: float, theta: float, belief: float) -> float:
    rate = (caller.past_failures + _PRIOR_REQUESTS * overall) / (caller.past_requests + _PRIOR_REQUESTS)
    ratio = belief * (caller.failures * math.log(theta) - (theta - 1) * rate * caller.requests)
    ratio = max(-_MAX_LOG, min(_MAX_LOG, ratio))
    # q / (1 - q) = w / (1 - w) * exp(ratio)
    whole = math.log(share * math.exp(ratio) + 1 - share)
    return ratio - whole if caller.is_candidate else -whole


def checkpoint_at(requests: int) -> int:
    """The number of the newest checkpoint after so many requests; 0 before the first."""
    return int(math.log2(requests / FIRST_CHECKPOINT)) + 1 if requests >= FIRST_CHECKPOINT else 0


def checkpoint_alpha(checkpoint: int, alpha: float) -> float:
    """What the ``checkpoint``-th checkpoint decides at, from 1."""
    return alpha * 6 / (math.pi * checkpoint) ** 2


# -- an error rate with its interval ----------------------------------------------------------------------------------

#: bets that the rate is higher: by how much it may be, as a factor minus 1, where errors come alone
_HIGHER_BETS = (0.25, 0.5, 1.0, 2.0, 4.0, 9.0)
#: bets that it is lower: shares of the highest possible
_LOWER_BETS = (0.95, 0.7, 0.4, 0.15)
_EDGE = 0.95
#: places in (0, 1) at which the interval is searched, close together near 0
_RATES = [1e-4 * (0.999 / 1e-4) ** (step / 199) for step in range(200)]


@dataclass
class ErrorRate:
    """An error rate with an interval that may be read after every judgment: betting on a ratio of means.

    Each judged answer has ``wrong`` of ``counted`` fields (one document: 0 or 1 of 1); the rate is the ratio of the
    means. Under a rate r, Z = wrong - r counted has a mean of 0; a bet of size L on Z > 0 multiplies a capital of 1 by
    1 + L Z, and capital never grows in expectation where the true rate is at most r. Capitals of several fixed bets are
    averaged; the interval has the rates against which neither side has won. Fields of one document may be dependent:
    the document is the unit.

    ``largest``: fields of one answer that bets allow for, 1 for documents. An answer with more counts as one of
    ``largest`` with the same share of wrong ones, so that bets are bounded.
    """

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
        return self._log_capital(rate, [min(bet, top) for bet in _HIGHER_BETS])

    def log_e_below(self, rate: float) -> float:
        """The logarithm of the evidence that it is lower."""
        top = 1 / (self.largest * (1 - rate))
        return self._log_capital(rate, [-share * top for share in _LOWER_BETS])

    def _log_capital(self, rate: float, bets: list[float]) -> float:
        return log_mean_exp(
            sum(times * math.log1p(bet * (wrong - rate * counted)) for (wrong, counted), times in self.counts.items())
            for bet in bets
        )

    def interval(self, alpha: float = ALPHA) -> tuple[float, float]:
        """The rates that are not ruled out, each side at half of alpha; (0, 1) without judgments."""
        low = 0.0
        for rate in _RATES:  # the last one that is ruled out
            if self.log_e_above(rate) < needed(alpha / 2):
                break
            low = rate
        return low, self.upper_bound(alpha / 2)

    def upper_bound(self, alpha: float = ALPHA) -> float:
        """The one-sided upper bound of the rate; 1 without judgments."""
        high = 1.0
        for rate in reversed(_RATES):
            if self.log_e_below(rate) < needed(alpha):
                break
            high = rate
        return high


# -- non-inferiority on the same documents ----------------------------------------------------------------------------

#: bets, as shares of the largest that cannot lose everything
BETS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
#: how often the planned number of pairs suffices for a candidate that is as good
POWER = 0.8
_ROUNDS = 4_000
_MAX_PAIRS = 200_000


@dataclass(frozen=True)
class NonInferiority:
    """What is known of a candidate after ``pairs`` documents in ``families`` (each its own, where none is declared).

    ``difference``: mean of after - before; ``log_e``: the evidence; ``bound``: of the loss, at ``alpha``.
    ``discordance``: mean square of the differences: with right and wrong alone, the share of documents that differ.
    """

    pairs: int
    families: int
    margin: float
    alpha: float
    before: float
    after: float
    discordance: float
    log_e: float
    bound: LossBound

    @property
    def difference(self) -> float:
        """How much better the candidate is; negative: worse."""
        return self.after - self.before

    @property
    def needed_log_e(self) -> float:
        """The evidence that certifies."""
        return needed(self.alpha)

    @property
    def is_shown(self) -> bool:
        """Whether it is certified by the evidence, which may be read at any time."""
        return self.log_e >= self.needed_log_e

    @property
    def is_bounded(self) -> bool:
        """Whether it is certified by the bound, read once for a number of documents that was fixed before."""
        return self.pairs > 0 and self.bound.value < self.margin


def non_inferiority(
    before: Sequence[float],
    after: Sequence[float],
    *,
    margin: float,
    alpha: float = ALPHA,
    families: Sequence[Hashable] | None = None,
) -> NonInferiority:
    """Tests a candidate (``after``) against what answers today (``before``), in the same order of documents with gold.

    Null hypothesis: the candidate is worse by at least ``margin`` (mean of before - after, each value between 0 and 1).
    ``log_e`` may be read after every label; ``bound`` once, for a number of documents that was fixed before, as in the
    gate on non-inferiority. ``families``: one for each document; documents with the same one are not independent, and
    whole families are what is drawn at random. None: all documents are independent.

    Raises:
        ValueError: the margin is not between 0 and 1, a value is outside 0 to 1, or the lengths differ.
    """
    if not 0 < margin < 1:
        raise ValueError("the margin must be between 0 and 1")
    n = len(before)
    if len(after) != n or (families is not None and len(families) != n):
        raise ValueError("documents must be paired")
    if any(not 0.0 <= value <= 1.0 for value in (*before, *after)):
        raise ValueError("values must be between 0 and 1")
    groups: Sequence[Hashable] = range(n) if families is None else families
    gains = [float(b) - float(a) for a, b in zip(before, after, strict=True)]
    bound = paired_loss(before, after, families=families, confidence=1 - alpha)
    return NonInferiority(
        pairs=n, families=len(set(groups)), margin=margin, alpha=alpha, before=_mean(before), after=_mean(after),
        discordance=_mean([gain * gain for gain in gains]), log_e=log_e_of_gains(gains, groups, margin), bound=bound,
    )  # fmt: skip


def log_e_of_gains(gains: Sequence[float], families: Sequence[Hashable], margin: float) -> float:
    """The evidence of the differences after - before for non-inferiority; 0 without any.

    With x = after - before + margin, which is at least margin - 1, every factor 1 + lambda x is non-negative and has a
    mean of at most 1 under the null hypothesis. E is the mean over lambda of their products. Documents of a family are
    one factor, with the sum of its documents over the size of the largest family.
    """
    sums: dict[Hashable, float] = {}
    sizes: dict[Hashable, int] = {}
    for gain, family in zip(gains, families, strict=True):
        sums[family] = sums.get(family, 0.0) + gain + margin
        sizes[family] = sizes.get(family, 0) + 1
    if not sums:
        return 0.0
    unit = 1 / (max(sizes.values()) * (1 - margin))
    return log_mean_exp(math.fsum(math.log1p(bet * unit * total) for total in sums.values()) for bet in BETS)


def pairs_needed(
    *, margin: float, discordance: float, alpha: float = ALPHA, power: float = POWER, seed: int = 17
) -> int | None:
    """How many documents certify a candidate that is as good, with probability ``power``; None: too many to label.

    ``discordance``: the expected share of documents on which exactly one of the two is right. The share on which their
    outputs differ, which needs no gold, is not below it. Where families are declared, the number counts families if
    their documents are alike. By simulation.
    """
    import numpy as np

    if not 0 < margin < 1 or not 0 <= discordance <= 1:
        raise ValueError("margin and discordance must be between 0 and 1")
    unit = 1 / (1 - margin)
    bets = np.asarray(BETS)[:, None] * unit
    same, better, worse = np.log1p(bets * margin), np.log1p(bets * (1 + margin)), np.log1p(bets * (margin - 1))

    def suffices(n: int) -> bool:
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(n, [discordance / 2, discordance / 2, 1 - discordance], size=_ROUNDS)
        logs = counts[:, 0] * better + counts[:, 1] * worse + counts[:, 2] * same
        top = logs.max(axis=0)
        log_e = top + np.log(np.exp(logs - top).mean(axis=0))
        return bool((log_e >= needed(alpha)).mean() >= power)

    return smallest_clearing(suffices, 8) if suffices(_MAX_PAIRS) else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
