"""Tests of rates and shares against a threshold, with exact bounds or those of ``evaluation.stats.losses``.

Where documents come in families, no bound is inside that of whole families (``evaluation.stats.families``).

Each takes the threshold, the measurement and the confidence levels and returns a Finding: PASS where the bound clears
the threshold, FAIL where the opposite bound misses it, NOT PROVEN otherwise.
"""

import math
from typing import NamedTuple

from evaluation.gates.metrics import verdict_texts as texts
from evaluation.gates.metrics.measurement import ConfidenceLevels, Finding, Measurement, VerdictStatus, not_measured
from evaluation.stats import (
    LossBound,
    RequiredSample,
    additional_sample_size,
    effective_documents,
    exact_lower,
    exact_upper,
    family_lower,
    family_upper,
)
from slmstudio.text.formatting import exact_percent, short_number


def rate_at_least(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """A share of documents that must be high; exact binomial bounds."""
    needed = f"{exact_percent(threshold)} required"
    if measurement.k is None or measurement.n == 0:
        return not_measured(measurement, additional_sample_size(0, 0, threshold, levels.next_alpha))
    k, n = measurement.k, measurement.n
    low, high = _rate_bounds(k, measurement, levels.confidence)
    effective = _effective(n - k, 1 - low, measurement, levels)
    finding = Finding(VerdictStatus.NOT_PROVEN, "", k / n, low, high, k, effective=effective)
    if low >= threshold:
        return finding._replace(
            status=VerdictStatus.PASS, text=f"{k:,} of {n:,}: at least {texts.format_bound(low)}, {needed}"
        )
    if high < threshold:
        text = f"{k:,} of {n:,}: at most {texts.format_bound(high, threshold)}, {needed}"
        return finding._replace(status=VerdictStatus.FAIL, text=text)
    required = _required_sample(k, n, threshold, levels, effective)
    best = None if effective else texts.best_case(n - k, n, threshold, levels.next_alpha)
    advice = texts.requirement(
        required, k / n > threshold, effective is not None, best=best, families=_word(measurement)
    )
    text = f"{k:,} of {n:,}: at least {texts.format_bound(low, threshold)}, {needed}; {advice}"
    return finding._replace(text=text, required=required, is_estimate=effective is not None)


def rate_at_most(
    threshold: float, measurement: Measurement, levels: ConfidenceLevels, failing: str = "wrong"
) -> Finding:
    """A share of documents that must be low; exact binomial bounds. ``failing``: what these documents are."""
    allowed = f"at most {exact_percent(threshold)} allowed"
    if measurement.k is None or measurement.n == 0:
        return not_measured(measurement, additional_sample_size(0, 0, round(1 - threshold, 12), levels.next_alpha))
    k, n = measurement.k, measurement.n
    low, high = _rate_bounds(k, measurement, levels.confidence)
    effective = _effective(k, high, measurement, levels)
    finding = Finding(VerdictStatus.NOT_PROVEN, "", k / n, low, high, k, effective=effective)
    if high <= threshold:
        text = f"{k:,} of {n:,} {failing}: at most {texts.format_bound(high)}, {allowed}"
        return finding._replace(status=VerdictStatus.PASS, text=text)
    if low > threshold:
        text = f"{k:,} of {n:,} {failing}: at least {texts.format_bound(low, threshold)}, {allowed}"
        return finding._replace(status=VerdictStatus.FAIL, text=text)
    required = _required_sample(n - k, n, round(1 - threshold, 12), levels, effective)
    best = None if effective else texts.best_case(k, n, 1 - threshold, levels.next_alpha)
    advice = texts.requirement(required, k / n < threshold, effective is not None, failing, best, _word(measurement))
    text = f"{k:,} of {n:,} {failing}: up to {texts.format_bound(high, threshold)}, {allowed}; {advice}"
    return finding._replace(text=text, required=required, is_estimate=effective is not None)


def _rate_bounds(k: int, measurement: Measurement, confidence: float) -> tuple[float, float]:
    """One-sided bounds of ``k`` of the documents: exact, and not inside those of their families."""
    low, high = exact_lower(k, measurement.n, confidence), exact_upper(k, measurement.n, confidence)
    if not measurement.families:
        return low, high
    families = measurement.families
    return min(low, family_lower(families, confidence)), max(high, family_upper(families, confidence))


def _word(measurement: Measurement) -> str:
    """What the documents come in; "" where each is its own."""
    return measurement.family_words[1] if measurement.families else ""


def _effective(failed: int, upper: float, measurement: Measurement, levels: ConfidenceLevels) -> float | None:
    """How many documents the families count as for this bound of failures; None where each document counts."""
    if not measurement.families:
        return None
    return effective_documents(failed / measurement.n, upper, measurement.n, levels.confidence)


def _required_sample(
    good: int, n: int, threshold: float, levels: ConfidenceLevels, effective: float | None
) -> RequiredSample | None:
    """The sample that proves a rate beyond ``good`` of ``n``. Where they count as fewer, further ones do, too."""
    if effective is None:
        return additional_sample_size(good, n, threshold, levels.next_alpha)
    size = max(1, round(effective))
    required = additional_sample_size(math.floor(good / n * size + 1e-9), size, threshold, levels.next_alpha)
    return required and RequiredSample(max(1, math.ceil(required.more * n / size)), 0)


class _ShareBounds(NamedTuple):
    """A share of failing fields: the estimate, its one-sided bounds, documents with any, and the required sample."""

    estimate: float
    low: float
    high: float
    losing_documents: int
    required: RequiredSample | None
    is_estimate: bool
    effective: float | None


def _share_bounds(limit: float, measurement: Measurement, levels: ConfidenceLevels) -> _ShareBounds:
    """Bounds of the share of failing fields. Fields of a document fail together, so the document is the unit; where
    every document counts once it is a rate of documents, and the bounds are exact. Both are at least as wide as those
    of whole families."""
    if all(count == 1 for _, count in measurement.pairs):
        k, n = round(sum(failing for failing, _ in measurement.pairs)), measurement.n
        low, high = _rate_bounds(k, measurement, levels.confidence)
        effective = _effective(k, high, measurement, levels)
        is_open = low <= limit < high
        required = _required_sample(n - k, n, round(1 - limit, 12), levels, effective) if is_open else None
        return _ShareBounds(k / n, low, high, k, required, effective is not None, effective)
    upper = LossBound(measurement.pairs, levels.confidence, measurement.families)
    low, high = 1 - upper.rest().value, upper.value
    required, is_estimate = _required(upper, limit, levels) if low <= limit < high else (None, True)
    return _ShareBounds(
        upper.estimate, low, high, upper.losing_documents, required, is_estimate, upper.effective_documents
    )


def field_share_at_most(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """A share of fields that must be low; see ``_share_bounds``."""
    if not measurement.pairs:
        return not_measured(measurement, additional_sample_size(0, 0, round(1 - threshold, 12), levels.next_alpha))
    share = _share_bounds(threshold, measurement, levels)
    wrong, counted = sum(w for w, _ in measurement.pairs), sum(c for _, c in measurement.pairs)
    what = f"{wrong:,.0f} of {counted:,.0f} fields wrong in {texts.documents(measurement.n)}"
    allowed = f"at most {exact_percent(threshold)} allowed"
    finding = Finding(
        VerdictStatus.NOT_PROVEN,
        "",
        share.estimate,
        share.low,
        share.high,
        share.losing_documents,
        effective=share.effective,
    )
    if share.high <= threshold:
        text = f"{what}: at most {texts.format_bound(share.high)}, {allowed}"
        return finding._replace(status=VerdictStatus.PASS, text=text)
    if share.low > threshold:
        text = f"{what}: at least {texts.format_bound(share.low, threshold)}, {allowed}"
        return finding._replace(status=VerdictStatus.FAIL, text=text)
    advice = texts.requirement(
        share.required, share.estimate < threshold, share.is_estimate, families=_word(measurement)
    )
    text = f"{what}: up to {texts.format_bound(share.high, threshold)}, {allowed}; {advice}"
    return finding._replace(text=text, required=share.required, is_estimate=share.is_estimate)


def field_share_at_least(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """A share of gold values that must be found; ``pairs`` hold (missed, expected) of each document."""
    limit = round(1 - threshold, 12)
    if not measurement.pairs:
        required = additional_sample_size(0, 0, threshold, levels.next_alpha)
        return not_measured(measurement, required, failing="with a missed value")
    share = _share_bounds(limit, measurement, levels)
    missed, expected = sum(m for m, _ in measurement.pairs), sum(e for _, e in measurement.pairs)
    what = f"{expected - missed:,.0f} of {expected:,.0f} values found in {texts.documents(measurement.n)}"
    needed = f"{exact_percent(threshold)} required"
    finding = Finding(
        VerdictStatus.NOT_PROVEN, "", 1 - share.estimate, 1 - share.high, 1 - share.low, share.losing_documents,
        effective=share.effective,
    )  # fmt: skip
    if share.high <= limit:
        text = f"{what}: at least {texts.format_bound(1 - share.high)}, {needed}"
        return finding._replace(status=VerdictStatus.PASS, text=text)
    if share.low > limit:
        text = f"{what}: at most {texts.format_bound(1 - share.low, threshold)}, {needed}"
        return finding._replace(status=VerdictStatus.FAIL, text=text)
    advice = texts.requirement(
        share.required, share.estimate < limit, share.is_estimate, "with a missed value", families=_word(measurement)
    )
    text = f"{what}: at least {texts.format_bound(1 - share.high, threshold)}, {needed}; {advice}"
    return finding._replace(text=text, required=share.required, is_estimate=share.is_estimate)


def non_inferior(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """The mean difference to another model on the same documents must be above minus the threshold, the margin: bounds
    of ``stats.paired_loss``, with the families of the measurement."""
    if not measurement.pairs:
        return not_measured(measurement, None)
    loss = LossBound(tuple((b - a, 1.0) for b, a in measurement.pairs), levels.confidence, measurement.families)
    worst, best = loss.value, loss.flipped().value
    difference = texts.format_points(-loss.estimate)
    what = f"{difference} compared with {measurement.baseline} on the same {texts.documents(measurement.n)}"
    allowed = f"{short_number(-100 * threshold)} points allowed"
    finding = Finding(
        VerdictStatus.NOT_PROVEN, "", 0.0 - loss.estimate, -worst, best, loss.losing_documents,
        effective=loss.effective_documents,
    )  # fmt: skip
    if worst < threshold:
        text = f"{what}, at worst {texts.format_points(-worst)}; {allowed}"
        return finding._replace(status=VerdictStatus.PASS, text=text)
    if -best > threshold:
        text = f"{what}, at best {texts.format_points(best)}; {allowed}"
        return finding._replace(status=VerdictStatus.FAIL, text=text)
    required, is_estimate = _required(loss, threshold, levels)
    advice = texts.requirement(required, loss.estimate < threshold, is_estimate, "worse", families=_word(measurement))
    text = f"{what}, at worst {texts.format_points(-worst, -threshold)}; {allowed}; {advice}"
    return finding._replace(text=text, required=required, is_estimate=is_estimate)


def _required(bound: LossBound, limit: float, levels: ConfidenceLevels) -> tuple[RequiredSample | None, bool]:
    """The required sample of a bound at the next evaluation, and whether it is an estimate: it is exact with no loss
    seen or allowed and without families."""
    total = bound.at(levels.next_confidence).documents_for(limit)
    if total is None:
        return None, True
    is_estimate = bound.losing_documents > 0 or bool(bound.families)
    return RequiredSample(max(1, total - bound.n), 0), is_estimate
