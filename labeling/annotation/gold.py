"""Updates gold labels when the schema version or the review setting of a project changes.

``Gold.objects.current`` defines what gold is. Call these functions under the project's row lock.
"""

from typing import Any

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, QuerySet

from labeling.annotation.locked_document import IS_REVIEWED_SQL, LABEL_ACTIONS
from labeling.models import AnnotationRevision, Gold, Project, SchemaVersion
from slmstudio.contract.schema.compiled import ValueProblem
from slmstudio.database import transactions

BATCH = 500


def carry_forward(project: Project, version: SchemaVersion) -> dict[int, list[ValueProblem]]:
    """Copies gold labels that are valid under a new schema version to that version.

    Returns the problems of the others: document -> problems. Idempotent: skips documents that are gold or labeled under
    the new version.
    """
    broken: dict[int, list[ValueProblem]] = {}
    fitting: list[Gold] = []
    golds = outdated_gold(project, version).select_related("revision").order_by("document_id")
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


def has_label(version: SchemaVersion, document: str) -> Exists:
    """Whether a document has a label under a schema version; ``document``: its key in the outer query."""
    labels = AnnotationRevision.objects.filter(annotation__document=OuterRef(document), action__in=LABEL_ACTIONS)
    return Exists(labels.filter(annotation__schema_version=version))


def outdated_gold(project: Project, version: SchemaVersion) -> QuerySet[Gold]:
    """The newest gold of earlier schema versions, of documents that have neither gold nor a label under this one."""
    earlier = Gold.objects.filter(document=OuterRef("document"), schema_version__number__lt=version.number)
    carried = Gold.objects.filter(document=OuterRef("document"), schema_version=version, revision=OuterRef("revision"))
    newer = earlier.filter(schema_version__number__gt=OuterRef("schema_version__number"))
    rows: QuerySet[Gold] = Gold.objects.filter(document__project=project, schema_version__number__lt=version.number)
    return rows.filter(~Exists(newer), ~Exists(carried), ~has_label(version, "document"))


# The newest label of each submitted document that no longer needs a review. It replaces older gold (an import, or a
# label that was approved and then rejected). Labels from after an approval, and conflicts, still need a reviewer.
_PROMOTE = """
INSERT INTO labeling_gold (document_id, schema_version_id, revision_id, origin, created_at)
SELECT d.id, s.id, latest.id, CASE WHEN d.synthetic THEN 'synthetic' ELSE latest.origin END, latest.created_at
FROM labeling_document d
CROSS JOIN (SELECT id FROM labeling_schemaversion WHERE project_id = %(project)s ORDER BY number DESC LIMIT 1) s
CROSS JOIN LATERAL (
    SELECT r.id, r.created_at, a.origin FROM labeling_annotation a
    JOIN labeling_annotationrevision r ON r.annotation_id = a.id
    WHERE a.document_id = d.id AND a.schema_version_id = s.id AND r.action = ANY(%(actions)s)
    ORDER BY r.number DESC, r.id DESC LIMIT 1
) latest
WHERE d.project_id = %(project)s AND d.state = 'submitted' AND NOT d.disputed AND NOT {is_reviewed}
ON CONFLICT (document_id, schema_version_id) DO UPDATE
SET revision_id = EXCLUDED.revision_id, origin = EXCLUDED.origin, created_at = EXCLUDED.created_at,
    approved_by_id = NULL
WHERE labeling_gold.revision_id <> EXCLUDED.revision_id AND labeling_gold.created_at <= EXCLUDED.created_at
""".replace("{is_reviewed}", IS_REVIEWED_SQL)


def promote_submitted(project: Project) -> int:
    """Makes submitted labels gold after a project turned reviews off. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_PROMOTE, {"project": project.pk, "actions": list(LABEL_ACTIONS)})
        return int(cursor.rowcount)


def promote_late_submits(project: Project) -> None:
    """Repeats this after the commit that turned reviews off, for submits that started before it."""
    transactions.wait_for(transactions.running())
    with transaction.atomic():
        row = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        if not row.review_required:
            promote_submitted(row)
