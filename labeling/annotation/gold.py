"""Keeps the rows of gold in step with what decides about them: the newest schema version, and whether reviews are on.

What gold is says ``Gold.objects.current``. Call these under the project's row lock.
"""

from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from labeling.annotation import transactions
from labeling.annotation.locked_document import ANSWERED, IS_SETTLED
from labeling.models import AnnotationRevision, Gold, Project, SchemaVersion
from slmstudio.contract.schema.compiled import Problem

BATCH = 500


def carry(project: Project, version: SchemaVersion) -> dict[int, list[Problem]]:
    """Makes gold that is valid under a new schema version, as it stands, gold under that version too.

    Returns what the schema rejects in the others: document -> problems. Can be run again: what is carried already, and
    what somebody has answered under the new version, is left alone.
    """
    broken: dict[int, list[Problem]] = {}
    fitting: list[Gold] = []
    golds = left_behind(project, version).select_related("revision").order_by("document_id")
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
            _write(fitting)
            fitting = []
    _write(fitting)
    return broken


def _write(rows: list[Gold]) -> None:
    Gold.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["document", "schema_version"],
        update_fields=["revision", "origin", "approved_by", "created_at"],
    )


def answered(version: SchemaVersion, document: str) -> Exists:
    """Whether somebody has answered a document under a schema version; ``document``: its key in the outer query."""
    labels = AnnotationRevision.objects.filter(annotation__document=OuterRef(document), action__in=ANSWERED)
    return Exists(labels.filter(annotation__schema_version=version))


def left_behind(project: Project, version: SchemaVersion) -> QuerySet[Gold]:
    """The newest gold from before a schema version that is not gold under that version, where nobody has answered the
    document under it.
    """
    earlier = Gold.objects.filter(document=OuterRef("document"), schema_version__number__lt=version.number)
    carried = Gold.objects.filter(document=OuterRef("document"), schema_version=version, revision=OuterRef("revision"))
    newer = earlier.filter(schema_version__number__gt=OuterRef("schema_version__number"))
    rows: QuerySet[Gold] = Gold.objects.filter(document__project=project, schema_version__number__lt=version.number)
    return rows.filter(~Exists(newer), ~Exists(carried), ~answered(version, "document"))


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
WHERE labeling_gold.revision_id <> EXCLUDED.revision_id AND labeling_gold.created_at <= EXCLUDED.created_at
""".replace("{settled}", IS_SETTLED)


def settle_submitted(project: Project) -> int:
    """Makes submitted labels gold once a project has turned review off; returns how many became gold."""
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, {"project": project.pk, "answered": list(ANSWERED)})
        return cursor.rowcount


def settle_late(project: Project) -> None:
    """The same once more after the commit that turned review off, for submits that began before it."""
    transactions.wait_for(transactions.under_way())
    with transaction.atomic():
        row = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if not row.review_required:
            settle_submitted(row)
