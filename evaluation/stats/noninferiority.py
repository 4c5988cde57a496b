"""Non-inferiority of a candidate to what answers today, on the same documents with gold.

Null hypothesis: the candidate is worse by at least ``margin`` (mean over documents of before - after, each value
between 0 and 1). Two tests of it:

- ``evidence``: an e-value that may be read after every label. With x = after - before + margin, which is at least
  margin - 1, every factor 1 + lambda x is non-negative and has a mean of at most 1 under the null hypothesis. E is the
  mean over lambda of their products, so it reaches 1/alpha with a probability of at most alpha (Ville's inequality;
  Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86, 2024). No assumption
  beyond that of a random sample, for any number of documents.
- ``paired_loss``: an upper bound of the loss for a number of documents that was fixed before, read once. The gate on
  non-inferiority uses it as well.

Where documents come in families (of one vendor, of one caller), whole families are what is drawn at random. A family
then is one factor, with the sum of its documents over the size of the largest family.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from evaluation.stats.common import ALPHA, smallest_clearing
from evaluation.stats.losses import LossBound, paired_loss

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
        return -math.log(self.alpha)

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
    """Tests a candidate (``after``) against what answers today (``before``), in the same order of documents.

    ``families``: one for each document; documents with the same one are not independent. None: all are.

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
        discordance=_mean([gain * gain for gain in gains]), log_e=evidence(gains, groups, margin), bound=bound,
    )  # fmt: skip


def evidence(gains: Sequence[float], families: Sequence[Hashable], margin: float) -> float:
    """log E of the differences after - before; 0 without any. Documents of a family are one factor."""
    sums: dict[Hashable, float] = {}
    sizes: dict[Hashable, int] = {}
    for gain, family in zip(gains, families, strict=True):
        sums[family] = sums.get(family, 0.0) + gain + margin
        sizes[family] = sizes.get(family, 0) + 1
    if not sums:
        return 0.0
    unit = 1 / (max(sizes.values()) * (1 - margin))
    logs = [math.fsum(math.log1p(bet * unit * total) for total in sums.values()) for bet in BETS]
    top = max(logs)
    return top + math.log(sum(math.exp(one - top) for one in logs) / len(logs))


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
        found = top + np.log(np.exp(logs - top).mean(axis=0))
        return bool((found >= -math.log(alpha)).mean() >= power)

    return smallest_clearing(suffices, 8) if suffices(_MAX_PAIRS) else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
