"""How often drift is found, and how often it is found where there is none: ``python -m bench.drift_simulation``.

Made-up documents with twelve metrics. False alarms: one evaluation, 90 daily checks of documents from the same
population. Power: the share of first checks that find a change.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np

from bench.harness import set_up_django, table

set_up_django()

from serving.monitoring.drift import LEVEL, PERIOD_DAYS, PERIOD_LEVEL, Profile, Value, compare  # noqa: E402

Rng = np.random.Generator


def population(rng: Rng, number: int, **changes: float) -> list[Profile]:
    """Documents. ``changes``: ``length`` times as long, ``null`` and ``french`` shares, ``unsure`` confidences."""
    lengths = np.round(changes.get("length", 1.0) * rng.lognormal(7, 0.6, number))
    french = rng.random(number) < changes.get("french", 0.02)
    totals = np.round(rng.lognormal(5, 1, number), 2)
    currencies = rng.choice(["EUR", "USD", "GBP", "CHF"], number, p=[0.7, 0.2, 0.07, 0.03])
    nulls = [rng.random(number) < share for share in (changes.get("null", 0.05), 0.0, 0.2, 0.5)]
    confidences = [rng.beta(8 if index else 8 / changes.get("unsure", 1.0), 1, number).round(4) for index in range(4)]
    documents = []
    for at in range(number):
        values: dict[str, Value] = {
            "length": float(lengths[at]), "language": "fr" if french[at] else "en",
            "value total": float(totals[at]), "value currency": str(currencies[at]),
        }  # fmt: skip
        values |= {f"null {name}": bool(drawn[at]) for name, drawn in zip("abcd", nulls, strict=True)}
        values |= {f"confidence {name}": float(drawn[at]) for name, drawn in zip("abcd", confidences, strict=True)}
        documents.append(values)
    return documents


def false_alarms(rng: Rng, reference: int, live: int, rounds: int) -> tuple[float, float]:
    """The share of periods with an alarm, and the share of checks with one, where nothing changes."""
    periods = checks = 0
    for _ in range(rounds):
        first = population(rng, reference)
        alarms = sum(
            any(change.adjusted <= LEVEL for change in compare(first, population(rng, live)))
            for _ in range(PERIOD_DAYS)
        )
        periods += alarms > 0
        checks += alarms
    return periods / rounds, checks / rounds / PERIOD_DAYS


def power(rng: Rng, reference: int, live: int, rounds: int, changes: dict[str, float]) -> float:
    """The share of first checks that find the change."""
    times = 0
    for _ in range(rounds):
        pair = population(rng, reference), population(rng, live, **changes)
        times += any(change.changed for change in compare(*pair))
    return times / rounds


SIZES = ((100, 200), (200, 500), (500, 2_000))
CHANGES: dict[str, dict[str, float]] = {
    "documents 25% longer": {"length": 1.25},
    "documents 50% longer": {"length": 1.5},
    "documents twice as long": {"length": 2.0},
    "null in 15% instead of 5%": {"null": 0.15},
    "null in 25% instead of 5%": {"null": 0.25},
    "another language in 12% instead of 2%": {"french": 0.12},
    "another language in 25% instead of 2%": {"french": 0.25},
    "mean confidence 0.80 instead of 0.89": {"unsure": 2.0},
}


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="of each power")
    parser.add_argument("--periods", type=int, default=100)
    parser.add_argument("--seed", type=int, default=14)
    options = parser.parse_args()
    make: Callable[[], Rng] = lambda: np.random.default_rng(options.seed)  # noqa: E731
    rng, rows = make(), []
    for reference, live in SIZES[:2]:
        period, check = false_alarms(rng, reference, live, options.periods)
        spread = 1.96 * math.sqrt(max(period * (1 - period), 0.25 / options.periods) / options.periods)
        rows.append((f"{reference}, {live}", f"{period:.1%} ± {spread:.1%}", f"{check:.3%}"))
    heads = ("evaluation, live", f"alarm in {PERIOD_DAYS} days (limit {PERIOD_LEVEL:.0%})", f"a check ({LEVEL:.3%})")
    print(table("False alarms where nothing changes, without the least effect", heads, rows))
    powers: list[tuple[str, ...]] = []
    for name, changes in CHANGES.items():
        powers.append((name, *(f"{power(rng, *size, options.rounds, changes):.0%}" for size in SIZES)))
    print(table("Found by the first check", ("change", *(f"{a}, {b}" for a, b in SIZES)), powers))


if __name__ == "__main__":
    main()
