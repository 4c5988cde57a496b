"""Evidence where a caller always gets the same version: callers, not requests, are what chance assigned. Pure.

Failures of one caller are not independent, so the processes of ``serving.rollouts.evidence`` do not apply. What is
random is the assignment: each caller went to the candidate with probability w, whatever it sends. Under the null
hypothesis (no caller's requests depend on the version) that is all, and for any q that depends on a caller's requests
but not on its version, the factors q / w for callers of the candidate and (1 - q) / (1 - w) for others have a mean of
1. E is the mean of their products over several q: a bet that callers who fail more often than they did before, with the
stable version, are the candidate's. The bet uses Poisson likelihood ratios and need not be right to be valid.

Each number of requests needs a new look at all callers, which is no martingale. So E is read at the 100th, 200th,
400th ... request only, and the k-th look decides at alpha 6 / (pi^2 k^2), whose sum is alpha.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from serving.rollouts.evidence import log_mean_exp

#: how many times as often the candidate's callers fail, and how much their requests are believed, each as likely
THETAS = (1.5, 2.0, 3.0, 5.0, 10.0)
BELIEFS = (0.1, 0.3, 1.0)
FIRST_LOOK = 100
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


def log_e(callers: Sequence[CallerCount], share: float) -> float:
    """The logarithm of the evidence that the candidate's callers fail more often because of it."""
    if not callers or not 0 < share < 1:
        return 0.0
    total = sum(one.past_requests for one in callers)
    overall = (sum(one.past_failures for one in callers) + _PRIOR_FAILURES) / (total + _PRIOR_TOTAL)
    logs = []
    for theta in THETAS:
        for belief in BELIEFS:
            logs.append(math.fsum(_factor(one, share, overall, theta, belief) for one in callers))
    return log_mean_exp(logs)


def _factor(one: CallerCount, share: float, overall: float, theta: float, belief: float) -> float:
    rate = (one.past_failures + _PRIOR_REQUESTS * overall) / (one.past_requests + _PRIOR_REQUESTS)
    ratio = belief * (one.failures * math.log(theta) - (theta - 1) * rate * one.requests)
    ratio = max(-_MAX_LOG, min(_MAX_LOG, ratio))
    # q / (1 - q) = w / (1 - w) * exp(ratio)
    whole = math.log(share * math.exp(ratio) + 1 - share)
    return ratio - whole if one.is_candidate else -whole


def look_of(requests: int) -> int:
    """The number of the newest look after so many requests; 0 before the first."""
    return int(math.log2(requests / FIRST_LOOK)) + 1 if requests >= FIRST_LOOK else 0


def alpha_of(look: int, alpha: float) -> float:
    """What the ``look``-th look decides at, from 1."""
    return alpha * 6 / (math.pi * look) ** 2
