"""The queue of a large project: every query finds its rows by an index, however much is done already."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from labeling.annotation import services as annotation_services
from labeling.models import Annotation, Study
from labeling.review import adjudication
from labeling.review import services as review_services
from tests.labeling.label_desk import Desk
from tests.labeling.work_desk import review_desk

pytestmark = pytest.mark.slow

DOCUMENTS = 100_000


@pytest.fixture
def desk(transactional_db: None) -> Desk:
    """The first 40,000 are done, of the others every tenth wants two people and every hundredth is Ben's."""
    desk = review_desk(review_required=False)
    with connection.cursor() as cursor:
        # VACUUM marks no page whose commit is not on the disk yet.
        cursor.execute("SET synchronous_commit TO on")
        cursor.execute(
            """
            INSERT INTO labeling_document (project_id, external_id, text, sha256, source, metadata, tags, state,
                holdout, synthetic, overlap, assigned_to_id, page_count, skip_reason, created_at)
            SELECT %s, 'doc-' || n, repeat('Invoice of Acme Supplies, total 12.50. ', 40), lpad(n::text, 64, '0'),
                'rows', '{}', '{}',
                CASE WHEN n <= 40000 THEN 'submitted' WHEN n %% 10 = 0 THEN 'in_progress' ELSE 'new' END,
                false, false, CASE WHEN n %% 10 = 0 THEN 2 ELSE 1 END,
                CASE WHEN n %% 100 = 1 THEN %s END, 0, '', now()
            FROM generate_series(1, %s) n
            """,
            [desk.project.pk, desk.ben.pk, DOCUMENTS],
        )
        # Ana labelled 3,000 of those that want another person too.
        cursor.execute(
            """
            INSERT INTO labeling_annotation (project_id, document_id, schema_version_id, user_id, value, evidence,
                valid, submitted, origin, version, seconds, field_seconds, submitted_at, updated_at)
            SELECT project_id, id, %s, %s, '{}', '{}', true, true, 'human', 1, 0, '{}', now(), now()
            FROM labeling_document WHERE project_id = %s AND overlap = 2 AND state = 'in_progress' ORDER BY id
            LIMIT 3000
            """,
            [desk.project.schema_version.pk, desk.ana.pk, desk.project.pk],
        )
    analyze("labeling_document", "labeling_annotation")
    return desk


def analyze(*tables: str) -> None:
    """Statistics, and marks of pages that all see, as autovacuum makes them in time."""
    with connection.cursor() as cursor:
        cursor.execute(f"VACUUM (ANALYZE) {', '.join(tables)}")


def read_by_index(*works: Callable[[], Any]) -> bool:
    """Whether no query reads a whole table."""
    with CaptureQueriesContext(connection) as queries:
        for work in works:
            work()
    selects = [query["sql"] for query in queries if query["sql"].startswith(("SELECT", "(SELECT"))]
    assert len(selects) >= 2 * len(works)
    for sql in selects:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert not re.search(r"Seq Scan on labeling_(document|annotation|documentplace)\b", plan), f"{sql}\n{plan}"
    return True


def milliseconds(work: Callable[[], Any]) -> float:
    """The best of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def put_in_order(desk: Desk) -> None:
    """All documents have places in an order; those of the done ones are closed."""
    run = Study.objects.create(project=desk.project, kind="queue-order", number=1, spec={"method": "random"})
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO labeling_documentplace (run_id, document_id, place, chosen, signal, open)
            SELECT %s, id, row_number() OVER (ORDER BY md5(id::text)), true, 0.5, state <> 'submitted'
            FROM labeling_document WHERE project_id = %s
            """,
            [run.pk, desk.project.pk],
        )
    analyze("labeling_documentplace")
    desk.project.order_run = run
    desk.project.save()


@pytest.mark.parametrize("ordered", [False, True])
def test_the_queue_is_read_by_indexes_and_fast(desk: Desk, ordered: bool) -> None:
    project = desk.project
    if ordered:
        put_in_order(desk)
    at = {"project": project, "user": desk.ana}
    first = annotation_services.next_document(**at)
    assert first is not None
    done = Annotation.objects.filter(user=desk.ana).order_by("-document")[0].document_id
    works: dict[str, Callable[[], Any]] = {
        "first": lambda: annotation_services.next_document(**at),
        "next": lambda: annotation_services.next_document(**at, after=first.pk),
        "next behind much that is mine": lambda: annotation_services.next_document(**at, after=done),
        "next from the end": lambda: annotation_services.next_document(**at, after=first.pk + DOCUMENTS),
        "assigned": lambda: annotation_services.next_document(project=project, user=desk.ben),
        "previous": lambda: annotation_services.previous_document(**at, before=first.pk),
        "open": lambda: annotation_services.open_document(document=first, user=desk.ana),
        "position": lambda: annotation_services.queue_position(document=first, user=desk.ana),
        "review": lambda: review_services.next_to_review(project=project, user=desk.rita),
        "conflicts": lambda: adjudication.next_to_adjudicate(project=project, user=desk.rita),
    }
    assert read_by_index(*works.values())
    # The next document is 0.2 ms of the database and 4 ms of Python; what a busy machine adds must not fail the suite.
    for project.review_required in (False, True):
        times = {name: milliseconds(work) for name, work in works.items()}
        assert max(times.values()) < 300, times
