"""Histograms of latencies."""

import random

import pytest
from django.db import connection

from serving.traffic.histogram import SQL_BUCKET, bucket, count, merged, quantile, value


@pytest.mark.parametrize("milliseconds", [0.11, 0.9, 1.0, 7.3, 99.0, 850.0, 12_345.0, 600_000.0])
def test_a_bucket_is_close_to_its_values(milliseconds: float) -> None:
    assert value(bucket(milliseconds)) == pytest.approx(milliseconds, rel=0.0245)


def test_quantiles_are_those_of_the_values() -> None:
    rng = random.Random(3)
    values = sorted(rng.lognormvariate(5, 1) for _ in range(5_000))
    histogram: dict[int, int] = {}
    for one in values:
        histogram[bucket(one)] = histogram.get(bucket(one), 0) + 1
    for share in (0.5, 0.95, 0.99):
        assert quantile(histogram, share) == pytest.approx(values[int(share * 4_999)], rel=0.05)
    assert quantile({}, 0.5) is None


def test_histograms_add_up() -> None:
    first, second = {1: 2, 7: 1}, {"7": 3, "9": 1}
    both = merged([first, second])
    assert (both, count(both)) == ({1: 2, 7: 4, 9: 1}, 7)


def test_the_database_uses_the_same_buckets(db: None) -> None:
    values = [0.0, -1.0, 0.1, 0.2, 1.0, 5.0, 33.3, 1_000.0, 59_999.9]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {SQL_BUCKET.format('v')} FROM unnest(%s::float8[]) WITH ORDINALITY x (v, n) ORDER BY n", [values]
        )
        assert [row[0] for row in cursor.fetchall()] == [bucket(one) for one in values]
