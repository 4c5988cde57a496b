"""One judge for each kind of metric: bounds, verdict, words and price. ``evaluation.gates`` is the way in.

A judge gets the threshold, the measurement and the levels, and returns a Finding.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from evaluation.measurements import Measurement, percentile
from evaluation.policy import plain
from evaluation.stats import (
    Price,
    documents_for,
    documents_needed,
    exact_lower,
    exact_upper,
    mean_bound,
    paired_loss,
    quantile_lower,
    quantile_upper,
    share_loss,
)

FEWEST_FOR_A_MEAN = 20
SMALL_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Status(StrEnum):
    """The three answers a gate can give."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_PROVEN = "NOT PROVEN"


class Levels(NamedTuple):
    """The confidence of this look, and the confidence and error level at which a proof is priced."""

    confidence: float
    later_confidence: float
    later_alpha: float


class Finding(NamedTuple):
    """What a judge found. A ``rough`` price assumes "go on as so far" instead of counting failures."""

    status: Status
    words: str
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    k: int | None = None
    price: Price | None = None
    rough: bool = False


def _schema_valid(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Share of schema-valid documents, exact binomial bounds."""
    asked = f"{_percent(threshold)} is asked"
    price = documents_needed(got.k or 0, got.n, threshold, levels.later_alpha)
    if got.k is None or got.n == 0:
        return _nothing(got, price)
    k, n = got.k, got.n
    low, high = exact_lower(k, n, levels.confidence), exact_upper(k, n, levels.confidence)
    found = Finding(Status.NOT_PROVEN, "", k / n, low, high, k)
    if low >= threshold:
        return found._replace(status=Status.PASS, words=f"{k:,} of {n:,} shows at least {_bound(low)}, {asked}")
    if high < threshold:
        words = f"{k:,} of {n:,} shows at most {_bound(high, threshold)}, {asked}"
        return found._replace(status=Status.FAIL, words=words)
    advice = _advice(price, k / n > threshold, best=_best(n - k, n, threshold, levels.later_alpha))
    words = f"{k:,} of {n:,} shows only {_bound(low, threshold)}, {asked}; {advice}"
    return found._replace(words=words, price=price)


def _document_errors(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Share of documents with an error, exact binomial bounds."""
    allowed = f"at most {_percent(threshold)} is allowed"
    price = documents_needed(got.n - (got.k or 0), got.n, round(1 - threshold, 12), levels.later_alpha)
    if got.k is None or got.n == 0:
        return _nothing(got, price)
    k, n = got.k, got.n
    low, high = exact_lower(k, n, levels.confidence), exact_upper(k, n, levels.confidence)
    found = Finding(Status.NOT_PROVEN, "", k / n, low, high, k)
    if high <= threshold:
        words = f"{k:,} of {n:,} wrong shows at most {_bound(high)}, {allowed}"
        return found._replace(status=Status.PASS, words=words)
    if low > threshold:
        words = f"{k:,} of {n:,} wrong shows at least {_bound(low, threshold)}, {allowed}"
        return found._replace(status=Status.FAIL, words=words)
    advice = _advice(price, k / n < threshold, best=_best(k, n, 1 - threshold, levels.later_alpha))
    words = f"{k:,} of {n:,} wrong could mean {_bound(high, threshold)}, {allowed}; {advice}"
    return found._replace(words=words, price=price)


def _field_errors(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Share of wrong fields. Fields of a document go wrong together, so whole documents are resampled
    (``stats.share_loss``); with no error seen the bound is the exact one on documents."""
    wrong, counted = [w for w, _ in got.pairs], [c for _, c in got.pairs]
    if not got.pairs:
        return _nothing(got, documents_needed(0, 0, round(1 - threshold, 12), levels.later_alpha))
    upper = share_loss(wrong, counted, confidence=levels.confidence)
    right = [c - w for w, c in got.pairs]
    low = 1 - share_loss(right, counted, confidence=levels.confidence).value
    what = f"{sum(wrong):,.0f} of {sum(counted):,.0f} fields wrong in {_documents(got.n)}"
    allowed = f"at most {_percent(threshold)} is allowed"
    found = Finding(Status.NOT_PROVEN, "", upper.estimate, low, upper.value, upper.losing)
    if upper.value <= threshold:
        return found._replace(status=Status.PASS, words=f"{what} shows at most {_bound(upper.value)}, {allowed}")
    if low > threshold:
        words = f"{what} shows at least {_bound(low, threshold)}, {allowed}"
        return found._replace(status=Status.FAIL, words=words)
    later = share_loss(wrong, counted, confidence=levels.later_confidence)
    price, rough = _loss_price(later.documents_for(threshold), got.n, upper.losing)
    advice = _advice(price, upper.estimate < threshold, rough)
    words = f"{what} could mean {_bound(upper.value, threshold)}, {allowed}; {advice}"
    return found._replace(words=words, price=price, rough=rough)


def _no_regression(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Mean difference to the baseline on the same documents, resampled whole (``stats.paired_loss``)."""
    if not got.pairs:
        return _nothing(got, None)
    before, after = [b for b, _ in got.pairs], [a for _, a in got.pairs]
    loss = paired_loss(before, after, confidence=levels.confidence)
    gain = paired_loss(after, before, confidence=levels.confidence)
    what = f"{_points(-loss.estimate)} against {got.against} on the same {_documents(got.n)}"
    allowed = f"{plain(-100 * threshold)} points is allowed"
    found = Finding(Status.NOT_PROVEN, "", 0.0 - loss.estimate, -loss.value, gain.value, loss.losing)
    if loss.value < threshold:
        return found._replace(status=Status.PASS, words=f"{what}, at worst {_points(-loss.value)}; {allowed}")
    if -gain.value > threshold:
        return found._replace(status=Status.FAIL, words=f"{what}, at best {_points(gain.value)}; {allowed}")
    later = paired_loss(before, after, confidence=levels.later_confidence)
    price, rough = _loss_price(later.documents_for(threshold), got.n, loss.losing)
    advice = _advice(price, loss.estimate < threshold, rough, "worse")
    words = f"{what}, which could mean {_points(-loss.value, -threshold)}; {allowed}; {advice}"
    return found._replace(words=words, price=price, rough=rough)


def _latency(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """The 95th percentile of latencies, bounds by quantile test; the same as "95 % are within the limit"."""
    within = sum(value <= threshold for value in got.values)
    price = documents_needed(within, len(got.values), 0.95, levels.later_alpha)
    if unusable := _unusable(got, price):
        return unusable
    measured = percentile(got.values, 0.95)
    low = quantile_lower(got.values, 0.95, levels.confidence)
    high = quantile_upper(got.values, 0.95, levels.confidence)
    what, allowed = (
        f"the p95 of {_requests(got.n)} is {_ms(measured)}",
        f"at most {_ms(threshold)} is allowed",
    )
    found = Finding(Status.NOT_PROVEN, "", measured, low, high, within)
    if high is not None and high <= threshold:
        return found._replace(status=Status.PASS, words=f"{what}, at most {_ms(high)}; {allowed}")
    if low is not None and low > threshold:
        return found._replace(status=Status.FAIL, words=f"{what}, at least {_ms(low)}; {allowed}")
    doubt = "too few to bound it" if high is None else f"but it could be {_ms(high)}"
    if price is None:
        advice = "more requests will not prove it, they have to be faster"
    else:
        failures = _some(price.allowed_failures)
        advice = f"measure {price.more:,} more, {failures} of them slower than that"
    return found._replace(words=f"{what}, {doubt}; {allowed}; {advice}", price=price)


def _cost(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """The mean cost of a request."""
    view = MeanView("cost", float, lambda cost: f"{plain(float(f'{cost:.3g}'))} each", "at most", "at least")
    return _mean(threshold, got, levels, view)


def _throughput(threshold: float, got: Measurement, levels: Levels) -> Finding:
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
    what, asked = f"{_requests(got.n)} {view.verb} {words(mean)}", f"{view.good} {words(limit)} is asked"
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
        return _nothing(got, price, "measure", "over the limit")
    if not got.fresh:
        return Finding(Status.NOT_PROVEN, "this was not measured for the judgement; measure it afresh")
    return None


def _memory(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """The highest use of memory seen, in GB of 10**9 bytes; a peak is a fact of this run, without a bound."""
    if unusable := _unusable(got, None):
        return unusable
    peak = max(got.values)
    words = f"{plain(round(peak, 2))} GB at the most; at most {plain(threshold)} GB is allowed"
    return Finding(Status.PASS if peak <= threshold else Status.FAIL, words, peak, peak, peak)


JUDGES: dict[str, Callable[[float, Measurement, Levels], Finding]] = {
    "schema_valid_rate": _schema_valid,
    "field_error_rate": _field_errors,
    "document_error_rate": _document_errors,
    "no_regression": _no_regression,
    "p95_latency_ms": _latency,
    "requests_per_second": _throughput,
    "cost_per_request": _cost,
    "peak_memory_gb": _memory,
}


# -- prices and words ------------------------------------------------------------------------------


def _nothing(got: Measurement, price: Price | None, verb: str = "label", failing: str = "wrong") -> Finding:
    """Nothing was measured: the reason, or what a proof from scratch would take."""
    if got.reason or price is None:
        return Finding(Status.NOT_PROVEN, got.reason or "nothing was measured")
    words = f"nothing was measured; {verb} {price.more:,}, {_some(price.allowed_failures)} of them {failing}"
    return Finding(Status.NOT_PROVEN, words, price=price)


def _loss_price(total: int | None, n: int, losing: int) -> tuple[Price | None, bool]:
    """The price that a LossBound names; rough unless it is the exact one, with no loss seen or allowed."""
    return (None, True) if total is None else (Price(max(1, total - n), 0), losing > 0)


def _best(failures: int, n: int, threshold: float, alpha: float) -> int | None:
    """How many more documents would do in the best case, that none of them fails."""
    total = documents_for(failures, round(threshold, 12), alpha)
    return None if total is None else total - n


def _advice(
    price: Price | None, clears: bool, rough: bool = False, failing: str = "wrong", best: int | None = None
) -> str:
    if price is None and clears:
        return "that is so close to the limit that thousands more would be needed"
    if price is None:
        hope = f" (only {best:,} more without another failure would)" if best else ""
        return f"at the rate seen so far more labels will not prove it{hope}"
    if rough:
        return f"label about {price.more:,} more, if they turn out like these"
    return f"label {price.more:,} more, {_some(price.allowed_failures)} of them {failing}"


def _some(number: int) -> str:
    if number == 0:
        return "none"
    return f"at most {SMALL_NUMBERS[number] if number < len(SMALL_NUMBERS) else f'{number:,}'}"


def _percent(share: float) -> str:
    return f"{plain(round(100 * share, 6))} %"


def _bound(share: float, limit: float | None = None) -> str:
    """A bound in percent with one decimal, or as many as it takes not to look like the limit it misses."""
    return f"{_beside(100 * share, None if limit is None else 100 * limit)} %"


def _points(share: float, limit: float | None = None) -> str:
    text = _beside(100 * share, None if limit is None else 100 * limit)
    return f"{'+' if share > 0 else ''}{text} points"


def _beside(value: float, limit: float | None) -> str:
    value += 0.0  # no minus zero
    text = f"{value:.1f}"
    for decimals in range(2, 7):
        if limit is None or float(text) != round(limit, 6):
            break
        text = f"{value:.{decimals}f}"
    return text


def _ms(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 10 else f"{plain(round(value, 2))} ms"


def _documents(n: int) -> str:
    return "1 document" if n == 1 else f"{n:,} documents"


def _requests(n: int) -> str:
    return "1 request" if n == 1 else f"{n:,} requests"
