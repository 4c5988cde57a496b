"""False aborts and power of a canary whose callers always get the same version (``evaluation.stats.sequential``).

    .venv/bin/python -m bench.sticky_simulation [--rounds 1000] [--seed 14]

Twenty callers of very different size, each with a failure rate of its own that also drifts. Prints Markdown.
"""

import argparse
import time
from dataclasses import dataclass

import numpy as np

from evaluation.stats.sequential import (
    FIRST_CHECKPOINT,
    CallerCount,
    FailureRatio,
    checkpoint_alpha,
    log_e_of_callers,
)

ALPHA = 0.05
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


def table(rounds: int, seed: int) -> list[str]:
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
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    began = time.monotonic()
    print("\n".join(table(options.rounds, options.seed)), end="\n\n")
    print(f"{options.rounds} rounds, seed {options.seed}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
