"""Makes documents searchable after they came in: rows first, the dear index behind them.

``DocumentSearch`` holds id and text of a document in capitals. It is filled in the order of ids, so what is behind its
last row is what is missing, and an interrupted run needs no memory of its own.
"""

from typing import Any, Final

from django.db import connection, transaction

from labeling.models import Document, ImportRun, IndexRun, Project
from slmstudio.runs.models import ACTIVE, Status

BATCH: Final = 1_000
#: runs that may fail one after the other before the sweep no longer starts another
_TRIES: Final = 3

_FILL = """
INSERT INTO labeling_documentsearch (document_id, project_id, content)
SELECT d.id, d.project_id, upper(d.external_id || E'\\n' || d.text)
FROM labeling_document d
WHERE d.project_id = %(project)s AND d.id > %(behind)s
ORDER BY d.id LIMIT %(batch)s
ON CONFLICT (document_id) DO NOTHING
RETURNING document_id
"""
_LAST = "SELECT coalesce(max(document_id), 0) FROM labeling_documentsearch WHERE project_id = %s"
_LEFT = "SELECT count(*) FROM labeling_document WHERE project_id = %s AND id > %s"
_BEHIND = """
SELECT p.id FROM labeling_project p
WHERE (SELECT max(d.id) FROM labeling_document d WHERE d.project_id = p.id)
    > coalesce((SELECT max(s.document_id) FROM labeling_documentsearch s WHERE s.project_id = p.id), 0)
"""


def index_text(project_id: int) -> IndexRun | None:
    """Queues a run that makes a project's new documents searchable; None where one waits already or nothing is new."""
    if not Document.objects.filter(project=project_id, pk__gt=_last(project_id)).exists():
        return None
    with transaction.atomic():
        # Two imports that end at once ask for one run.
        Project.objects.select_for_update(no_key=True).get(pk=project_id)
        if IndexRun.objects.filter(project=project_id, status=Status.QUEUED).exists():
            return None
        run = IndexRun(project_id=project_id)
        run.save()
        run.enqueue()
    return run


def process(run: IndexRun) -> None:
    """Fills the index behind its last row, batch after batch, until nothing is left; ends the run.

    Its ``seconds`` are the index's own time, apart from the import's.
    """
    total = _left(run.project_id, _last(run.project_id))
    done = 0
    while filled := _fill(run.project_id):
        done += filled
        if not run.send_heartbeat(stage="making it searchable", progress_done=done, progress_total=max(total, done)):
            run.cancelled(indexed=done, progress_done=done)
            return
    if done:
        with connection.cursor() as cursor:
            # Fresh tables have no statistics, and without them the planner reads them whole.
            cursor.execute("ANALYZE labeling_document")
            cursor.execute("ANALYZE labeling_documentsearch")
    run.finish(indexed=done, progress_done=done, progress_total=done)


def _fill(project_id: int) -> int:
    """One batch: how many documents were added."""
    with transaction.atomic(), connection.cursor() as cursor:
        # One filler of a project at a time, without holding up imports, which lock the project's row.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('labeling.indexing'), %s)", [project_id % 2**31])
        # New entries wait in a list of their own; a longer one is merged in fewer and larger steps.
        cursor.execute("SET LOCAL gin_pending_list_limit = '32MB'")
        cursor.execute("SET LOCAL work_mem = '64MB'")
        cursor.execute(_LAST, [project_id])
        (behind,) = cursor.fetchone()
        cursor.execute(_FILL, {"project": project_id, "behind": behind, "batch": BATCH})
        return len(cursor.fetchall())


def _last(project_id: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_LAST, [project_id])
        return int(cursor.fetchone()[0])


def _left(project_id: int, behind: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_LEFT, [project_id, behind])
        return int(cursor.fetchone()[0])


def sweep() -> list[IndexRun]:
    """Queues a run for every project that has documents which no search knows and no run at work on it.

    Called after each sweep of lost runs: so an index whose worker died goes on. A project whose last runs all failed is
    left alone.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BEHIND)
        behind = [pk for (pk,) in cursor.fetchall()]
    started = []
    for project_id in behind:
        runs = IndexRun.objects.filter(project=project_id)
        last: list[Any] = list(runs.order_by("-pk").values_list("status", flat=True)[:_TRIES])
        if runs.filter(status__in=ACTIVE).exists() or _importing(project_id):
            continue
        if len(last) == _TRIES and all(status == Status.FAILED for status in last):
            continue
        run = index_text(project_id)
        if run is not None:
            started.append(run)
    return started


def _importing(project_id: int) -> bool:
    """An import queues the index itself when it ends."""
    return ImportRun.objects.live().filter(project=project_id).exists()
