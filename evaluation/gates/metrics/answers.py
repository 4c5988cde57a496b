"""One judge for each kind of metric: bounds, verdict, words and price. ``evaluation.gates.verdicts`` is the way in.

A judge gets the threshold, the measurement and the levels, and returns a Finding.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from evaluation.gates.metrics import resources
from evaluation.gates.metrics import wording as say
from evaluation.gates.metrics.findings import Finding, Levels, Status, nothing
from evaluation.gates.policy.definition import plain
from evaluation.scores.measurements import Measurement
from evaluation.stats import Price, documents_needed, exact_lower, exact_upper, paired_loss, share_loss

__all__ = ["JUDGES", "Finding", "Levels", "Status"]


def _rate_at_least(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """A share of documents that is to be high, exact binomial bounds."""
    asked = f"{say.percent(threshold)} is asked"
    if got.k is None or got.n == 0:
        return nothing(got, documents_needed(0, 0, threshold, levels.later_alpha))
    k, n = got.k, got.n
    low, high = exact_lower(k, n, levels.confidence), exact_upper(k, n, levels.confidence)
    found = Finding(Status.NOT_PROVEN, "", k / n, low, high, k)
    if low >= threshold:
        return found._replace(status=Status.PASS, words=f"{k:,} of {n:,} shows at least {say.bound(low)}, {asked}")
    if high < threshold:
        words = f"{k:,} of {n:,} shows at most {say.bound(high, threshold)}, {asked}"
        return found._replace(status=Status.FAIL, words=words)
    price = documents_needed(k, n, threshold, levels.later_alpha)
    advice = say.advice(price, k / n > threshold, best=say.best(n - k, n, threshold, levels.later_alpha))
    words = f"{k:,} of {n:,} shows only {say.bound(low, threshold)}, {asked}; {advice}"
    return found._replace(words=words, price=price)


def _rate_at_most(threshold: float, got: Measurement, levels: Levels, bad: str = "wrong") -> Finding:
    """A share of documents that is to be low, exact binomial bounds. ``bad``: what they are, in a word."""
    allowed = f"at most {say.percent(threshold)} is allowed"
    if got.k is None or got.n == 0:
        return nothing(got, documents_needed(0, 0, round(1 - threshold, 12), levels.later_alpha))
    k, n = got.k, got.n
    low, high = exact_lower(k, n, levels.confidence), exact_upper(k, n, levels.confidence)
    found = Finding(Status.NOT_PROVEN, "", k / n, low, high, k)
    if high <= threshold:
        words = f"{k:,} of {n:,} {bad} shows at most {say.bound(high)}, {allowed}"
        return found._replace(status=Status.PASS, words=words)
    if low > threshold:
        words = f"{k:,} of {n:,} {bad} shows at least {say.bound(low, threshold)}, {allowed}"
        return found._replace(status=Status.FAIL, words=words)
    price = documents_needed(n - k, n, round(1 - threshold, 12), levels.later_alpha)
    hope = say.best(k, n, 1 - threshold, levels.later_alpha)
    advice = say.advice(price, k / n < threshold, failing=bad, best=hope)
    words = f"{k:,} of {n:,} {bad} could mean {say.bound(high, threshold)}, {allowed}; {advice}"
    return found._replace(words=words, price=price)


class _Bounds(NamedTuple):
    """A share of bad fields: what was seen, its one-sided bounds, documents that have any, and the price of proof."""

    estimate: float
    low: float
    high: float
    losing: int
    price: Price | None
    rough: bool


def _share(limit: float, got: Measurement, levels: Levels) -> _Bounds:
    """Bounds of the share of bad fields. Fields of a document go wrong together, so whole documents are resampled
    (``stats.share_loss``); where every document counts once it is a rate of documents, and the bounds are exact."""
    bad, counted = [w for w, _ in got.pairs], [c for _, c in got.pairs]
    if all(count == 1 for count in counted):
        k, n = round(sum(bad)), got.n
        low, high = exact_lower(k, n, levels.confidence), exact_upper(k, n, levels.confidence)
        is_open = low <= limit < high
        price = documents_needed(n - k, n, round(1 - limit, 12), levels.later_alpha) if is_open else None
        return _Bounds(k / n, low, high, k, price, False)
    upper = share_loss(bad, counted, confidence=levels.confidence)
    low = 1 - share_loss([c - w for w, c in got.pairs], counted, confidence=levels.confidence).value
    price, rough = None, True
    if low <= limit < upper.value:
        later = share_loss(bad, counted, confidence=levels.later_confidence)
        price, rough = _loss_price(later.documents_for(limit), got.n, upper.losing)
    return _Bounds(upper.estimate, low, upper.value, upper.losing, price, rough)


def _field_errors(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Share of wrong fields; see ``_share``."""
    if not got.pairs:
        return nothing(got, documents_needed(0, 0, round(1 - threshold, 12), levels.later_alpha))
    share = _share(threshold, got, levels)
    wrong, counted = sum(w for w, _ in got.pairs), sum(c for _, c in got.pairs)
    what = f"{wrong:,.0f} of {counted:,.0f} fields wrong in {say.documents(got.n)}"
    allowed = f"at most {say.percent(threshold)} is allowed"
    found = Finding(Status.NOT_PROVEN, "", share.estimate, share.low, share.high, share.losing)
    if share.high <= threshold:
        return found._replace(status=Status.PASS, words=f"{what} shows at most {say.bound(share.high)}, {allowed}")
    if share.low > threshold:
        words = f"{what} shows at least {say.bound(share.low, threshold)}, {allowed}"
        return found._replace(status=Status.FAIL, words=words)
    advice = say.advice(share.price, share.estimate < threshold, share.rough)
    words = f"{what} could mean {say.bound(share.high, threshold)}, {allowed}; {advice}"
    return found._replace(words=words, price=share.price, rough=share.rough)


