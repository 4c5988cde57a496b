"""Figures of the log: marked by a trigger, counted once, also late ones."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from serving.models import HostSample, RequestLog, Traffic, TrafficMark
from serving.monitoring import figures
from serving.monitoring.figures import SPANS, count_marked, delete_old, floor, quantile, recent
from tests.serving.monitoring.rows import logged

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
NOW = NOON + timedelta(hours=3)


def all_of(seconds: int) -> dict[tuple[datetime, int, str], Traffic]:
    return {(row.start, row.release_id, row.source): row for row in Traffic.objects.filter(seconds=seconds)}


def test_requests_are_counted_by_version_and_stage_at_every_span() -> None:
    logged(1, NOON, 3, release_id=7)
    logged(1, NOON + timedelta(seconds=59), 2, release_id=7, status=502, code="invalid_output", valid=False)
    logged(1, NOON + timedelta(minutes=20), 4, release_id=8, source="candidate", stage="canary", total_ms=500.0)
    logged(1, NOON, 1, release_id=8, stage="shadow", source="candidate", shadow_of="0" * 32)
    logged(2, NOON, 1, status=404, code="not_deployed", source="", valid=None)
    assert count_marked(NOW) == 3
    assert not TrafficMark.objects.exists()
    minutes = all_of(60)
    stable = minutes[NOON, 7, "stable"]
    assert (stable.requests, stable.answered, stable.invalid, stable.validated) == (5, 3, 2, 5)
    assert (stable.errors, stable.prompt_tokens, stable.output_tokens) == ({"502 invalid_output": 2}, 150, 50)
    assert sum(stable.total.values()) == 3
    assert minutes[NOON, 8, "shadow"].stage == "shadow"
    assert minutes[NOON, 0, ""].errors == {"404 not_deployed": 1}
    for seconds in list(SPANS)[1:]:
        rows = Traffic.objects.filter(project_id=1, seconds=seconds)
        assert sum(row.requests for row in rows) == 10
        assert {row.start for row in rows} == {floor(NOON, seconds), floor(NOON + timedelta(minutes=20), seconds)}
    candidate = all_of(21_600)[NOON, 8, "candidate"]
    median = quantile({int(key): number for key, number in candidate.total.items()}, 0.5)
    assert median == pytest.approx(500, rel=0.025)


def test_counting_again_changes_nothing_and_late_rows_are_added() -> None:
    rows = logged(1, NOON, 3)
    RequestLog.objects.bulk_create(rows, ignore_conflicts=True)  # stored twice
    count_marked(NOW)
    before = list(Traffic.objects.order_by("seconds").values_list("seconds", "start", "requests", "total"))
    assert {requests for _, _, requests, _ in before} == {3}
    TrafficMark.objects.create(project_id=1, minute=NOON)
    assert count_marked(NOW) == 1
    assert list(Traffic.objects.order_by("seconds").values_list("seconds", "start", "requests", "total")) == before
    logged(1, NOON, 2)
    assert count_marked(NOW) == 1
    assert {row.requests for row in Traffic.objects.all()} == {5}


def test_late_rows_of_a_minute_whose_neighbors_were_deleted() -> None:
    """Longer spans are then counted from the log, not from the few minutes that are left."""
    old = NOW - timedelta(days=5)
    first = floor(old, 21_600)
    logged(1, first, 4)
    logged(1, first + timedelta(minutes=90), 3)
    while count_marked(NOW) >= figures.MAX_MINUTES:
        pass
    delete_old(NOW)
    assert not Traffic.objects.filter(seconds=60).exists()
    logged(1, first + timedelta(minutes=90), 2)
    count_marked(NOW)
    assert all_of(21_600)[first, 0, "stable"].requests == 9
    assert all_of(3_600)[first, 0, "stable"].requests == 4


def test_many_minutes_take_several_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MAX_MINUTES", 3)
    for minute in range(7):
        logged(1, NOON + timedelta(minutes=minute))
    assert [count_marked(NOW) for _ in range(4)] == [3, 3, 1, 0]
    assert all_of(21_600)[NOON, 0, "stable"].requests == 7


def test_what_is_old_is_deleted_span_by_span() -> None:
    now = timezone.now()
    for seconds, age in SPANS.items():
        for start in (now - age - timedelta(seconds=1), now - age + timedelta(seconds=5)):
            Traffic.objects.create(project_id=1, seconds=seconds, start=start)
    HostSample.objects.create(host="a", minute=now - timedelta(days=32))
    assert delete_old(now) == len(SPANS) + 1
    assert Traffic.objects.count() == len(SPANS)


@pytest.mark.django_db(transaction=True)
def test_another_process_counts() -> None:
    """The lock is held by a second connection."""
    import psycopg

    logged(1, NOON)
    other = psycopg.connect(**{
        key: value for key, value in connection.get_connection_params().items()
        if key in ("dbname", "user", "password", "host", "port")
    })  # fmt: skip
    with other:
        other.execute("SELECT pg_advisory_lock(%s)", [figures._LOCK])
        assert count_marked(NOW) == 0
        # closing the connection releases the lock some time later
        other.execute("SELECT pg_advisory_unlock(%s)", [figures._LOCK])
    assert TrafficMark.objects.exists()
    assert count_marked(NOW) == 1


def test_quantiles_are_those_of_the_log() -> None:
    rng = random.Random(3)
    values = sorted(rng.lognormvariate(5, 1.5) for _ in range(400))
    for number, milliseconds in enumerate(values):
        logged(1, NOON + timedelta(minutes=number % 3), total_ms=milliseconds)
    while count_marked(NOW):
        pass
    sums = recent(1, 60, NOON + timedelta(minutes=5))
    for share in (0.0, 0.5, 0.95, 1.0):
        assert sums.time("total", share) == pytest.approx(values[int(share * 399)], rel=0.026)
    assert sums.time("fallback", 0.5) is None
