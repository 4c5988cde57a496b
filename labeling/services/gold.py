"""Keeps the rows of gold in step with what decides about them: the newest schema version, and whether reviews are on.

What gold is says ``Gold.objects.current``. Call these under the project's row lock.
"""

from typing import Any

from django.db import connection

from labeling.models import Gold, Project, SchemaVersion
from labeling.services.holding import ANSWERED, IS_SETTLED
from slmstudio.contract.schema import Problem

BATCH = 500


def carry(project: Project, version: SchemaVersion) -> dict[int, list[Problem]]:
    """Makes gold that is valid under a new schema version, as it stands, gold under that version too.

    Returns what the schema rejects in the others: document -> problems.
    """
    broken: dict[int, list[Problem]] = {}
    fitting: list[Gold] = []
    golds = Gold.objects.newest_of(project).select_related("revision").order_by("document_id")
    for gold in golds.iterator(chunk_size=BATCH):
        problems = version.compiled.validate(gold.revision.value)
        if problems:
            broken[gold.document_id] = problems
            continue
        row: dict[str, Any] = {
            name: getattr(gold, name)
            for name in ("document_id", "revision_id", "origin", "approved_by_id", "created_at")
        }
        fitting.append(Gold(schema_version=version, **row))
        if len(fitting) == BATCH:
            Gold.objects.bulk_create(fitting)
            fitting = []
    Gold.objects.bulk_create(fitting)
    return broken


# The newest answer of each submitted document that waits for no reviewer any more, also in the place of an older one
# (an import, or what was approved and then rejected). What came after a reviewer's approval still waits for a reviewer,
# and so does what several people labelled differently.
_SETTLE = """
INSERT INTO labeling_gold (document_id, schema_version_id, revision_id, origin, created_at)
SELECT d.id, s.id, latest.id, CASE WHEN d.synthetic THEN 'synthetic' ELSE latest.origin END, latest.created_at
FROM labeling_document d
CROSS JOIN (SELECT id FROM labeling_schemaversion WHERE project_id = %(project)s ORDER BY number DESC LIMIT 1) s
CROSS JOIN LATERAL (
    SELECT r.id, r.created_at, a.origin FROM labeling_annotation a
    JOIN labeling_annotationrevision r ON r.annotation_id = a.id
    WHERE a.document_id = d.id AND a.schema_version_id = s.id AND r.action = ANY(%(answered)s)
    ORDER BY r.number DESC, r.id DESC LIMIT 1
) latest
WHERE d.project_id = %(project)s AND d.state = 'submitted' AND NOT d.disputed AND NOT {settled}
ON CONFLICT (document_id, schema_version_id) DO UPDATE
SET revision_id = EXCLUDED.revision_id, origin = EXCLUDED.origin, created_at = EXCLUDED.created_at,
    approved_by_id = NULL
WHERE labeling_gold.revision_id <> EXCLUDED.revision_id
""".replace("{settled}", IS_SETTLED)


def settle_submitted(project: Project) -> int:
    """Makes submitted labels gold once a project has turned review off; returns how many became gold."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, {"project": project.pk, "answered": list(ANSWERED)})
        return cursor.rowcount
