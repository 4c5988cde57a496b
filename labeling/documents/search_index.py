"""The search index: filled after an import, because its text index is expensive.

``DocumentSearch`` holds the id and text of documents in capitals. It is filled in the order of ids, so everything after
its last row is missing, and an interrupted run resumes there.
"""

from typing import Any, Final

from django.db import connection, transaction

from labeling.models import Document, ImportRun, IndexRun, Project
from slmstudio.runs.models import ACTIVE, Status

BATCH: Final = 1_000
#: consecutive failed runs after which no other is started
_MAX_FAILURES: Final = 3

FILL_SQL = """
INSERT INTO labeling_documentsearch (document_id, project_id, content)
SELECT d.id, d.project_id, upper(d.external_id || E'\\n' || d.text)
FROM labeling_document d
WHERE d.project_id = %(project)s AND d.id > %(last)s
ORDER BY d.id LIMIT %(batch)s
ON CONFLICT (document_id) DO NOTHING
RETURNING document_id
"""
LAST_SQL = "SELECT coalesce(max(document_id), 0) FROM labeling_documentsearch WHERE project_id = %s"
REMAINING_SQL = "SELECT count(*) FROM labeling_document WHERE project_id = %s AND id > %s"
UNINDEXED_SQL = """
SELECT p.id FROM labeling_project p
WHERE (SELECT max(d.id) FROM labeling_document d WHERE d.project_id = p.id)
    > coalesce((SELECT max(s.document_id) FROM labeling_documentsearch s WHERE s.project_id = p.id), 0)
"""


def index_text(project_id: int) -> IndexRun | None:
    """Queues a run that indexes new documents; None if one is queued or nothing is new."""
    if not Document.objects.filter(project=project_id, pk__gt=_last_indexed(project_id)).exists():
        return None
    with transaction.atomic():
        # Two imports that end at the same time queue one run.
        Project.objects.select_for_update(no_key=True).get(pk=project_id)
        if IndexRun.objects.filter(project=project_id, status=Status.QUEUED).exists():
            return None
        run = IndexRun(project_id=project_id)
        run.save()
        run.enqueue()
    return run


def process(run: IndexRun) -> None:
    """Fills the index in batches and ends the run. Its ``seconds`` do not include the import."""
    total = _remaining(run.project_id, _last_indexed(run.project_id))
    done = 0
    while filled := _fill(run.project_id):
        done += filled
        if not run.send_heartbeat(stage="indexing", progress_done=done, progress_total=max(total, done)):
            run.cancelled(indexed=done, progress_done=done)
            return
    if done:
        with connection.cursor() as cursor:
            # Without statistics the planner reads new tables sequentially.
            cursor.execute("ANALYZE labeling_document")
            cursor.execute("ANALYZE labeling_documentsearch")
    run.finish(indexed=done, progress_done=done, progress_total=done)


def _fill(project_id: int) -> int:
    """Indexes a batch; returns the number of documents."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Serializes runs of a project without blocking imports, which lock the project's row.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('labeling.indexing'), %s)", [project_id % 2**31])
        # New entries are collected in a pending list; a longer list is merged in fewer steps.
        cursor.execute("SET LOCAL gin_pending_list_limit = '32MB'")
        cursor.execute("SET LOCAL work_mem = '64MB'")
        cursor.execute(LAST_SQL, [project_id])
        (last,) = cursor.fetchone()
        cursor.execute(FILL_SQL, {"project": project_id, "last": last, "batch": BATCH})
        return len(cursor.fetchall())


def _last_indexed(project_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(LAST_SQL, [project_id])
        return int(cursor.fetchone()[0])


def _remaining(project_id: int, last: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(REMAINING_SQL, [project_id, last])
        return int(cursor.fetchone()[0])


def index_all() -> list[IndexRun]:
    """Queues a run for every project that has documents without an index and no live run; a periodic task.

    An index whose worker died is resumed. Skips projects whose last runs all failed.
    """
    with connection.cursor() as cursor:
        cursor.execute(UNINDEXED_SQL)
        projects = [pk for (pk,) in cursor.fetchall()]
    started = []
    for project_id in projects:
        runs = IndexRun.objects.filter(project=project_id)
        statuses: list[Any] = list(runs.order_by("-pk").values_list("status", flat=True)[:_MAX_FAILURES])
        if runs.filter(status__in=ACTIVE).exists() or _importing(project_id):
            continue
        if len(statuses) == _MAX_FAILURES and all(status == Status.FAILED for status in statuses):
            continue
        run = index_text(project_id)
        if run is not None:
            started.append(run)
    return started


def _importing(project_id: int) -> bool:
    """An import queues the index itself when it ends."""
    return ImportRun.objects.live().filter(project=project_id).exists()
