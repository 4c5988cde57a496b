"""A document locked for a save or a decision, with everything known of its labels, read in one query."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.contrib.auth.models import User
from django.db.models import OuterRef, Q, QuerySet, Subquery

from labeling.form.tree import FormNode, tree_of
from labeling.models import AnnotationRevision, Document, Project, Review, SchemaVersion
from labeling.models.documents import QUEUE
from slmstudio.access import Action, Role, may
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.database.fields import ExactDecoder

Actions = AnnotationRevision.Action
#: revisions that are labels, not drafts: submitted, imported, decided by a reviewer, or migrated from one of these
LABEL_ACTIONS = (Actions.SUBMIT, Actions.IMPORT, Actions.APPROVE, Actions.ADJUDICATE, Actions.MIGRATE)
#: decisions by which a reviewer accepts a label
REVIEWED_DECISIONS = (Review.Decision.APPROVE, Review.Decision.FIX, Review.Decision.ADJUDICATE)


@lru_cache(maxsize=256)
def schema_of(pk: int, sha256: str) -> SchemaVersion:
    """A schema version, cached per process: rows never change."""
    return SchemaVersion.objects.get(pk=pk, sha256=sha256)


def newest_schema(project: Project | OuterRef) -> QuerySet[SchemaVersion]:
    """The schema versions of a project, newest first."""
    return SchemaVersion.objects.filter(project=project).order_by("-number")


def newest_decision(document: Document | OuterRef) -> Subquery:
    """The decision of a document's newest review, as a subquery."""
    return Subquery(Review.objects.filter(document=document).order_by("-pk").values("decision")[:1])


#: in SQL: whether the newest review of the document ``d`` is one of these decisions
IS_REVIEWED_SQL = """COALESCE(
    (SELECT r.decision FROM labeling_review r WHERE r.document_id = d.id ORDER BY r.id DESC LIMIT 1)
    IN ('approve', 'fix', 'adjudicate'), false)"""


def is_blind_overlap(document: Document, decision: str | None) -> bool:
    """Whether several annotators label a document independently; ends with a review that accepts a label."""
    return document.overlap > 1 and decision not in REVIEWED_DECISIONS


def with_decision() -> QuerySet[Document]:
    """Documents without their texts, with the ``decision`` of their newest review."""
    return Document.objects.without_text().annotate(decision=newest_decision(OuterRef("pk")))


def sees_own_only(project: Any, document: Document) -> bool:
    """Whether the user labels this document independently, and must not see the labels of others. ``project`` has the
    role of the user.
    """
    if document.overlap == 1 or may(project.role, Action.REVIEW):
        return False
    if project.role == Role.MANAGER and document.state not in QUEUE:
        return False  # the labels of others can no longer be copied
    decision = Document.objects.filter(pk=document.pk).values_list(newest_decision(document), flat=True).first()
    return is_blind_overlap(document, decision)


def label_revisions(
    document: Document | OuterRef, schema_version: SchemaVersion | OuterRef | Subquery
) -> QuerySet[AnnotationRevision]:
    """The revisions of a document that are labels (``LABEL_ACTIONS``), newest first."""
    rows: QuerySet[AnnotationRevision] = AnnotationRevision.objects.filter(
        action__in=LABEL_ACTIONS, annotation__document=document, annotation__schema_version=schema_version
    )
    return rows.order_by("-number", "-pk")


@dataclass(slots=True)
class LockedDocument:
    """A document whose row this transaction has locked, with the state of its annotations.

    ``document`` has further attributes, which ``lock_document`` reads with it.
    """

    document: Any
    schema_version: SchemaVersion

    @property
    def compiled(self) -> CompiledSchema:
        """The current schema."""
        return self.schema_version.compiled

    @property
    def node(self) -> FormNode:
        """The form of the current schema."""
        return tree_of(self.compiled)

    @property
    def is_blind(self) -> bool:
        """Whether annotators see and change only their own labels."""
        return is_blind_overlap(self.document, self.document.decision)

    @property
    def is_reviewed(self) -> bool:
        """Whether the newest review accepted a label."""
        return self.document.decision in REVIEWED_DECISIONS

    @property
    def may_review(self) -> bool:
        """Whether the user has the right to review in this project."""
        return bool(self.document.role) and may(self.document.role, Action.REVIEW)


def lock_document(
    document: Document,
    user: User,
    changes: Mapping[str, Any],
    *,
    prediction: int | None = None,
    whole: bool = True,
    only_if: Q | None = None,
) -> LockedDocument:
    """Updates the document's row, which waits for other saves and blocks later ones; then reads it.

    The update comes first: only a statement that starts after the wait sees what the other save wrote. With ``whole``,
    the same query reads what a submit or a review needs: the newest label, the newest prediction, and the labels that
    others submitted.

    Raises:
        Document.DoesNotExist: it was deleted, is in another project, or does not match ``only_if``.
    """
    of_project = {"project_id": document.project_id} if document.project_id else {}
    if not Document.objects.filter(only_if or Q(), pk=document.pk, **of_project).update(**changes):
        raise Document.DoesNotExist(f"document {document.pk} does not exist")
    known = {"document": document.pk, "user": user.pk, "prediction": prediction}
    row: Any = next(iter(Document.objects.raw(_READ_WHOLE if whole else _READ, known)))
    row.own_field_seconds = json.loads(row.own_field_seconds or "{}")
    for name in _VALUES if whole else ():
        text = getattr(row, name)
        setattr(row, name, None if text is None else json.loads(text, cls=ExactDecoder))
    if Document._meta.get_field("project").is_cached(document):
        row.project = document.project
    return LockedDocument(row, schema_of(row.schema_pk, row.schema_sha256))


