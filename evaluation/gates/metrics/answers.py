"""Metrics of a model's answers: counted from the scores of hold-out documents, or of the regression suite."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from evaluation.gates.metrics.metric import (
    COMPARED_WITH_BASE,
    COMPARED_WITH_DEPLOYED,
    COMPARED_WITH_PRODUCTION,
    DOCUMENTS,
    PERCENT,
    POINTS,
    ConfidenceLevels,
    Finding,
    Measurement,
    Metric,
    Sample,
    Source,
    VerdictStatus,
)
from evaluation.gates.metrics.rate_tests import (
    field_share_at_least,
    field_share_at_most,
    non_inferior,
    rate_at_least,
    rate_at_most,
)
from evaluation.gates.metrics.verdict_texts import not_measured
from evaluation.scores.score_view import ScoreView
from evaluation.stats import FamilyCount, by_family
from slmstudio.text.formatting import short_number


def _documents(has: Callable[[ScoreView, Sample], bool]) -> Callable[[Sample], Measurement]:
    """Counts the documents that have something."""

    def count(sample: Sample) -> Measurement:
        views = _views(sample)
        return _missing_field(views.values(), sample.field) or _rate(
            {key: has(view, sample) for key, view in views.items()}, sample
        )

    return count


def _rate(has: Mapping[Any, bool], sample: Sample) -> Measurement:
    families = _families(sample, ((key, float(value), 1.0) for key, value in has.items()))
    return replace(Measurement.rate(sum(has.values()), len(has)), families=families)


def _fields(of: Callable[[ScoreView, Sample], tuple[int, int]]) -> Callable[[Sample], Measurement]:
    """Counts (failing, counted) fields of each document."""

    def count(sample: Sample) -> Measurement:
        views = _views(sample)
        if missing := _missing_field(views.values(), sample.field):
            return missing
        counts = {key: of(view, sample) for key, view in views.items()}
        families = _families(sample, ((key, wrong, counted) for key, (wrong, counted) in counts.items() if counted))
        return replace(Measurement.fields(counts.values()), families=families)

    return count


def _families(sample: Sample, rows: Iterable[tuple[Any, float, float]]) -> tuple[FamilyCount, ...]:
    """The rows (document, part, whole) by family; empty where each document is its own."""
    counts = by_family((sample.families.get(key, (key,)), part, whole) for key, part, whole in rows)
    return counts if any(count.documents > 1 for count in counts) else ()


def _views(sample: Sample) -> dict[Any, ScoreView]:
    return {key: ScoreView.of(score) for key, score in sample.scores.items()}


def _missing_field(views: Collection[ScoreView], field: str) -> Measurement | None:
    if field and views and not any(view.of_field(field) for view in views):
        return Measurement.nothing(f"no document has the field {field}")
    return None


def _invariants(sample: Sample) -> Measurement:
    """An output that cannot be read does not satisfy invariants that another output could be checked for."""
    held = {key: view.invariants_hold for key, view in _views(sample).items()}
    if held and all(value is None for value in held.values()):
        return Measurement.nothing("the schema has no rules, or no output is readable")
    return _rate({key: bool(value) for key, value in held.items()}, sample)


def _paired(sample: Sample) -> Measurement:
    """The field accuracy of each document that both models have, of the baseline and of the model under test."""
    if sample.baseline is None:
        return Measurement.nothing(
            "there is no baseline; evaluate the base model or the deployed model on the hold-out, and select it"
        )
    both = {
        key: (_accuracy(sample.baseline[key], sample.field), _accuracy(score, sample.field))
        for key, score in sample.scores.items()
        if key in sample.baseline
    }
    if not both:
        return Measurement.nothing("the two evaluations have no documents in common")
    # A field that is absent in gold and in one of the two outputs is correct in that one.
    pairs = {
        key: (1.0 if b is None else b, 1.0 if a is None else a)
        for key, (b, a) in both.items()
        if (b, a) != (None, None)
    }
    if not pairs:
        return Measurement.nothing(f"no document has the field {sample.field}")
    paired = Measurement.paired([b for b, _ in pairs.values()], [a for _, a in pairs.values()], sample.baseline_name)
    return replace(paired, families=_families(sample, ((key, b - a, 1.0) for key, (b, a) in pairs.items())))


def _accuracy(score: Any, field: str) -> float | None:
    view = ScoreView.of(score)
    return view.accuracy_of(field) if field else view.accuracy


def _pinned(sample: Sample) -> Measurement:
    """How many pinned documents the model gets wrong; ``reason``: those that it was not evaluated on."""
    pinned, right = sample.suite.pinned, sample.suite.right
    if not pinned:
        return Measurement.nothing("no document is pinned")
    if not right:
        return Measurement.nothing(f"this model was evaluated on none of the {pinned:,} pinned documents")
    missing = pinned - len(right)
    reason = f"{missing:,} more not evaluated: evaluate this model on their splits" if missing else ""
    return Measurement(n=len(right), k=sum(not is_right for is_right in right.values()), reason=reason)


def _test_pinned(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
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
    "schema_valid_rate": Metric(
        title="At least {} of outputs are schema-valid",
        unit=PERCENT,
        operator=">=",
        count=_documents(lambda score, sample: score.schema_valid),
        test=rate_at_least,
    ),
    "field_error_rate": Metric(
        title="At most {} of fields are wrong",
        unit=PERCENT,
        operator="<=",
        count=_fields(lambda score, sample: (score.count(sample.field).wrong, score.count(sample.field).total)),
        test=field_share_at_most,
        field="may",
    ),
    "document_error_rate": Metric(
        title="At most {} of documents have an error",
        unit=PERCENT,
        operator="<=",
        count=_documents(lambda score, sample: not score.exact),
        test=rate_at_most,
    ),
    "no_regression": Metric(
        title="At most {} points worse than the baseline",
        unit=POINTS,
        operator=">=",
        count=_paired,
        test=non_inferior,
        field="may",
        comparisons=(COMPARED_WITH_DEPLOYED, COMPARED_WITH_BASE),
    ),
    "non_inferiority": Metric(
        title="At most {} points worse than the current production model",
        unit=POINTS,
        operator=">=",
        count=_paired,
        test=non_inferior,
        field="may",
        comparisons=(COMPARED_WITH_PRODUCTION,),
    ),
    "recall": Metric(
        title="At least {} recall",
        unit=PERCENT,
        operator=">=",
        count=_fields(lambda score, sample: score.missed_values(sample.field, sample.value)),
        test=field_share_at_least,
        field="may",
        has_values=True,
    ),
    "hallucination_rate": Metric(
        title="At most {} of documents have a hallucinated value",
        unit=PERCENT,
        operator="<=",
        # An unreadable output cannot be shown to have no hallucinated value.
        count=_documents(lambda score, sample: not score.is_readable or score.has_hallucination(sample.field)),
        test=partial(rate_at_most, failing="with a hallucinated value or unreadable"),
        field="may",
    ),
    "invariants_hold_rate": Metric(
        title="At least {} of outputs satisfy the rules",
        unit=PERCENT,
        operator=">=",
        count=_invariants,
        test=rate_at_least,
    ),
    "routing_decision_rate": Metric(
        title="At least {} of documents are decided",
        unit=PERCENT,
        operator=">=",
        count=_documents(lambda score, sample: score.has_decision(sample.field)),
        test=rate_at_least,
        field="must",
    ),
    "pinned_broken": Metric(
        title="At most {} pinned documents are wrong",
        zero_title="No pinned document is wrong",
        unit=DOCUMENTS,
        operator="<=",
        count=_pinned,
        test=_test_pinned,
        source=Source.REGRESSION_SUITE,
        has_slices=False,
    ),
}
