"""Judges of what a run takes: latency, throughput, cost, memory. Fresh measurements only."""

import math
from collections.abc import Callable
from typing import NamedTuple

from evaluation.gates.metrics import wording as say
from evaluation.gates.metrics.findings import Finding, Levels, Status, nothing
from evaluation.gates.policy.definition import plain
from evaluation.scores.measurements import Measurement
from evaluation.stats import Price, documents_needed, mean_bound, percentile, quantile_lower, quantile_upper

FEWEST_FOR_A_MEAN = 20


def latency(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """The 95th percentile of latencies, bounds by quantile test; the same as "95 % are within the limit"."""
    within = sum(value <= threshold for value in got.values)
    price = documents_needed(within, len(got.values), 0.95, levels.later_alpha)
    if unusable := _unusable(got, price):
        return unusable
    measured = percentile(got.values, 0.95)
    low = quantile_lower(got.values, 0.95, levels.confidence)
    high = quantile_upper(got.values, 0.95, levels.confidence)
    what, allowed = (
        f"the p95 of {say.requests(got.n)} is {say.ms(measured)}",
        f"at most {say.ms(threshold)} is allowed",
    )
    found = Finding(Status.NOT_PROVEN, "", measured, low, high, within)
    if high is not None and high <= threshold:
        return found._replace(status=Status.PASS, words=f"{what}, at most {say.ms(high)}; {allowed}")
    if low is not None and low > threshold:
        return found._replace(status=Status.FAIL, words=f"{what}, at least {say.ms(low)}; {allowed}")
    doubt = "too few to bound it" if high is None else f"but it could be {say.ms(high)}"
    if price is None:
        advice = "more requests will not prove it, they have to be faster"
    else:
        failures = say.some(price.allowed_failures)
        advice = f"measure {price.more:,} more, {failures} of them slower than that"
    return found._replace(words=f"{what}, {doubt}; {allowed}; {advice}", price=price)


def cost(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """The mean cost of a request."""
    view = MeanView("cost", float, lambda cost: f"{plain(float(f'{cost:.3g}'))} each", "at most", "at least")
    return _mean(threshold, got, levels, view)


def throughput(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Requests per second, from the milliseconds each request keeps the machine busy: 1000 / their mean."""
    view = MeanView(
        "make", _per_second, lambda rate: f"{plain(float(f'{rate:.3g}'))} per second", "at least", "at most"
    )
    return _mean(1000 / threshold if threshold else math.inf, got, levels, view)


def _per_second(ms: float) -> float:
    return 1000 / max(ms, 1e-6)


class MeanView(NamedTuple):
    """How a mean is spoken of: the quantity people asked about, its words, and the side that is good."""

    verb: str
    shown: Callable[[float], float]
    words: Callable[[float], str]
    good: str
    bad: str


def _mean(limit: float, got: Measurement, levels: Levels, view: MeanView) -> Finding:
    """A mean that must stay below ``limit`` (``stats.mean_bound``); below 20 values it is not judged."""
    price = Price(FEWEST_FOR_A_MEAN - got.n, 0) if got.n < FEWEST_FOR_A_MEAN else None
    if unusable := _unusable(got, price):
        return unusable

    def words(value: float) -> str:
        return view.words(view.shown(value))

    mean = sum(got.values) / got.n
    what, asked = f"{say.requests(got.n)} {view.verb} {words(mean)}", f"{view.good} {words(limit)} is asked"
    found = Finding(Status.NOT_PROVEN, "", view.shown(mean), rough=True)
    high = mean_bound(got.values, "less", confidence=levels.confidence)
    low = mean_bound(got.values, "greater", confidence=levels.confidence)
    if price or high is None or low is None:
        few = FEWEST_FOR_A_MEAN - got.n
        return found._replace(words=f"{what}, too few to say; {asked}; measure {few} more", price=price)
    ends = sorted((view.shown(low), view.shown(high)))
    found = found._replace(low=ends[0], high=ends[1])
    if high <= limit:
        return found._replace(status=Status.PASS, words=f"{what}, {view.good} {words(high)}; {asked}")
    if low > limit:
        return found._replace(status=Status.FAIL, words=f"{what}, {view.bad} {words(low)}; {asked}")
    advice = "as things stand more requests will not prove it"
    if mean < limit:
        reach = (mean_bound(got.values, "less", confidence=levels.later_confidence) or high) - mean
        price = Price(max(1, math.ceil(got.n * (reach / (limit - mean)) ** 2) - got.n), 0)
        advice = f"measure about {price.more:,} more"
    return found._replace(words=f"{what}, which could mean {words(high)}; {asked}; {advice}", price=price)


def _unusable(got: Measurement, price: Price | None) -> Finding | None:
    """A verdict for what cannot be judged: no values, or values that were not measured afresh."""
    if not got.values:
        return nothing(got, price, "measure", "over the limit")
    if not got.fresh:
        return Finding(Status.NOT_PROVEN, "this was not measured for the judgement; measure it afresh")
    return None


def memory(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """The highest use of memory seen, in GB of 10**9 bytes; a peak is a fact of this run, without a bound."""
    if unusable := _unusable(got, None):
        return unusable
    peak = max(got.values)
    words = f"{plain(round(peak, 2))} GB at the most; at most {plain(threshold)} GB is allowed"
    return Finding(Status.PASS if peak <= threshold else Status.FAIL, words, peak, peak, peak)