# SQL, because building an ORM query with as many subqueries takes longer than running it. ``s`` is the newest schema
# version, ``head`` the newest annotation under it, ``own`` the user's; ``latest`` and ``mine`` are the same under any
# schema, because a form starts from the label of an older one; ``proposed``: a pre-label is visible.
_COLUMNS = """
    SELECT d.*, s.id AS schema_pk, s.sha256 AS schema_sha256,
        head.id AS head_pk, head.version AS head_version,
        own.id AS own_pk, own.version AS own_version, own.prediction_id AS own_prediction,
        own.field_seconds AS own_field_seconds,
        (SELECT m.role FROM labeling_membership m
         WHERE m.project_id = d.project_id AND m.user_id = %(user)s) AS role,
        (SELECT p.review_required FROM labeling_project p WHERE p.id = d.project_id) AS review_required,
        (SELECT r.decision FROM labeling_review r WHERE r.document_id = d.id ORDER BY r.id DESC LIMIT 1) AS decision,
        (SELECT f.id FROM labeling_prediction f WHERE f.id = %(prediction)s AND f.document_id = d.id
         AND NOT f.withheld AND f.value IS NOT NULL) AS filled_pk,
        latest.origin AS latest_origin, mine.origin AS own_origin,
        NOT d.holdout AND EXISTS (
            SELECT 1 FROM labeling_prediction p WHERE p.document_id = d.id AND p.schema_version_id = s.id
            AND NOT p.withheld AND p.value IS NOT NULL
        ) AS proposed"""
_TABLES = """
    FROM labeling_document d
    JOIN LATERAL (
        SELECT v.id, v.sha256 FROM labeling_schemaversion v
        WHERE v.project_id = d.project_id ORDER BY v.number DESC LIMIT 1
    ) s ON true
    LEFT JOIN LATERAL (
        SELECT a.id, a.version FROM labeling_annotation a
        WHERE a.document_id = d.id AND a.schema_version_id = s.id ORDER BY a.version DESC, a.updated_at DESC LIMIT 1
    ) head ON true
    LEFT JOIN LATERAL (
        SELECT a.origin FROM labeling_annotation a JOIN labeling_schemaversion v ON v.id = a.schema_version_id
        WHERE a.document_id = d.id ORDER BY v.number DESC, a.version DESC, a.updated_at DESC LIMIT 1
    ) latest ON true
    LEFT JOIN LATERAL (
        SELECT a.origin FROM labeling_annotation a JOIN labeling_schemaversion v ON v.id = a.schema_version_id
        WHERE a.document_id = d.id AND a.user_id = %(user)s ORDER BY v.number DESC LIMIT 1
    ) mine ON true
    LEFT JOIN labeling_annotation own
        ON own.document_id = d.id AND own.schema_version_id = s.id AND own.user_id = %(user)s"""
# ``label`` as in ``label_revisions``.
_MORE_COLUMNS = """,
        label.id AS label_pk, label.number AS label_number, label.value AS label_value,
        label.annotation_id AS label_annotation, label.origin AS label_origin,
        label.user_id AS label_by, compared.id AS compared_pk, compared.value AS compared_value,
        CASE WHEN d.overlap > 1 THEN (
            SELECT jsonb_agg(a.value) FROM labeling_annotation a WHERE a.document_id = d.id
            AND a.schema_version_id = s.id AND a.submitted AND a.user_id <> %(user)s
        ) END AS others_values"""
_MORE_TABLES = """
    LEFT JOIN LATERAL (
        SELECT v.id, v.number, v.value, v.annotation_id, a.origin, a.user_id
        FROM labeling_annotationrevision v JOIN labeling_annotation a ON a.id = v.annotation_id
        WHERE a.document_id = d.id AND a.schema_version_id = s.id
        AND v.action IN ('submit', 'import', 'approve', 'adjudicate', 'migrate')
        ORDER BY v.number DESC, v.id DESC LIMIT 1
    ) label ON true
    LEFT JOIN LATERAL (
        SELECT p.id, p.value FROM labeling_prediction p WHERE p.document_id = d.id AND p.schema_version_id = s.id
        AND p.value IS NOT NULL ORDER BY p.id DESC LIMIT 1
    ) compared ON true"""
_WHERE = """
    WHERE d.id = %(document)s"""
_READ = _COLUMNS + _TABLES + _WHERE
_READ_WHOLE = _COLUMNS + _MORE_COLUMNS + _TABLES + _MORE_TABLES + _WHERE
_VALUES = ("label_value", "compared_value", "others_values")
