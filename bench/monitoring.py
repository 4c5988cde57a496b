"""The monitoring page over a large request log: ``python -m bench.monitoring``.

A real web server and PostgreSQL. The log gets its rows by one statement; then they are counted as by
``manage.py periodic``, and the page is opened over each window.
"""

import argparse
import time
from datetime import timedelta

from bench.harness import Browser, deployed, percentile, studio, table

_ROWS = """
INSERT INTO serving_requestlog (
    day, id, created_at, project_id, release_id, stage, source, protocol, status, code, valid, key_sha256,
    prompt_tokens, output_tokens, total_ms, queue_ms, model_ms
)
SELECT (at AT TIME ZONE 'UTC')::date, gen_random_uuid(), at, %(project)s, %(release)s, '', 'stable', 'extract',
    CASE WHEN n %% 50 = 0 THEN 502 ELSE 200 END, CASE WHEN n %% 50 = 0 THEN 'invalid_output' ELSE '' END, n %% 50 <> 0,
    md5(n::text), 300, 40, 200 * exp(random() * 2) + 2, random() * 50, 200 * exp(random() * 2)
FROM (
    SELECT n, %(now)s::timestamptz - (n::float8 / %(rows)s) * make_interval(secs => %(seconds)s) AS at
    FROM generate_series(1, %(rows)s) n
) x
"""


def main() -> None:
    """Fills the log, counts it, opens the page; prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--days", type=float, default=1.0, help="that the rows are spread over")
    parser.add_argument("--opened", type=int, default=15, help="times that each page is opened")
    options = parser.parse_args()
    with studio(web_workers=1) as running:
        from django.contrib.auth import get_user_model
        from django.db import connection
        from django.utils import timezone

        from serving.gateway.request_log.writer import ensure_partition
        from serving.models import Traffic
        from serving.monitoring.figures import WINDOWS, count_marked

        _, release = deployed()
        now = timezone.now()
        for back in range(int(options.days) + 2):
            ensure_partition((now - timedelta(days=back)).date())
        values = {
            "project": release.project_id, "release": release.pk, "now": now, "rows": options.rows,
            "seconds": options.days * 86_400 - 60,
        }  # fmt: skip
        started = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(_ROWS, values)
        inserted = time.perf_counter() - started
        started, passes, longest = time.perf_counter(), 0, 0.0
        while True:
            began = time.perf_counter()
            if not count_marked(now):
                break
            passes, longest = passes + 1, max(longest, time.perf_counter() - began)
        counted = time.perf_counter() - started
        heads = ("rows", "over days", "inserted, s", "counted, s", "passes", "longest, s", "rows of figures")
        row = (
            f"{options.rows:,}", f"{options.days:g}", f"{inserted:.1f}", f"{counted:.1f}", str(passes),
            f"{longest:.2f}", f"{Traffic.objects.count():,}",
        )  # fmt: skip
        print(table("Counting the log", heads, [row]))
        browser = Browser(running.port, get_user_model().objects.get(username="ana"))
        rows = []
        for key in WINDOWS:
            path = f"/p/bench/deploy/monitoring/?window={key}"
            answers = [browser.get(path) for _ in range(options.opened + 1)][1:]
            assert {answer.status for answer in answers} == {200}
            times = sorted(answer.milliseconds for answer in answers)
            size = len(answers[0].body) / 1024
            rows.append(
                (key, f"{percentile(times, 0.5):.0f}", f"{times[-1]:.0f}", str(answers[0].queries), f"{size:.0f}")
            )
        print(table("The page", ("window", "p50, ms", "longest, ms", "queries", "KiB"), rows))


if __name__ == "__main__":
    main()
