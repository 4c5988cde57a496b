"""The words of a verdict: bounds that never look like the limit they miss, and what a proof would take."""

from evaluation.gates.policy.definition import plain
from evaluation.stats import Price, documents_for

SMALL_NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def best(failures: int, n: int, threshold: float, alpha: float) -> int | None:
    """How many more documents would do in the best case, that none of them fails."""
    total = documents_for(failures, round(threshold, 12), alpha)
    return None if total is None else total - n


def advice(
    price: Price | None, clears: bool, rough: bool = False, failing: str = "wrong", best: int | None = None
) -> str:
    """What it would take: the price, or why there is none (``clears``: the rate seen so far clears the threshold)."""
    if price is None and clears:
        return "that is so close to the limit that thousands more would be needed"
    if price is None:
        hope = f" (only {best:,} more without another failure would)" if best else ""
        return f"at the rate seen so far more labels will not prove it{hope}"
    if rough:
        return f"label about {price.more:,} more, if they turn out like these"
    return f"label {price.more:,} more, {some(price.allowed_failures)} of them {failing}"


def some(number: int) -> str:
    """A number of failures that are allowed: "none", "at most two"."""
    if number == 0:
        return "none"
    return f"at most {SMALL_NUMBERS[number] if number < len(SMALL_NUMBERS) else f'{number:,}'}"


def percent(share: float) -> str:
    """A share in per cent: "99.5 %"."""
    return f"{plain(round(100 * share, 6))} %"


def bound(share: float, limit: float | None = None) -> str:
    """A bound in percent with one decimal, or as many as it takes not to look like the limit it misses."""
    return f"{_beside(100 * share, None if limit is None else 100 * limit)} %"


def points(share: float, limit: float | None = None) -> str:
    """A difference of shares with its sign: "+3.1 points"."""
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


def ms(value: float) -> str:
    """A time: "812 ms"."""
    return f"{value:,.0f} ms" if value >= 10 else f"{plain(round(value, 2))} ms"


def documents(n: int) -> str:
    """A count of documents."""
    return "1 document" if n == 1 else f"{n:,} documents"


def requests(n: int) -> str:
    """A count of requests."""
    return "1 request" if n == 1 else f"{n:,} requests"
