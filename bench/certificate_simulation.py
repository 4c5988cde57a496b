"""Error rates and power of the non-inferiority certificate (``evaluation.stats.sequential``).

    .venv/bin/python -m bench.certificate_simulation [--rounds 2000] [--seed 14]

Prints Markdown. In the first table every candidate is worse by exactly the margin, so that each certificate is wrong.
"At any time" is read after every label up to n and certifies at the first that suffices; "at n" is read once.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

from evaluation.stats import alpha_level, paired_loss, pairs_needed
from evaluation.stats.sequential import BETS

ALPHA = 0.05
Draw = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray | None]]
Array = np.ndarray


def right_or_wrong(n: int, margin: float, discordance: float) -> Draw:
    """Gains of documents that are right or wrong: 1 with the candidate alone, -1 with the model of today alone."""
    worse, better = (discordance + margin) / 2, (discordance - margin) / 2

    def draw(rng: np.random.Generator) -> tuple[Array, None]:
        return rng.choice([-1.0, 0.0, 1.0], size=n, p=[worse, 1 - worse - better, better]), None

    return draw


def fields(n: int, margin: float, each: int = 8) -> Draw:
    """Gains of mean field accuracies: some documents are lost as a whole."""

    def draw(rng: np.random.Generator) -> tuple[Array, None]:
        lost = rng.random(n) < margin / 2
        before = rng.binomial(each, 0.95, n) / each
        after = np.where(lost, 0.0, rng.binomial(each, 0.95, n) / each)
        # What the lost documents do not account for, as a loss of single fields.
        rest = (margin - margin / 2 * 0.95) / ((1 - margin / 2) * 0.95)
        kept = rng.binomial((after * each).round().astype(int), 1 - rest) / each
        return np.where(lost, after, kept) - before, None

    return draw


def families(number: int, margin: float, *, largest: int = 20) -> Draw:
    """Whole families fail: uneven ones, in which all documents do the same."""

    def draw(rng: np.random.Generator) -> tuple[Array, Array]:
        sizes = np.minimum(largest, 1 + rng.geometric(0.25, number))
        gain = rng.choice([-1.0, 0.0, 1.0], size=number, p=[margin + 0.05, 0.90 - margin, 0.05])
        return np.repeat(gain, sizes), np.repeat(np.arange(number), sizes)

    return draw


def reached(gains: Array, margin: float, alpha: float) -> bool:
    """Whether the evidence suffices after any of the documents."""
    unit = 1 / (1 - margin)
    logs = np.cumsum(np.log1p(np.outer(np.asarray(BETS) * unit, gains + margin)), axis=1)
    top = logs.max(axis=0)
    return bool((top + np.log(np.exp(logs - top).mean(axis=0))).max() >= -math.log(alpha))


def reached_by_families(gains: Array, groups: Array, margin: float, alpha: float) -> bool:
    """The same after any of the families; the largest one is known from the start."""
    sums = np.bincount(groups, gains + margin)
    unit = 1 / (np.bincount(groups).max() * (1 - margin))
    logs = np.cumsum(np.log1p(np.outer(np.asarray(BETS) * unit, sums)), axis=1)
    top = logs.max(axis=0)
    return bool((top + np.log(np.exp(logs - top).mean(axis=0))).max() >= -math.log(alpha))


def bounded(gains: Array, groups: Array | None, margin: float, alpha: float) -> bool:
    """Whether the bound is below the margin, read once."""
    before, after = list(np.maximum(0, -gains)), list(np.maximum(0, gains))
    families = None if groups is None else list(groups)
    return paired_loss(before, after, families=families, confidence=1 - alpha).value < margin


def at_the_margin(rounds: int, seed: int) -> list[str]:
    """The table of wrong certificates."""
    cases: list[tuple[str, float, Draw]] = [
        *((f"right or wrong, margin {margin:.0%}, {discordance:.0%} differ, n = {n}", margin,
           right_or_wrong(n, margin, discordance))
          for margin, discordance in ((0.03, 0.05), (0.03, 0.2), (0.05, 0.06), (0.05, 0.3)) for n in (50, 200, 800)),
        *((f"field accuracy, margin 3%, n = {n}", 0.03, fields(n, 0.03)) for n in (100, 400)),
        *((f"{number} uneven families, margin 5%", 0.05, families(number, 0.05)) for number in (20, 60, 200)),
    ]  # fmt: skip
    lines = ["| Worse by exactly the margin | at any time | at n |", "|---|---:|---:|"]
    for at, (name, margin, draw) in enumerate(cases):
        rng = np.random.default_rng([seed, at])
        anytime = once = 0
        few = max(1, rounds // 4)
        for number in range(rounds):
            gains, groups = draw(rng)
            anytime += (
                reached(gains, margin, ALPHA) if groups is None else reached_by_families(gains, groups, margin, ALPHA)
            )
            once += number < few and bounded(gains, groups, margin, ALPHA)
        lines.append(f"| {name} | {anytime / rounds:.1%} | {once / few:.1%} |")
    return lines


def forty_seven(rounds: int, seed: int) -> list[str]:
    """Candidates that win 47% of the comparisons, so that they do not match: by the usual rule, and certified."""
    rng = np.random.default_rng([seed, 1_000])
    usual, best, certified, best_certified, accuracy = 0, 0, 0, 0, 0
    for _ in range(rounds):
        wins = rng.random((3, 200)) < 0.47
        usual += wins[0].sum() >= 100
        best += (wins.sum(axis=1) >= 100).any()
        # A win or a loss is worth half a comparison, so that 47% are 3 points behind.
        shown = [reached(np.where(win, 0.5, -0.5), 0.03, alpha_level(k)) for k, win in enumerate(wins, start=1)]
        certified += shown[0]
        best_certified += any(shown)
        before, after = rng.random(400) < 0.50, rng.random(400) < 0.47
        accuracy += reached(after.astype(float) - before, 0.03, ALPHA)
    return [
        "| A true 47% against 50% | taken for as good |", "|---|---:|",
        f"| 200 comparisons, half of them won or more | {usual / rounds:.1%} |",
        f"| the best of three such candidates | {best / rounds:.1%} |",
        f"| certified, margin 3 points, 200 comparisons | {certified / rounds:.1%} |",
        f"| certified, the best of three | {best_certified / rounds:.1%} |",
        f"| certified, accuracy on 400 documents, margin 3 points | {accuracy / rounds:.1%} |",
    ]  # fmt: skip


def needed(seed: int) -> list[str]:
    """The planner's table, with the power found by simulation at the planned number."""
    lines = [
        "| Margin | differ | labeled pairs needed | the third candidate | certified then |",
        "|---:|---:|---:|---:|---:|",
    ]
    for margin in (0.02, 0.03, 0.05):
        for discordance in (0.02, 0.05, 0.1, 0.2):
            n = pairs_needed(margin=margin, discordance=discordance, alpha=alpha_level(1))
            third = pairs_needed(margin=margin, discordance=discordance, alpha=alpha_level(3))
            assert n is not None
            rng = np.random.default_rng([seed, n])
            choices = [discordance / 2, 1 - discordance, discordance / 2]
            hits = sum(
                reached(rng.choice([-1.0, 0.0, 1.0], size=n, p=choices), margin, alpha_level(1)) for _ in range(500)
            )
            lines.append(f"| {margin:.0%} | {discordance:.0%} | {n:,} | {third or 0:,} | {hits / 500:.0%} |")
    return lines


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    began = time.monotonic()
    for table in (
        at_the_margin(options.rounds, options.seed), forty_seven(options.rounds, options.seed), needed(options.seed),
    ):  # fmt: skip
        print("\n".join(table), end="\n\n")
    print(f"{options.rounds} rounds, seed {options.seed}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
