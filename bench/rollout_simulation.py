"""Power and false aborts of a rollout: requests until a candidate that fails more often is stopped.

    .venv/bin/python -m bench.rollout_simulation [--rounds 5000] [--sticky] [--seed 14]

Prints Markdown. Every process is read after every failure, where alone it can grow. Failures are independent.
``--sticky``: callers always get the same version; twenty of very different size, each with a failure rate of its own
that also drifts.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.stats.sequential import (
    FIRST_CHECKPOINT,
    CallerCount,
    FailureRatio,
    PairedFailures,
    checkpoint_alpha,
    log_e_of_callers,
)

ALPHA = 0.05
STABLE = 0.01
CANDIDATES = (0.02, 0.03, 0.05, 0.10)
SHARES = (0.05, 0.10, 0.25, 0.50)
#: requests after which a round ends undecided
HORIZON = 100_000
Round = Callable[[np.random.Generator, float], int | None]


def shadow(rng: np.random.Generator, candidate: float) -> int | None:
    """Requests until the candidate is stopped in shadow, None: it is not."""
    process = PairedFailures()
    only = candidate * (1 - STABLE), STABLE * (1 - candidate)
    at = 0
    while (at := at + int(rng.geometric(sum(only)))) <= HORIZON:
        is_candidate = rng.random() < only[0] / sum(only)
        process.add(candidate_only=is_candidate, stable_only=not is_candidate)
        if process.worse and process.decided(ALPHA):
            return at
    return None


def canary(*shares: float) -> Round:
    """The same in a canary; with several shares they take turns every 1,000 requests."""

    def work(rng: np.random.Generator, candidate: float) -> int | None:
        process = FailureRatio()
        at = 0
        while True:
            share = shares[at // 1_000 % len(shares)]
            rate = share * candidate + (1 - share) * STABLE
            step, left = int(rng.geometric(rate)), 1_000 - at % 1_000
            if len(shares) > 1 and step > left:
                at += left
            else:
                at += step
                is_candidate = rng.random() < share * candidate / rate
                process.add(candidate=is_candidate, stable=not is_candidate, share=share)
                if process.decided(ALPHA):
                    return at
            if at > HORIZON:
                return None

    return work


def table(rounds: int, seed: int) -> list[str]:
    """The lines of the power table: the median, and 90% of the rounds."""
    columns: dict[str, Round] = {"shadow": shadow, **{f"canary {share:.0%}": canary(share) for share in SHARES}}
    lines = ["| Candidate fails | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for candidate in CANDIDATES:
        cells = []
        for at, work in enumerate(columns.values()):
            rng = np.random.default_rng([seed, at, round(1_000 * candidate)])
            requests = np.array([work(rng, candidate) or np.inf for _ in range(rounds)])
            cells.append(" / ".join(_rounded(float(np.quantile(requests, q, method="higher"))) for q in (0.5, 0.9)))
        lines.append(f"| {candidate:.0%} | " + " | ".join(cells) + " |")
    return lines


def _rounded(value: float) -> str:
    return f"> {HORIZON:,}" if np.isinf(value) else f"{round(value, -1 if value < 1_000 else -2):,.0f}"


def false_aborts(rounds: int, seed: int) -> list[str]:
    """How often a candidate that fails as often as the stable release is stopped within the horizon."""
    rows: dict[str, Round] = {"shadow": shadow, "canary 5%": canary(0.05), "5, 10, 25, 50% in turn": canary(*SHARES)}
    lines = ["| Stage | Aborted although equal |", "|---|---:|"]
    for at, (name, work) in enumerate(rows.items()):
        rng = np.random.default_rng([seed, 100 + at])
        stopped = sum(work(rng, STABLE) is not None for _ in range(rounds))
        lines.append(f"| {name} | {stopped / rounds:.1%} |")
    return lines


# -- callers that always get the same version ------------------------------------------------------------------------

CALLERS = 20
#: requests of the step, after which a round ends
CHECKPOINTS = 8
PAST = 5_000
Array = np.ndarray


@dataclass
class World:
    """Callers: the share of the requests that each sends, and how often they fail with the stable version."""

    sizes: Array
    before: Array
    now: Array


def world(rng: np.random.Generator, callers: int = CALLERS) -> World:
    """A Zipf law of sizes; rates around 1%, that double or halve between the past and now."""
    sizes = 1 / np.arange(1, callers + 1)
    before = np.minimum(0.5, rng.gamma(0.5, 0.02, callers))
    drift = np.exp(rng.normal(0, 0.5, callers))
    return World(rng.permutation(sizes / sizes.sum()), before, np.minimum(0.5, before * drift))


def aborted(rng: np.random.Generator, share: float, ratio: float, callers: int = CALLERS) -> tuple[bool, bool]:
    """Whether the candidate is aborted: by callers, and by requests, as if they were independent."""
    sample = world(rng, callers)
    is_candidate = rng.random(callers) < share
    rates = np.minimum(1.0, np.where(is_candidate, ratio, 1.0) * sample.now)
    past = rng.multinomial(PAST, sample.sizes)
    past_failed = rng.binomial(past, sample.before)
    seen, failed = np.zeros(callers, dtype=int), np.zeros(callers, dtype=int)
    by_callers = by_requests = False
    process = FailureRatio()
    for checkpoint in range(1, CHECKPOINTS + 1):
        total = FIRST_CHECKPOINT * 2 ** (checkpoint - 1)
        more = rng.multinomial(total - seen.sum(), sample.sizes)
        new = rng.binomial(more, rates)
        seen, failed = seen + more, failed + new
        counts = [
            CallerCount(bool(c), int(n), int(k), int(pn), int(pk))
            for c, n, k, pn, pk in zip(is_candidate, seen, failed, past, past_failed, strict=True)
        ]
        by_callers = by_callers or log_e_of_callers(counts, share) >= -np.log(checkpoint_alpha(checkpoint, ALPHA))
        process.add(candidate=float(new[is_candidate].sum()), stable=float(new[~is_candidate].sum()), share=share)
        by_requests = by_requests or process.decided(ALPHA)
    return by_callers, by_requests


def sticky_callers(rounds: int, seed: int) -> list[str]:
    """How often candidates are aborted."""
    heads = ("Share", "callers", "candidate fails", "aborted, callers count", "aborted, requests count")
    lines = [f"| {' | '.join(heads)} |", "|---:" * len(heads) + "|"]
    cases = [(share, CALLERS, 1.0) for share in (0.05, 0.1, 0.25, 0.5)]
    cases += [(0.25, 20, 10.0), (0.5, 20, 3.0), (0.5, 20, 10.0), (0.25, 200, 3.0), (0.5, 200, 3.0)]
    for at, (share, callers, ratio) in enumerate(cases):
        rng = np.random.default_rng([seed, at])
        shares = np.array([aborted(rng, share, ratio, callers) for _ in range(rounds)]).mean(axis=0)
        name = "as often" if ratio == 1 else f"{ratio:g} times as often"
        lines.append(f"| {share:.0%} | {callers} | {name} | {shares[0]:.1%} | {shares[1]:.1%} |")
    return lines


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5_000)
    parser.add_argument("--sticky", action="store_true", help="callers that always get the same version")
    parser.add_argument("--null-rounds", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    began = time.monotonic()
    if options.sticky:
        print("\n".join(sticky_callers(options.rounds, options.seed)))
        return
    print("\n".join(table(options.rounds, options.seed)), end="\n\n")
    print("\n".join(false_aborts(options.null_rounds, options.seed)), end="\n\n")
    print(f"{options.rounds} and {options.null_rounds} rounds, seed {options.seed}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
