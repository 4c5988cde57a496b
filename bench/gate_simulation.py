"""Error rates of gates: every function of ``evaluation.stats``, and whole workflows.

    .venv/bin/python -m bench.gate_simulation [--rounds 2000] [--only functions | workflows | correction |
                                               noninferiority]

Prints Markdown. Models are simulated at the threshold, so that every pass is a false positive.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import gate_workflow as workflow
from bench.gate_workflow import Plan, counted, naive
from evaluation.approvals.automation import automation
from evaluation.approvals.error_cost import mean_cost, mean_difference
from evaluation.stats import (
    benjamini_hochberg,
    by_family,
    canary,
    difference_interval,
    exact_lower,
    exact_upper,
    family_p_value,
    holm,
    mcnemar_exact,
    mean_bound,
    paired_loss,
    quantile_lower,
    quantile_upper,
    share_loss,
)
from slmstudio.intervals import wilson

Case = tuple[str, str, Callable[[np.random.Generator], bool], float]
FEWER = 400


def _share(rng: np.random.Generator, rate: float, documents: int = 150, fields: int = 8) -> list[float]:
    """Wrong fields of documents of which half are right or wrong as a whole."""
    whole = rng.random(documents) < 0.5
    alike, apart = (rng.random(documents) < rate) * fields, rng.binomial(fields, rate, documents)
    return [float(count) for count in np.where(whole, alike, apart)]


def _losses(rng: np.random.Generator, limit: float, churn: float, n: int) -> tuple[list[float], list[float]]:
    draw = rng.random(n)
    lost = churn + 2 * limit
    return [0.5] * n, list(np.where(draw < lost, 0.0, np.where(draw < lost + churn, 1.0, 0.5)))


def _automated(rng: np.random.Generator, limit: float, n: int) -> bool:
    """Whether a share is let through although of no share fewer than ``limit`` are wrong."""
    shares = automation(zip(rng.random(n), rng.random(n) >= limit, strict=True), limit)
    return shares.best is not None


def _false_discoveries(rng: np.random.Generator) -> float:
    """Share of false alarms among the alarms: 20 slices, of which 4 moved."""
    p_values = np.concatenate((rng.beta(0.1, 8, 4), rng.random(16)))
    alarms = [place for place, p in enumerate(benjamini_hochberg(list(p_values))) if p <= 0.05]
    return sum(place >= 4 for place in alarms) / max(1, len(alarms))


def _outside(value: float, ends: tuple[float, float]) -> bool:
    return not ends[0] <= value <= ends[1]


def cases() -> Iterator[Case]:
    """(function, where it is simulated, one round: is it wrong, how often it may be)."""
    yield "exact_lower", "rate 95%, n = 200", lambda r: exact_lower(int(r.binomial(200, 0.95)), 200) > 0.95, 0.05
    yield "exact_upper", "rate 2%, n = 150", lambda r: exact_upper(int(r.binomial(150, 0.02)), 150) < 0.02, 0.05
    yield "wilson", "rate 90%, n = 120", lambda r: _outside(0.9, wilson(int(r.binomial(120, 0.9)) / 120, 120)), 0.05

    def mcnemar(r: np.random.Generator) -> bool:
        changed = int(r.binomial(150, 0.2))
        fixed = int(r.binomial(changed, 0.5))
        return mcnemar_exact(fixed, changed - fixed) <= 0.05

    yield "mcnemar_exact", "20% of 150 change, no better", mcnemar, 0.05
    for margin, rate in ((0.05, 0.9), (0.02, 0.98)):
        words = f"truly worse by {100 * margin:.0f} points, {100 * rate:.0f}% before, 300 against 900"

        def not_worse(r: np.random.Generator, margin: float = margin, rate: float = rate) -> bool:
            k_a, k_b = int(r.binomial(900, rate)), int(r.binomial(300, rate - margin))
            return canary(k_a, 900, k_b, 300, margin).not_worse <= 0.05

        yield "canary, not worse", words, not_worse, 0.05

    def alike(r: np.random.Generator) -> bool:
        return canary(int(r.binomial(900, 0.85)), 900, int(r.binomial(300, 0.9)), 300, 0.05).alike <= 0.05

    yield "canary, alike", "truly better by 5 points", alike, 0.05

    def difference(r: np.random.Generator) -> bool:
        k_a, k_b = int(r.binomial(400, 0.95)), int(r.binomial(100, 0.92))
        return _outside(-0.03, difference_interval(k_a, 400, k_b, 100))

    yield "difference_interval", "95 against 92%, 400 against 100", difference, 0.05
    yield "holm", "8 fields, none moved", lambda r: min(holm(list(r.random(8)))) <= 0.05, 0.05
    truth = float(np.exp(0.5 * 1.6448536))

    def p95(r: np.random.Generator) -> bool:
        return (quantile_upper(list(r.lognormal(0, 0.5, 150))) or 9e9) < truth

    yield "quantile_upper (p95)", "150 latencies, log-normal", p95, 0.05

    def p95_low(r: np.random.Generator) -> bool:
        return (quantile_lower(list(r.lognormal(0, 0.5, 150))) or 0) > truth

    yield "quantile_lower (p95)", "150 latencies, log-normal", p95_low, 0.05
    yield "automation", "5% wrong whatever the confidence, limit 5%", lambda r: _automated(r, 0.05, 500), 0.05


def slow_cases() -> Iterator[Case]:
    """The same for what is bounded over documents: a few hundred rounds."""
    for limit, churn, n in ((0.02, 0.0, 60), (0.02, 0.05, 150), (0.05, 0.2, 300)):
        words = f"truly worse by {100 * limit:.0f} points, {n} documents, {100 * churn:.0f}% go either way"

        def loss(r: np.random.Generator, limit: float = limit, churn: float = churn, n: int = n) -> bool:
            return paired_loss(*_losses(r, limit, churn, n)).value < limit

        yield "paired_loss", words, loss, 0.05
    for rate in (0.1, 0.02):
        words = f"{100 * rate:.0f}% of fields, half of 150 documents entirely wrong"

        def share(r: np.random.Generator, rate: float = rate) -> bool:
            return share_loss(_share(r, rate), [8.0] * 150).value < rate

        yield "share_loss", words, share, 0.05

    def fields(r: np.random.Generator) -> bool:
        return exact_upper(int(sum(_share(r, 0.1))), 8 * 150) < 0.1

    yield "exact_upper on fields (not used)", "the same as above, 10%", fields, 0.05
    yield "mean_bound", "60 gamma costs", lambda r: (mean_bound(list(r.gamma(2.0, 1.0, 60))) or 9) < 2.0, 0.05

    def cost(r: np.random.Generator) -> bool:
        interval = mean_cost([5.0 * count for count in _share(r, 0.05, 200)], 40.0)
        return _outside(2.0, (interval.low, interval.high))

    yield "mean_cost", "5 a field, 5% of fields, 200 documents", cost, 0.05

    def dearer(r: np.random.Generator) -> bool:
        interval = mean_difference(_share(r, 0.1), _share(r, 0.1))
        return _outside(0.0, (interval.low, interval.high))

    yield "mean_difference", "no difference, 150 documents", dearer, 0.05


def functions(rounds: int) -> None:
    """The table of error rates of each function."""
    print("| function | simulated | wrong | may be |\n|---|---|---|---|")
    for functions, count in ((cases(), rounds), (slow_cases(), min(rounds, FEWER))):
        for name, words, is_wrong, may_be in functions:
            rng = np.random.default_rng(11)
            wrong = sum(is_wrong(rng) for _ in range(count)) / count
            print(f"| `{name}` | {words} | {shown(wrong, count)} | {100 * may_be:.0f}% |", flush=True)
    rng = np.random.default_rng(11)
    discovered = float(np.mean([_false_discoveries(rng) for _ in range(rounds)]))
    words = "false discoveries, 4 of 20 slices changed"
    print(f"| `benjamini_hochberg` | {words} | {100 * discovered:.1f}% | 5% |")


def workflows(rounds: int) -> None:
    """The table of whole workflows, with alpha spending and with every hold-out evaluation at 5%."""
    plan, single = Plan(), Plan(candidates=1)
    rows: Sequence[tuple[str, Callable[[np.random.Generator, Any], float], int]] = (
        (
            f"one candidate, {single.extensions} extensions ({single.evaluations} hold-out evaluations), 95% valid",
            lambda r, level: workflow.rates(r, rounds, single, threshold=0.95, level=level),
            rounds,
        ),
        (
            f"{plan.candidates} candidates, {plan.extensions} extensions ({plan.evaluations} evaluations), independent",
            lambda r, level: workflow.rates(r, rounds, plan, threshold=0.95, level=level),
            rounds,
        ),
        (
            "the same, correlation 0.5 between candidates",
            lambda r, level: workflow.rates(r, rounds, plan, threshold=0.95, rho=0.5, level=level),
            rounds,
        ),
        (
            "10 candidates evaluated, report on the best one, 200 documents",
            lambda r, level: workflow.best_of(
                r, 50 * rounds, documents=200, candidates=10, threshold=0.95, level=level
            ),
            50 * rounds,
        ),
        (
            "one candidate, the required sample labeled each time, 5 extensions",
            lambda r, level: workflow.by_price(r, rounds, first=100, extensions=5, threshold=0.95, level=level),
            rounds,
        ),
        (
            "10% of fields wrong allowed and true, 8 correlated fields, 10 candidates, 5 extensions",
            lambda r, level: workflow.field_errors(r, FEWER, plan, rate=0.1, level=level),
            FEWER,
        ),
        (
            "no regression of 2 points, 10 candidates truly worse by 2, 5 extensions, 5% churn",
            lambda r, level: workflow.regressions(r, FEWER, plan, limit=0.02, churn=0.05, level=level),
            FEWER,
        ),
        (
            "no regression of 5 points, 10 candidates truly worse by 5, 5 extensions, 20% churn",
            lambda r, level: workflow.regressions(r, FEWER, plan, limit=0.05, churn=0.2, level=level),
            FEWER,
        ),
    )
    print("| workflow | false passes | without alpha spending |\n|---|---|---|")
    for words, run, count in rows:
        shares = [run(np.random.default_rng(3), level) for level in (counted, naive)]
        print(f"| {words} | {shown(shares[0], count)} | {shown(shares[1], count)} |", flush=True)


def corrected(rounds: int) -> None:
    """The table of teams that correct what they see, in ten rounds with a hold-out evaluation each."""
    print("| team, ten rounds | false passes | without alpha spending | true rate at the end |\n|---|---|---|---|")
    for words, plan in workflow.TEAMS:
        spent, unspent = (
            workflow.simulate(np.random.default_rng(5), rounds, plan, level=level) for level in (counted, naive)
        )
        rate = f"{100 * spent.rate:.1f}%"
        print(f"| {words} | {shown(spent.false, rounds)} | {shown(unspent.false, rounds)} | {rate} |", flush=True)


# -- non-inferiority where documents come in families ------------------------------------------------
#
# The candidate and the production model are right or wrong about each document. What differs belongs to the family: the
# candidate is wrong about all documents of some families and right about all of others (whole families), or has its own
# chance of a loss or gain in each (spread). Both are drawn with a true mean loss, which is the margin for false passes.

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Families:
    """``families`` of ``documents`` each."""

    families: int
    documents: int

    def __str__(self) -> str:
        return f"{self.families} x {self.documents}"


#: losses of each document (1, 0 or -1), a row per family, from the true mean loss and the share that gains
Draw = Callable[[np.random.Generator, Families, float, float], Array]


def whole_families(rng: np.random.Generator, plan: Families, loss: float, gain: float) -> Array:
    """Each family is lost, gained or unchanged as a whole."""
    drawn = rng.choice([1.0, -1.0, 0.0], size=plan.families, p=[loss + gain, gain, 1 - loss - 2 * gain])
    return np.repeat(drawn[:, None], plan.documents, axis=1)


def spread(rng: np.random.Generator, plan: Families, loss: float, gain: float) -> Array:
    """The chance that a document of a family is lost is drawn for the family; correlation 0.5 in a family."""
    mean = loss + gain
    own = rng.beta(mean, 1 - mean, plan.families)[:, None]
    lost = rng.random((plan.families, plan.documents)) < own
    gained = ~lost & (rng.random((plan.families, plan.documents)) < gain / (1 - mean))
    return lost * 1.0 - gained * 1.0


DRAWS: dict[str, Draw] = {"whole families differ": whole_families, "each family has its own chance": spread}
FAMILIES = (Families(100, 1), Families(20, 5), Families(10, 10), Families(100, 5), Families(300, 5))


def passes(losses: Array, margin: float, level: float = 0.05) -> tuple[bool, bool]:
    """Whether a gate passes that counts documents, and the gate, which counts families as well."""
    rows = [(at, float(loss), 1.0) for at, family in enumerate(losses) for loss in family]
    if family_p_value([row[1:] for row in rows], margin) > level:
        return False, False
    counts = by_family(rows)
    return True, len(counts) == len(rows) or family_p_value(counts, margin) <= level


def passing(draw: Draw, plan: Families, *, margin: float, loss: float, gain: float, rounds: int, seed: int) -> Array:
    """How often both gates pass at this true mean loss."""
    rng = np.random.default_rng([seed, plan.families, plan.documents])
    return np.mean([passes(draw(rng, plan, loss, gain), margin) for _ in range(rounds)], axis=0)


def noninferior(rounds: int) -> None:
    """The table of the gate on non-inferiority: worse by exactly the margin, as good, and without any difference."""
    print(
        "| plan | margin | differences | false: documents | **false: families** | as good | the same |\n"
        "|---|---:|---|---:|---:|---:|---:|"
    )
    for margin in (0.05, 0.1):
        for plan in FAMILIES:
            for words, draw in DRAWS.items():
                wrong, as_good, same = (
                    passing(draw, plan, margin=margin, loss=loss, gain=gain, rounds=rounds, seed=15)
                    for loss, gain in ((margin, 0.02), (0.0, 0.02), (0.0, 1e-9))
                )
                cells = [
                    shown(wrong[0], rounds),
                    f"**{shown(wrong[1], rounds)}**",
                    f"{as_good[1]:.1%}",
                    f"{same[1]:.1%}",
                ]
                print(f"| {plan} | {100 * margin:.0f} points | {words} | {' | '.join(cells)} |", flush=True)


def shown(share: float, rounds: int) -> str:
    """A share in per cent, with twice the error of the simulation."""
    return f"{100 * share:.2f}% ± {200 * (share * (1 - share) / rounds) ** 0.5:.2f}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--only", choices=("functions", "workflows", "correction", "noninferiority"))
    options = parser.parse_args()
    started = time.monotonic()
    tables = {"functions": functions, "workflows": workflows, "correction": corrected, "noninferiority": noninferior}
    for name, table in tables.items():
        if options.only in (None, name):
            table(options.rounds)
            print()
    print(f"{options.rounds:,} rounds, {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
