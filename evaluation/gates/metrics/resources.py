"""Metrics of resources: latency, throughput, cost and memory of a run, or of its newest measurement."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from django.utils.translation import ngettext

from evaluation.gates.metrics import verdict_texts as texts
from evaluation.gates.metrics.metric import (
    GIGABYTES,
    MILLISECONDS,
    MONEY,
    PER_SECOND,
    ConfidenceLevels,
    Finding,
    Measurement,
    Metric,
    Request,
    Sample,
    Source,
    VerdictStatus,
    three_digits,
)
from evaluation.stats import (
    RequiredSample,
    additional_sample_size,
    mean_bound,
    percentile,
    quantile_lower,
    quantile_upper,
)
from slmstudio.text.formatting import format_money, milliseconds, short_number

MIN_VALUES_FOR_MEAN = 20


# -- counts --------------------------------------------------------------------------------------------------------
# A failed request is not one that was answered in time; its time and cost are shared by those that were answered.


def _failed(request: Request) -> bool:
    return request.finish_reason == "error"


def _failed_text(sample: Sample) -> str:
    failed = sum(map(_failed, sample.requests))
    return ngettext("{n:,} failed request", "{n:,} failed requests", failed).format(n=failed) if failed else ""


def _latencies(sample: Sample) -> Measurement:
    answered = [request.latency_ms for request in sample.requests if not _failed(request)]
    slowest = max([math.nextafter(sample.threshold, math.inf), *answered])
    times = [max(row.latency_ms, slowest) if _failed(row) else row.latency_ms for row in sample.requests]
    failed = _failed_text(sample)
    return Measurement.sample(
        times if answered else [],
        is_fresh=sample.resources.is_fresh,
        note=f"with {failed} as slower than the limit" if failed else "",
    )


def _machine_times(sample: Sample) -> Measurement:
    """Milliseconds that each request keeps the machine busy."""
    return _shared(sample, [sample.resources.time_share * request.latency_ms for request in sample.requests])


def _costs(sample: Sample) -> Measurement:
    """The cost of each request, by the price list of the run."""
    price, time_share = sample.resources.price, sample.resources.time_share
    if price.unknown_reason:
        return Measurement.nothing(price.unknown_reason)
    return _shared(sample, [price.of_request(request, time_share) for request in sample.requests])


def _shared(sample: Sample, spent: Sequence[float]) -> Measurement:
    """What each answered request took, with its share of what the failed ones took."""
    good = [value for request, value in zip(sample.requests, spent, strict=True) if not _failed(request)]
    share = sum(spent) / sum(good) if sum(good) else 1.0
    failed = _failed_text(sample)
    note = f"including the time of {failed}" if failed else ""
    return Measurement.sample([share * value for value in good], is_fresh=sample.resources.is_fresh, note=note)


def _peak_memory(sample: Sample) -> Measurement:
    peak = sample.resources.facts.get("peak_memory_bytes")
    if not peak:
        return Measurement.nothing("the run did not measure its memory")
    return Measurement.sample([peak / 1e9], is_fresh=sample.resources.is_fresh)


# -- tests ---------------------------------------------------------------------------------------------------------


def _no_verdict(measurement: Measurement, required: RequiredSample | None) -> Finding | None:
    """The finding where there are no values, or only values of a run that generated nothing."""
    if not measurement.values:
        return texts.not_measured(measurement, required, "measure", "over the limit")
    if not measurement.is_fresh:
        return Finding(VerdictStatus.NOT_PROVEN, "no current measurement: measure resources again")
    return None


def _test_latency(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """The 95th percentile with bounds by quantile test: the same as "95% are within the limit"."""
    values = measurement.values
    within = sum(value <= threshold for value in values)
    required = additional_sample_size(within, len(values), 0.95, levels.next_alpha)
    if finding := _no_verdict(measurement, required):
        return finding
    measured = percentile(values, 0.95)
    low = quantile_lower(values, 0.95, levels.confidence)
    high = quantile_upper(values, 0.95, levels.confidence)
    what = f"p95 of {texts.requests(measurement.n)} is {milliseconds(measured)}"
    allowed = f"at most {milliseconds(threshold)} allowed"
    bound = "too few requests for a bound" if high is None else f"up to {milliseconds(high)}"
    if required is None:
        advice = "more requests will not make this gate pass: latency must decrease"
    else:
        advice = f"measure {required.more:,} more, {texts.count_words(required.allowed_failures)} over the limit"
    return texts.concluded(
        Finding(VerdictStatus.NOT_PROVEN, "", measured, low, high, within),
        passes=high is not None and high <= threshold,
        fails=low is not None and low > threshold,
        texts=(
            f"{what}, at most {milliseconds(high)}; {allowed}",
            f"{what}, at least {milliseconds(low)}; {allowed}",
            f"{what}, {bound}; {allowed}",
        ),
        advice=advice,
        required=required,
    )


class _MeanWording(NamedTuple):
    """The wording of a mean: the displayed quantity, and the words for the side that passes and the other one."""

    verb: str
    displayed: Callable[[float], float]
    text: Callable[[float], str]
    good: str
    bad: str


def _test_cost(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """The mean cost of a request."""
    wording = _MeanWording("cost", float, lambda cost: format_money(cost, measurement.currency), "at most", "at least")
    return _test_mean(threshold, measurement, levels, wording)


def _test_throughput(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """Requests per second, from the milliseconds that each request keeps the machine busy: 1000 / their mean."""
    wording = _MeanWording("make", _per_second, lambda rate: f"{three_digits(rate)} per second", "at least", "at most")
    return _test_mean(1000 / threshold if threshold else math.inf, measurement, levels, wording)


def _per_second(milliseconds: float) -> float:
    return 1000 / max(milliseconds, 1e-6)


def _test_mean(limit: float, measurement: Measurement, levels: ConfidenceLevels, wording: _MeanWording) -> Finding:
    """A mean that must stay below ``limit`` (``stats.mean_bound``); fewer than 20 values have no verdict."""
    values, n = measurement.values, measurement.n
    required = RequiredSample(MIN_VALUES_FOR_MEAN - n, 0) if n < MIN_VALUES_FOR_MEAN else None
    if finding := _no_verdict(measurement, required):
        return finding

    def text(value: float) -> str:
        return wording.text(wording.displayed(value))

    mean = sum(values) / n
    what, needed = f"{texts.requests(n)} {wording.verb} {text(mean)}", f"{wording.good} {text(limit)} required"
    finding = Finding(VerdictStatus.NOT_PROVEN, "", wording.displayed(mean), is_estimate=True)
    high = mean_bound(values, "less", confidence=levels.confidence)
    low = mean_bound(values, "greater", confidence=levels.confidence)
    if required or high is None or low is None:
        few = MIN_VALUES_FOR_MEAN - n
        return finding._replace(text=f"{what}, too few for a bound; {needed}; measure {few} more", required=required)
    ends = sorted((wording.displayed(low), wording.displayed(high)))
    advice = "more requests will not make this gate pass at the current mean"
    if low <= limit < high and mean < limit:
        reach = (mean_bound(values, "less", confidence=levels.next_confidence) or high) - mean
        required = RequiredSample(max(1, math.ceil(n * (reach / (limit - mean)) ** 2) - n), 0)
        advice = f"measure about {required.more:,} more"
    return texts.concluded(
        finding._replace(low=ends[0], high=ends[1]),
        passes=high <= limit,
        fails=low > limit,
        texts=(
            f"{what}, {wording.good} {text(high)}; {needed}",
            f"{what}, {wording.bad} {text(low)}; {needed}",
            f"{what}, possibly {text(high)}; {needed}",
        ),
        advice=advice,
        required=required,
        is_estimate=True,
    )


def _test_memory(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """The peak of memory, in GB of 10**9 bytes: a fact of this run, without a bound."""
    if finding := _no_verdict(measurement, None):
        return finding
    peak = max(measurement.values)
    text = f"{short_number(round(peak, 2))} GB peak; at most {short_number(threshold)} GB allowed"
    return Finding(VerdictStatus.PASS if peak <= threshold else VerdictStatus.FAIL, text, peak, peak, peak)


METRICS = {
    "p95_latency_ms": Metric(
        title="95% of requests answered within {}",
        unit=MILLISECONDS,
        operator="<=",
        count=_latencies,
        test=_test_latency,
        source=Source.RESOURCES,
    ),
    "requests_per_second": Metric(
        title="At least {} requests per second",
        unit=PER_SECOND,
        operator=">=",
        count=_machine_times,
        test=_test_throughput,
        source=Source.RESOURCES,
    ),
    "cost_per_request": Metric(
        title="A request costs at most {} on average",
        unit=MONEY,
        operator="<=",
        count=_costs,
        test=_test_cost,
        source=Source.RESOURCES,
    ),
    "peak_memory_gb": Metric(
        title="At most {} GB of memory",
        unit=GIGABYTES,
        operator="<=",
        count=_peak_memory,
        test=_test_memory,
        source=Source.RESOURCES,
        has_slices=False,
    ),
}
