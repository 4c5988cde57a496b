"""False passes and power of a gate where documents come in families (``evaluation.stats.families``).

    .venv/bin/python -m bench.family_simulation [--rounds 2000] [--seed 15] [--only errors | power]

A gate allows 5% of failures. In the first table 5% fail in truth, so that every pass is false; in the second 1%, so
that every pass is right. Both are read at 95% confidence. Prints Markdown.
"""

import argparse
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import beta

from evaluation.stats import exact_upper, family_p_value
from slmstudio.intervals import effective_number

LIMIT = 0.05
Array = np.ndarray[Any, Any]
#: failures and size of each family, from the true rate of failures
Plan = Callable[[np.random.Generator, float], tuple[Array, Array]]


def fails_wholly(sizes: Array) -> Plan:
    """Each family fails as a whole, or not at all."""
    return lambda rng, rate: (sizes * (rng.random(len(sizes)) < rate), sizes)


def equal(families: int, documents: int) -> Array:
    """Sizes of equal families."""
    return np.full(families, float(documents))


def zipf(families: int, documents: int) -> Array:
    """Sizes by Zipf's law."""
    shares = 1 / np.arange(1, families + 1)
    return np.maximum(1.0, np.round(documents * shares / shares.sum()))


def beta_binomial(families: int, documents: int, correlation: float) -> Plan:
    """The difficulty of each family is drawn; ``correlation`` of two documents of one."""

    def draw(rng: np.random.Generator, rate: float) -> tuple[Array, Array]:
        total = 1 / correlation - 1
        own = rng.beta(rate * total, (1 - rate) * total, families)
        return rng.binomial(documents, own).astype(float), equal(families, documents)

    return draw


def mixture(families: int, documents: int) -> Plan:
    """Most failures are of whole families, which a sample may miss; the others are of single documents."""

    def draw(rng: np.random.Generator, rate: float) -> tuple[Array, Array]:
        whole = 0.6 * rate
        single = rng.binomial(documents, (rate - whole) / (1 - whole), families)
        return np.where(rng.random(families) < whole, documents, single).astype(float), equal(families, documents)

    return draw


def random_sizes(families: int, spread: float) -> Plan:
    """Log-normal sizes of five on average; each family fails as a whole, or not at all."""

    def draw(rng: np.random.Generator, rate: float) -> tuple[Array, Array]:
        return fails_wholly(np.ceil(5 * rng.lognormal(-spread * spread / 2, spread, families)))(rng, rate)

    return draw


def larger_fail_more(families: int, spread: float) -> Plan:
    """The same, and the chance of failing is proportional to the size."""

    def sizes_of(rng: np.random.Generator, number: int) -> Array:
        return np.ceil(5 * rng.lognormal(-spread * spread / 2, spread, number))

    many = sizes_of(np.random.default_rng(0), 100_000)

    @cache
    def chance(rate: float) -> float:
        """Of failing, per document of the family."""
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            is_low = float((many * np.minimum(1, middle * many)).sum() / many.sum()) < rate
            low, high = (middle, high) if is_low else (low, middle)
        return high

    def draw(rng: np.random.Generator, rate: float) -> tuple[Array, Array]:
        sizes = sizes_of(rng, families)
        return sizes * (rng.random(families) < np.minimum(1, chance(rate) * sizes)), sizes

    return draw


def only_large_fail(families: int, share: float, size: int) -> Plan:
    """A share of the families is large; these alone fail."""

    def draw(rng: np.random.Generator, rate: float) -> tuple[Array, Array]:
        is_large = rng.random(families) < share
        chance = rate * (share * size + 1 - share) / (share * size)
        sizes = np.where(is_large, float(size), 1.0)
        return sizes * (is_large & (rng.random(families) < chance)), sizes

    return draw


def long_documents(documents: int, *, only_they_fail: bool) -> Plan:
    """Fields: 3% of the documents have 400 of them, the others 8. Documents fail as a whole."""

    def draw(rng: np.random.Generator, rate: float) -> tuple[Array, Array]:
        is_long = rng.random(documents) < 0.03
        fields = np.where(is_long, 400.0, 8.0)
        chance = rate * (0.03 * 400 + 0.97 * 8) / (0.03 * 400) if only_they_fail else rate
        fails = (rng.random(documents) < chance) & (is_long | np.full(documents, not only_they_fail))
        return fields * fails, fields

    return draw


