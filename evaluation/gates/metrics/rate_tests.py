"""Tests of rates and shares against a threshold, with exact bounds or those of ``evaluation.stats.losses``.

Where documents come in families, no bound is inside that of whole families (``evaluation.stats.families``).

Each takes the threshold, the measurement and the confidence levels and returns a Finding: PASS where the bound clears
the threshold, FAIL where the opposite bound misses it, NOT PROVEN otherwise.
"""

import math

from evaluation.gates.metrics.metric import ConfidenceLevels, Finding, Measurement, VerdictStatus
from evaluation.gates.metrics.verdict_texts import (
    best_case,
    concluded,
    documents,
    format_bound,
    format_points,
    not_measured,
    requirement,
)
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
    return _test_documents(threshold, measurement, levels, is_minimum=True)


def rate_at_most(
    threshold: float, measurement: Measurement, levels: ConfidenceLevels, failing: str = "wrong"
) -> Finding:
    """A share of documents that must be low; exact binomial bounds. ``failing``: what these documents are."""
    return _test_documents(threshold, measurement, levels, is_minimum=False, failing=failing)


def field_share_at_most(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """A share of fields that must be low; ``pairs`` hold (wrong, counted) of each document."""
    return _test_fields(threshold, measurement, levels, is_minimum=False)


def field_share_at_least(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """A share of gold values that must be found; ``pairs`` hold (missed, expected) of each document."""
    return _test_fields(threshold, measurement, levels, is_minimum=True)


def _test_documents(
    threshold: float, measurement: Measurement, levels: ConfidenceLevels, *, is_minimum: bool, failing: str = "wrong"
) -> Finding:
    """``is_minimum``: what is counted must be frequent."""
    goal = threshold if is_minimum else round(1 - threshold, 12)
    if measurement.k is None or measurement.n == 0:
        return not_measured(measurement, additional_sample_size(0, 0, goal, levels.next_alpha))
    k, n = measurement.k, measurement.n
    low, high = _rate_bounds(k, measurement, levels.confidence)
    failed = n - k if is_minimum else k
    effective = _effective(failed, 1 - low if is_minimum else high, measurement, levels)
    passes, fails = (low >= threshold, high < threshold) if is_minimum else (high <= threshold, low > threshold)
    required, best = None, None
    if not (passes or fails):
        required = _required_sample(n - failed, n, goal, levels, effective)
        best = None if effective else best_case(failed, n, goal, levels.next_alpha)
    is_near = k / n > threshold if is_minimum else k / n < threshold
    return concluded(
        Finding(VerdictStatus.NOT_PROVEN, "", k / n, low, high, k, effective=effective),
        passes=passes,
        fails=fails,
        texts=_texts(f"{k:,} of {n:,}{'' if is_minimum else f' {failing}'}", threshold, low, high, is_minimum),
        advice=requirement(required, is_near, effective is not None, failing, best, _word(measurement)),
        required=required,
        is_estimate=effective is not None,
    )


def _texts(what: str, threshold: float, low: float, high: float, is_minimum: bool) -> tuple[str, str, str]:
    """What was counted, with the bound that decides: where it passes, fails, or is not proven."""
    required = f"{exact_percent(threshold)} required" if is_minimum else f"at most {exact_percent(threshold)} allowed"
    good, bad = (low, high) if is_minimum else (high, low)
    words = ("at least", "at most", "at least") if is_minimum else ("at most", "at least", "up to")
    bounds = (format_bound(good), format_bound(bad, threshold), format_bound(good, threshold))
    passing, failing, unproven = (
        f"{what}: {word} {bound}, {required}" for word, bound in zip(words, bounds, strict=True)
    )
    return passing, failing, unproven


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


def _test_fields(threshold: float, measurement: Measurement, levels: ConfidenceLevels, *, is_minimum: bool) -> Finding:
    """A share of failing fields (``is_minimum``: of missed values). Fields of a document fail together, so the document
    is the unit; where every document counts once it is a rate of documents, and the bounds are exact. Both are at least
    as wide as those of whole families."""
    failing = "with a missed value" if is_minimum else "wrong"
    limit = round(1 - threshold, 12) if is_minimum else threshold
    if not measurement.pairs:
        goal = threshold if is_minimum else round(1 - threshold, 12)
        return not_measured(measurement, additional_sample_size(0, 0, goal, levels.next_alpha), failing=failing)
    failed, counted = sum(part for part, _ in measurement.pairs), sum(whole for _, whole in measurement.pairs)
    required: RequiredSample | None = None
    if all(count == 1 for _, count in measurement.pairs):
        k, n = round(failed), measurement.n
        share = k / n
        low, high = _rate_bounds(k, measurement, levels.confidence)
        effective = _effective(k, high, measurement, levels)
        is_estimate = effective is not None
        if low <= limit < high:
            required = _required_sample(n - k, n, round(1 - limit, 12), levels, effective)
    else:
        upper = LossBound(measurement.pairs, levels.confidence, measurement.families)
        share, low, high = upper.estimate, 1 - upper.rest().value, upper.value
        k, effective, is_estimate = upper.losing_documents, upper.effective_documents, True
        if low <= limit < high:
            required, is_estimate = _required(upper, limit, levels)
    bounds = (1 - share, 1 - high, 1 - low) if is_minimum else (share, low, high)
    number = (
        f"{counted - failed:,.0f} of {counted:,.0f} values found"
        if is_minimum
        else (f"{failed:,.0f} of {counted:,.0f} fields wrong")
    )
    return concluded(
        Finding(VerdictStatus.NOT_PROVEN, "", *bounds, k, effective=effective),
        passes=high <= limit,
        fails=low > limit,
        texts=_texts(f"{number} in {documents(measurement.n)}", threshold, *bounds[1:], is_minimum),
        advice=requirement(required, share < limit, is_estimate, failing, families=_word(measurement)),
        required=required,
        is_estimate=is_estimate,
    )


def non_inferior(threshold: float, measurement: Measurement, levels: ConfidenceLevels) -> Finding:
    """The mean difference to another model on the same documents must be above minus the threshold, the margin: bounds
    of ``stats.paired_loss``, with the families of the measurement."""
    if not measurement.pairs:
        return not_measured(measurement, None)
    loss = LossBound(tuple((b - a, 1.0) for b, a in measurement.pairs), levels.confidence, measurement.families)
    worst, best = loss.value, loss.flipped().value
    difference = format_points(-loss.estimate)
    what = f"{difference} compared with {measurement.baseline} on the same {documents(measurement.n)}"
    allowed = f"{short_number(-100 * threshold)} points allowed"
    passes, fails = worst < threshold, -best > threshold
    required, is_estimate = (None, False) if passes or fails else _required(loss, threshold, levels)
    return concluded(
        Finding(
            VerdictStatus.NOT_PROVEN, "", 0.0 - loss.estimate, -worst, best, loss.losing_documents,
            effective=loss.effective_documents,
        ),
        passes=passes,
        fails=fails,
        texts=(
            f"{what}, at worst {format_points(-worst)}; {allowed}",
            f"{what}, at best {format_points(best)}; {allowed}",
            f"{what}, at worst {format_points(-worst, -threshold)}; {allowed}",
        ),
        advice=requirement(required, loss.estimate < threshold, is_estimate, "worse", families=_word(measurement)),
        required=required,
        is_estimate=is_estimate,
    )  # fmt: skip


def _required(bound: LossBound, limit: float, levels: ConfidenceLevels) -> tuple[RequiredSample | None, bool]:
    """The required sample of a bound at the next evaluation, and whether it is an estimate: it is exact with no loss
    seen or allowed and without families."""
    total = bound.at(levels.next_confidence).documents_for(limit)
    if total is None:
        return None, True
    is_estimate = bound.losing_documents > 0 or bool(bound.families)
    return RequiredSample(max(1, total - bound.n), 0), is_estimate
