"""Findings and their texts: bounds that are distinguishable from a missed threshold, and required sample sizes."""

from django.utils.translation import ngettext

from evaluation.gates.metrics.metric import Finding, Measurement, VerdictStatus
from evaluation.stats import RequiredSample, sample_size_for

_SMALL_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def not_measured(
    measurement: Measurement, required: RequiredSample | None, verb: str = "label", failing: str = "wrong"
) -> Finding:
    """Nothing was measured: the reason, or the sample that is required from scratch."""
    if not measurement.is_applicable:
        return Finding(VerdictStatus.INAPPLICABLE, measurement.reason)
    if measurement.reason or required is None:
        return Finding(VerdictStatus.NOT_PROVEN, measurement.reason or "not measured")
    text = f"not measured; {verb} {required.more:,}, {count_words(required.allowed_failures)} {failing}"
    return Finding(VerdictStatus.NOT_PROVEN, text, required=required)


def concluded(
    finding: Finding,
    *,
    passes: bool,
    fails: bool,
    texts: tuple[str, str, str],
    advice: str,
    required: RequiredSample | None,
    is_estimate: bool = False,
) -> Finding:
    """The finding of a bound that clears the threshold (``passes``), or whose opposite misses it (``fails``).

    ``texts``: those of a gate that passes, that fails, and that is not proven, which ends with the ``advice``.
    """
    if passes:
        return finding._replace(status=VerdictStatus.PASS, text=texts[0])
    if fails:
        return finding._replace(status=VerdictStatus.FAIL, text=texts[1])
    return finding._replace(text=f"{texts[2]}; {advice}", required=required, is_estimate=is_estimate)


def best_case(failures: int, n: int, threshold: float, alpha: float) -> int | None:
    """How many more documents are enough if none of them fails; None where no number is."""
    total = sample_size_for(failures, round(threshold, 12), alpha)
    return None if total is None else total - n


def requirement(
    required: RequiredSample | None,
    clears: bool,
    is_estimate: bool = False,
    failing: str = "wrong",
    best: int | None = None,
    families: str = "",
) -> str:
    """What would pass the gate, or why nothing would (``clears``: the current rate clears the threshold).

    ``families``: what documents come in, where they do: further documents of the same ones prove less.
    """
    if required is None and clears:
        return "too close to the threshold: thousands of documents would be needed"
    if required is None:
        hope = f" (only {best:,} more without another failure would)" if best else ""
        return f"at the current rate, more labels will not make this gate pass{hope}"
    if is_estimate:
        others = f" from other {families}" if families else ""
        return f"label about {required.more:,} more{others} at the current rate"
    return f"label {required.more:,} more, {count_words(required.allowed_failures)} {failing}"


def count_words(number: int) -> str:
    """A number of allowed failures: "none", "at most two"."""
    if number == 0:
        return "none"
    return f"at most {_SMALL_NUMBERS[number] if number < len(_SMALL_NUMBERS) else f'{number:,}'}"


def format_bound(share: float, threshold: float | None = None) -> str:
    """A bound in percent with one decimal, or as many as distinguish it from the threshold that it misses."""
    text = _distinguishable(100 * share, None if threshold is None else 100 * threshold)
    return f"{text}%"


def format_points(share: float, threshold: float | None = None) -> str:
    """A difference of shares with its sign: "+3.1 points"."""
    text = _distinguishable(100 * share, None if threshold is None else 100 * threshold)
    return f"{'+' if share > 0 else ''}{text} points"


def _distinguishable(value: float, threshold: float | None) -> str:
    value += 0.0  # no minus zero
    text = f"{value:.1f}"
    for decimals in range(2, 7):
        if threshold is None or float(text) != round(threshold, 6):
            break
        text = f"{value:.{decimals}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def documents(n: int) -> str:
    """A number of documents."""
    return ngettext("1 document", "{n:,} documents", n).format(n=n)


def requests(n: int) -> str:
    """A number of requests."""
    return ngettext("1 request", "{n:,} requests", n).format(n=n)


def effective_number(n: int, families: int, word: str, effective: float) -> str:
    """What documents of families count as: "60 documents of 12 suppliers count as about 21"."""
    return f"{documents(n)} from {families:,} {word} {ngettext('counts', 'count', n)} as about {effective:,.0f}"
