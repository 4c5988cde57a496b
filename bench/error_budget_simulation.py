"""The audit of an error budget: how often it is broken although it is kept, how soon where it is not, and whether the
interval holds at every look.

    .venv/bin/python -m bench.error_budget_simulation [--rounds 1000] [--seed 14]

Prints Markdown. The audit is read after every judgment. Documents have four fields; where errors come together, a
document has an error half as often, and then two wrong fields on average.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator

import numpy as np

from evaluation.stats.sequential import ErrorRate

ALPHA = 0.05
FIELDS = 4
#: judgments after which a round ends, in units of 1 / budget
HORIZON = 60
FACTORS = (1.5, 2.0, 3.0, 5.0, 10.0)
BUDGETS = (0.005, 0.02)
Judgments = Callable[[np.random.Generator, float], Iterator[tuple[int, int]]]


def documents(rng: np.random.Generator, rate: float) -> Iterator[tuple[int, int]]:
    """Right or wrong documents."""
    while True:
        yield from ((int(wrong), 1) for wrong in rng.random(1_000) < rate)


def fields_alone(rng: np.random.Generator, rate: float) -> Iterator[tuple[int, int]]:
    """Documents whose fields are wrong independently."""
    while True:
        yield from ((int(wrong), FIELDS) for wrong in rng.binomial(FIELDS, rate, 1_000))


def fields_together(rng: np.random.Generator, rate: float) -> Iterator[tuple[int, int]]:
    """Documents with an error have about two."""
    while True:
        bad = rng.random(1_000) < 2 * rate
        wrong = np.where(bad, rng.binomial(FIELDS, 0.5, 1_000), 0)
        yield from ((int(errors), FIELDS) for errors in wrong)


KINDS: dict[str, tuple[Judgments, int]] = {
    "documents": (documents, 1),
    "fields": (fields_alone, 2 * FIELDS),
    "fields, errors together": (fields_together, 2 * FIELDS),
}


def broken_after(judgments: Iterator[tuple[int, int]], largest: int, budget: float, horizon: int) -> float:
    """Judged documents until the budget is shown to be exceeded; infinite: not within the horizon."""
    rate, limit = ErrorRate(largest), -math.log(ALPHA)
    for number, (wrong, counted) in zip(range(1, horizon + 1), judgments, strict=False):
        rate.add(wrong, counted)
        # Only an error adds evidence.
        if wrong and rate.log_e_above(budget) >= limit:
            return number
    return math.inf


def misses(judgments: Iterator[tuple[int, int]], largest: int, true: float, looks: int, every: int) -> bool:
    """Whether the interval misses the true rate at any look."""
    rate = ErrorRate(largest)
    for number, (wrong, counted) in zip(range(1, looks * every + 1), judgments, strict=False):
        rate.add(wrong, counted)
        if number % every == 0:
            low, high = rate.interval(ALPHA)
            if not low <= true <= high:
                return True
    return False


def delay_table(rounds: int, seed: int) -> list[str]:
    """The lines: median and 90% of the rounds."""
    lines = [
        "| Budget | kept | " + " | ".join(f"{factor:g} times" for factor in FACTORS) + " |",
        "|---|---:|" + "---:|" * len(FACTORS),
    ]
    for budget in BUDGETS:
        for at, (name, (make, largest)) in enumerate(KINDS.items()):
            horizon, cells = round(HORIZON / budget), []
            for step, factor in enumerate((1.0, *FACTORS)):
                rng = np.random.default_rng([seed, at, step, round(1e4 * budget)])
                documents = np.array(
                    [broken_after(make(rng, factor * budget), largest, budget, horizon) for _ in range(rounds)]
                )
                if factor == 1.0:
                    cells.append(f"{np.isfinite(documents).mean():.1%}")
                else:
                    cells.append(" / ".join(_rounded(np.quantile(documents, q, method="higher")) for q in (0.5, 0.9)))
            lines.append(f"| 1 in {round(1 / budget)}, {name} | " + " | ".join(cells) + " |")
    return lines


def _rounded(value: float) -> str:
    return "–" if np.isinf(value) else f"{round(float(value), -1 if value >= 100 else 0):,.0f}"


def coverage_table(rounds: int, seed: int) -> list[str]:
    """The lines: how often the 95% interval misses the true rate at any of 40 looks."""
    lines = ["| True rate | " + " | ".join(KINDS) + " |", "|---|" + "---:|" * len(KINDS)]
    for true in (0.005, 0.02, 0.1):
        cells = []
        for at, (make, largest) in enumerate(KINDS.values()):
            rng = np.random.default_rng([seed, 50 + at, round(1e4 * true)])
            missed = sum(misses(make(rng, true), largest, true, 40, 25) for _ in range(rounds))
            cells.append(f"{missed / rounds:.1%}")
        lines.append(f"| {true:.1%} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1_000)
    parser.add_argument("--interval-rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    began = time.monotonic()
    print("\n".join(delay_table(options.rounds, options.seed)), end="\n\n")
    print("\n".join(coverage_table(options.interval_rounds, options.seed)), end="\n\n")
    print(
        f"{options.rounds} and {options.interval_rounds} rounds, seed {options.seed}, {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
