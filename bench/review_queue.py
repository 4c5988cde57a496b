"""How fast the review queue opens with many items, and requests are drawn: ``python -m bench.review_queue``.

Run it with the settings of a demo (``SLM_HOME``); it makes a project, measures, and rolls everything back.
"""

import argparse
import time
import uuid
from datetime import timedelta

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402
from django.utils import timezone  # noqa: E402

from evaluation.models import Endpoint  # noqa: E402
from labeling.projects.services import create_project  # noqa: E402
from serving.feedback.sampling import draw  # noqa: E402
from serving.gateway.request_log import ensure_partition  # noqa: E402
from serving.models import Deployment, Release, SamplePlan  # noqa: E402

FILL = """
WITH made AS (
    INSERT INTO serving_requestlog (day, id, created_at, project_id, release_id, protocol, status, key_sha256, total_ms,
        confidence, "text", output, source)
    SELECT current_date, gen_random_uuid(), now(), %(project)s, %(release)s, 'extract', 200, '', 5,
        '{"total_amount": [0.4, 0.6]}', 'Invoice ' || n || repeat(' some words of the text', 60),
        '{"total_amount": 12}', 'stable' FROM generate_series(1, %(items)s) n
    RETURNING id, day
)
INSERT INTO serving_reviewitem (project_id, text_sha256, status, reason, reasons, severity, draws_count, members_count,
    request_id, day, release_id, created_at, signature)
SELECT %(project)s, md5(id::text), 'open', 'confidence', CASE WHEN random() < 0.001 THEN '{failure}'::varchar[]
    ELSE '{confidence,uniform}' END, round(random()::numeric, 2), 1, 0, id, day, %(release)s, now(),
    decode(repeat(md5(id::text), 12), 'hex') FROM made
"""


def main() -> None:
    """Prints seconds and queries of each page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    options = parser.parse_args()
    with transaction.atomic():
        user = get_user_model().objects.create_user(f"bench-{uuid.uuid4().hex[:8]}")
        slug = f"bench-{uuid.uuid4().hex[:8]}"
        project = create_project(owner=user, name=slug, slug=slug, template="invoice", members={})
        endpoint = Endpoint.objects.create(project=project, name="none", url="http://127.0.0.1:9/v1", model="none")
        release = Release.objects.create(project=project, number=1, endpoint=endpoint)
        deployment = Deployment.objects.create(project=project, stable=release)
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_date")
            ensure_partition(cursor.fetchone()[0])
            cursor.execute(FILL, {"project": project.pk, "release": release.pk, "items": options.items})
            cursor.execute("ANALYZE serving_reviewitem")
        _draw(deployment, options.items)
        client = Client()
        client.force_login(user)
        for query in ("", "?order=newest", "?reason=failure", "?reason=failure&order=newest", "?after=0.5:1000000000"):
            times = []
            for _ in range(5):
                began = time.perf_counter()
                with CaptureQueriesContext(connection) as made:
                    response = client.get(f"/p/{slug}/deploy/review/{query}")
                times.append(time.perf_counter() - began)
            assert response.status_code == 200
            slowest = max(float(one["time"]) for one in made)
            print(
                f"{options.items:,} items, {query or 'worst first'}: {1000 * sorted(times)[2]:.0f} ms, "
                f"{len(made)} queries, the slowest {1000 * slowest:.0f} ms"
            )
        transaction.set_rollback(True)


def _draw(deployment: Deployment, items: int) -> None:
    """Draws from as many requests of the last hour."""
    now = timezone.now() + timedelta(minutes=10)
    SamplePlan.objects.create(deployment=deployment, drawn_until=now - timedelta(minutes=30))
    began = time.perf_counter()
    drawn = draw(deployment.pk, now)
    print(f"{items:,} requests considered in {time.perf_counter() - began:.1f} s, {drawn:,} drawn")


if __name__ == "__main__":
    main()