def _recall(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Share of what gold has that was found; ``pairs`` hold (missed, wanted) of each document."""
    limit = round(1 - threshold, 12)
    if not got.pairs:
        return nothing(got, documents_needed(0, 0, threshold, levels.later_alpha), failing="with a miss")
    share = _share(limit, got, levels)
    missed, wanted = sum(m for m, _ in got.pairs), sum(w for _, w in got.pairs)
    what = f"{wanted - missed:,.0f} of {wanted:,.0f} found in {say.documents(got.n)}"
    asked = f"{say.percent(threshold)} is asked"
    found = Finding(Status.NOT_PROVEN, "", 1 - share.estimate, 1 - share.high, 1 - share.low, share.losing)
    if share.high <= limit:
        return found._replace(status=Status.PASS, words=f"{what} shows at least {say.bound(1 - share.high)}, {asked}")
    if share.low > limit:
        words = f"{what} shows at most {say.bound(1 - share.low, threshold)}, {asked}"
        return found._replace(status=Status.FAIL, words=words)
    advice = say.advice(share.price, share.estimate < limit, share.rough, "with a miss")
    words = f"{what} shows only {say.bound(1 - share.high, threshold)}, {asked}; {advice}"
    return found._replace(words=words, price=share.price, rough=share.rough)


def _no_regression(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Mean difference to the baseline on the same documents, resampled whole (``stats.paired_loss``)."""
    if not got.pairs:
        return nothing(got, None)
    before, after = [b for b, _ in got.pairs], [a for _, a in got.pairs]
    loss = paired_loss(before, after, confidence=levels.confidence)
    gain = paired_loss(after, before, confidence=levels.confidence)
    what = f"{say.points(-loss.estimate)} against {got.against} on the same {say.documents(got.n)}"
    allowed = f"{plain(-100 * threshold)} points is allowed"
    found = Finding(Status.NOT_PROVEN, "", 0.0 - loss.estimate, -loss.value, gain.value, loss.losing)
    if loss.value < threshold:
        return found._replace(status=Status.PASS, words=f"{what}, at worst {say.points(-loss.value)}; {allowed}")
    if -gain.value > threshold:
        return found._replace(status=Status.FAIL, words=f"{what}, at best {say.points(gain.value)}; {allowed}")
    later = paired_loss(before, after, confidence=levels.later_confidence)
    price, rough = _loss_price(later.documents_for(threshold), got.n, loss.losing)
    advice = say.advice(price, loss.estimate < threshold, rough, "worse")
    words = f"{what}, which could mean {say.points(-loss.value, -threshold)}; {allowed}; {advice}"
    return found._replace(words=words, price=price, rough=rough)


def _loss_price(total: int | None, n: int, losing: int) -> tuple[Price | None, bool]:
    """The price that a LossBound names; rough unless it is the exact one, with no loss seen or allowed."""
    return (None, True) if total is None else (Price(max(1, total - n), 0), losing > 0)


def _pinned(threshold: float, got: Measurement, levels: Levels) -> Finding:
    """Pinned documents that are wrong: a fact about these, without a bound. ``got.reason``: what was not asked about,
    which may hide a broken one."""
    if got.k is None or got.n == 0:
        return nothing(got, None)
    words = f"{got.k:,} of {got.n:,} pinned documents wrong; {_allowed(threshold)}"
    found = Finding(Status.PASS, words, got.k, got.k, got.k, got.k)
    if got.k > threshold:
        return found._replace(status=Status.FAIL)
    if got.reason:
        return found._replace(status=Status.NOT_PROVEN, words=f"{words}; {got.reason}")
    return found


def _allowed(threshold: float) -> str:
    return f"at most {plain(threshold)} may be" if threshold else "none may be"


JUDGES: dict[str, Callable[[float, Measurement, Levels], Finding]] = {
    "schema_valid_rate": _rate_at_least,
    "field_error_rate": _field_errors,
    "document_error_rate": _rate_at_most,
    "no_regression": _no_regression,
    "recall": _recall,
    "hallucination_rate": partial(_rate_at_most, bad="with an invented value or unreadable"),
    "invariants_hold_rate": _rate_at_least,
    "routing_decision_rate": _rate_at_least,
    "pinned_broken": _pinned,
    "p95_latency_ms": resources.latency,
    "requests_per_second": resources.throughput,
    "cost_per_request": resources.cost,
    "peak_memory_gb": resources.memory,
}
