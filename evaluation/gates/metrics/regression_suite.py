"""The metric of the regression suite: pinned documents that a model gets wrong."""

from evaluation.gates.metrics.measurement import ConfidenceLevels, Finding, Measurement, VerdictStatus, not_measured
from evaluation.gates.metrics.metric import Metric, Sample, Source
from evaluation.gates.metrics.units import DOCUMENTS
from slmstudio.text.formatting import short_number


def _count(sample: Sample) -> Measurement:
    """How many pinned documents the model gets wrong; ``reason``: those that it was not evaluated on."""
    pinned, right = sample.suite.pinned, sample.suite.right
    if not pinned:
        return Measurement.nothing("no document is pinned")
    if not right:
        return Measurement.nothing(f"this model was evaluated on none of the {pinned:,} pinned documents")
    missing = pinned - len(right)
    reason = f"{missing:,} more not evaluated: evaluate this model on their splits" if missing else ""
    return Measurement(n=len(right), k=sum(not is_right for is_right in right.values()), reason=reason)


def _test(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """A fact about these documents, without a bound. A document that was not evaluated may be wrong."""
    if measurement.k is None or measurement.n == 0:
        return not_measured(measurement, None)
    k = measurement.k
    allowed = f"at most {short_number(threshold)} allowed" if threshold else "none allowed"
    text = f"{k:,} of {measurement.n:,} pinned documents wrong; {allowed}"
    finding = Finding(VerdictStatus.PASS, text, k, k, k, k)
    if k > threshold:
        return finding._replace(status=VerdictStatus.FAIL)
    if measurement.reason:
        return finding._replace(status=VerdictStatus.NOT_PROVEN, text=f"{text}; {measurement.reason}")
    return finding


METRICS = {
    "pinned_broken": Metric(
        title="At most {} pinned documents are wrong",
        zero_title="No pinned document is wrong",
        unit=DOCUMENTS,
        operator="<=",
        count=_count,
        test=_test,
        source=Source.REGRESSION_SUITE,
        has_slices=False,
    ),
}
