"""Histograms of milliseconds that can be added: buckets grow by a constant factor. Pure.

Bucket i holds values in (FLOOR * GROWTH**(i-1), FLOOR * GROWTH**i]; the value that is read for it differs from any in
it by at most 2.5%: (GROWTH - 1) / (GROWTH + 1), as in DDSketch (Masson, Rim, Lee, 2019).
"""

import math
from collections.abc import Iterable, Mapping

FLOOR = 0.1
GROWTH = 1.05
#: bucket -> number of values
Histogram = dict[int, int]

#: the bucket of a column in SQL
SQL_BUCKET = f"greatest(0, ceil(ln(greatest({{0}}, {FLOOR}) / {FLOOR}) / ln({GROWTH}::float8) - 1e-9))::int"


def bucket(milliseconds: float) -> int:
    """The bucket of a value."""
    return max(0, math.ceil(math.log(max(milliseconds, FLOOR) / FLOOR) / math.log(GROWTH) - 1e-9))


def value(index: int) -> float:
    """The value in milliseconds that is read for a bucket."""
    return FLOOR * GROWTH**index * 2 / (1 + GROWTH) if index else FLOOR


def merged(parts: Iterable[Mapping[str, int] | Mapping[int, int]]) -> Histogram:
    """The sum of histograms; keys may be text, as JSON has them."""
    found: Histogram = {}
    for part in parts:
        for index, number in part.items():
            found[int(index)] = found.get(int(index), 0) + number
    return found


def count(histogram: Histogram) -> int:
    """How many values it holds."""
    return sum(histogram.values())


def quantile(histogram: Histogram, share: float) -> float | None:
    """The value that ``share`` (0 to 1) of the values do not exceed, in milliseconds; None where there are none."""
    rank = share * (count(histogram) - 1)
    seen = 0
    for index in sorted(histogram):
        seen += histogram[index]
        if seen > rank:
            return value(index)
    return None