PLANS: dict[str, Plan] = {
    "100 x 1": fails_wholly(equal(100, 1)),
    "20 x 5": fails_wholly(equal(20, 5)),
    "10 x 10": fails_wholly(equal(10, 10)),
    "60 x 5": fails_wholly(equal(60, 5)),
    "100 x 10": fails_wholly(equal(100, 10)),
    "300 x 5": fails_wholly(equal(300, 5)),
    "Zipf, 60 of 300": fails_wholly(zipf(60, 300)),
    "Zipf, 300 of 1,500": fails_wholly(zipf(300, 1500)),
    "log-normal sizes, 100": random_sizes(100, 0.7),
    "log-normal sizes, 300": random_sizes(300, 0.7),
    "one family of 30%": fails_wholly(np.append(equal(140, 1), 60.0)),
    "one family of 30%, 400 others": fails_wholly(np.append(equal(400, 1), 171.0)),
    "beta-binomial, 0.1": beta_binomial(100, 5, 0.1),
    "beta-binomial, 0.5": beta_binomial(100, 5, 0.5),
    "beta-binomial, 0.8": beta_binomial(200, 10, 0.8),
    "whole families and single documents, 60 x 5": mixture(60, 5),
    "whole families and single documents, 200 x 5": mixture(200, 5),
    "the larger, the more likely to fail, 100": larger_fail_more(100, 0.7),
    "the larger, the more likely to fail, 300": larger_fail_more(300, 1.0),
    "the larger, the more likely to fail, 1,000": larger_fail_more(1000, 1.0),
    "only 5% large families fail, 200": only_large_fail(200, 0.05, 30),
    "fields, 3% long documents, 150": long_documents(150, only_they_fail=False),
    "fields, only 3% long documents fail, 600": long_documents(600, only_they_fail=True),
}


def passes(failed: Array, sizes: Array, limit: float) -> tuple[bool, bool]:
    """Whether a gate passes that counts documents, and one that counts families as well."""
    by_documents = exact_upper(int(failed.sum()), int(sizes.sum())) <= limit
    by_families = by_documents and family_p_value(list(zip(failed, sizes, strict=True)), limit) <= 0.05
    return by_documents, by_families


def passes_by_design_effect(failed: Array, sizes: Array, limit: float) -> bool:
    """Whether the exact bound of the effective number of documents is within the limit (Korn and Graubard 1998)."""
    n = min(float(sizes.sum()), effective_number(list(zip(failed, sizes, strict=True))))
    wrong = n * float(failed.sum() / sizes.sum())
    return bool(beta.ppf(0.95, wrong + 1, max(n - wrong, 1e-9)) <= limit)


def table(rounds: int, seed: int, rate: float) -> None:
    """Prints how often a gate passes, by plan."""
    print("| plan | by documents | by design effect | by families |\n|---|---:|---:|---:|")
    for at, (name, plan) in enumerate(PLANS.items()):
        rng = np.random.default_rng([seed, at])
        passed = np.zeros(3)
        for _ in range(rounds):
            drawn = plan(rng, rate)
            by_documents, by_families = passes(*drawn, LIMIT)
            passed += by_documents, passes_by_design_effect(*drawn, LIMIT), by_families
        print(f"| {name} | {' | '.join(shown(share, rounds) for share in passed / rounds)} |", flush=True)


def shown(share: float, rounds: int) -> str:
    """A share in percent, with twice the standard error of the simulation."""
    return f"{100 * share:.1f}% ± {200 * (share * (1 - share) / rounds) ** 0.5:.1f}"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=15)
    parser.add_argument("--only", choices=("errors", "power"))
    options = parser.parse_args()
    began = time.monotonic()
    for name, rate in (("errors", LIMIT), ("power", 0.01)):
        if options.only in (None, name):
            print(f"{100 * rate:.0f}% fail\n")
            table(options.rounds, options.seed, rate)
            print()
    print(f"{options.rounds:,} rounds, seed {options.seed}, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
