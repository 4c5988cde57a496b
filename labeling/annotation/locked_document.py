"""A document held for a save or a decision: its row locked, and all that is known of its labels read in one query."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Q, Subquery

from labeling.form.tree import FormNode, tree_of
from labeling.models import AnnotationRevision, Document, Review, SchemaVersion
from slmstudio.access import Action, may
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.database.fields import ExactDecoder

Actions = AnnotationRevision.Action
#: revisions that stand for a label somebody answers for
ANSWERED = (Actions.SUBMIT, Actions.IMPORT, Actions.APPROVE, Actions.ADJUDICATE, Actions.MIGRATE)
#: decisions after which a label is a reviewer's word
SETTLED = (Review.Decision.APPROVE, Review.Decision.FIX, Review.Decision.ADJUDICATE)


@lru_cache(maxsize=256)
def schema_of(pk: int, sha256: str) -> SchemaVersion:
    """A schema version, read once per process: its rows never change."""
    return SchemaVersion.objects.get(pk=pk, sha256=sha256)


def newest_schema(project: Any) -> Any:
    """The schema versions of a project, the newest first."""
    return SchemaVersion.objects.filter(project=project).order_by("-number")


def newest_decision(document: Any) -> Any:
    """What the newest review of a document decided, as a subquery."""
    return Subquery(Review.objects.filter(document=document).order_by("-pk").values("decision")[:1])


#: the same in SQL: whether the newest review of the document ``d`` was such a decision
IS_SETTLED = """COALESCE(
    (SELECT r.decision FROM labeling_review r WHERE r.document_id = d.id ORDER BY r.id DESC LIMIT 1)
    IN ('approve', 'fix', 'adjudicate'), false)"""


def is_own_only(document: Any, decision: str | None) -> bool:
    """Whether several people label a document, each unseen by the others; over once a reviewer has decided."""
    return document.wanted > 1 and decision not in SETTLED


def answered_of(document: Any, schema_version: Any) -> Any:
    """The revisions of a document that somebody answers for, the newest first: submitted, imported, decided, or taken
    along from an older schema where they counted.
    """
    return AnnotationRevision.objects.filter(
        action__in=ANSWERED, annotation__document=document, annotation__schema_version=schema_version
    ).order_by("-number", "-pk")


@dataclass(slots=True)
class LockedDocument:
    """A document whose row this transaction holds, and where its annotations stand.

    ``document`` carries what ``hold_row`` reads beside its columns.
    """

    document: Any
    schema_version: SchemaVersion

    @property
    def compiled(self) -> CompiledSchema:
        """The schema in force."""
        return self.schema_version.compiled

    @property
    def node(self) -> FormNode:
        """The form of the schema."""
        return tree_of(self.compiled)

    @property
    def is_blind(self) -> bool:
        """Whether everybody sees and changes only what they wrote themselves."""
        return is_own_only(self.document, self.document.decision)

    @property
    def settled(self) -> bool:
        """Whether the newest review approved what was there then."""
        return self.document.decision in SETTLED

    @property
    def may_review(self) -> bool:
        """Whether the person saving may review in this project."""
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
    """Updates the document's row, and so waits for and keeps out every other save of it; then reads it.

    The update comes first because only a statement that starts after the wait sees what the other save wrote. With
    ``whole``, what a submit or a review needs is read in the same query: the newest label that somebody answers for,
    the newest prediction, and what others submitted.

    Raises:
        Document.DoesNotExist: it has gone, is another project's, or is not, or no longer, as ``only_if`` says.
    """
    of_project = {"project_id": document.project_id} if document.project_id else {}
    if not Document.objects.filter(only_if or Q(), pk=document.pk, **of_project).update(**changes):
        raise Document.DoesNotExist(f"document {document.pk} has gone")
    known = {"document": document.pk, "user": user.pk, "prediction": prediction}
    row: Any = next(iter(Document.objects.raw(_READ_WHOLE if whole else _READ, known)))
    row.own_field_seconds = json.loads(row.own_field_seconds or "{}")
    for name in _VALUES if whole else ():
        text = getattr(row, name)
        setattr(row, name, None if text is None else json.loads(text, cls=ExactDecoder))
    if Document._meta.get_field("project").is_cached(document):
        row.project = document.project
    return LockedDocument(row, schema_of(row.schema_pk, row.schema_sha256))


# By hand: an ORM query with as many subqueries takes longer to be put together than to be answered. ``s`` is the newest
# schema version, ``head`` the newest label of anybody under it, ``own`` this person's; ``latest`` and ``mine`` are the
# same under whichever schema, because a form begins as the label of an older one; ``proposed``: a pre-label is shown.
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
# ``answered`` as in ``answered_of``.
_MORE_COLUMNS = """,
        answered.id AS answered_pk, answered.number AS answered_number, answered.value AS answered_value,
        answered.annotation_id AS answered_annotation, answered.origin AS answered_origin,
        answered.user_id AS answered_by, compared.id AS compared_pk, compared.value AS compared_value,
        CASE WHEN d.wanted > 1 THEN (
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
    ) answered ON true
    LEFT JOIN LATERAL (
        SELECT p.id, p.value FROM labeling_prediction p WHERE p.document_id = d.id AND p.schema_version_id = s.id
        AND p.value IS NOT NULL ORDER BY p.id DESC LIMIT 1
    ) compared ON true"""
_WHERE = """
    WHERE d.id = %(document)s"""
_READ = _COLUMNS + _TABLES + _WHERE
_READ_WHOLE = _COLUMNS + _MORE_COLUMNS + _TABLES + _MORE_TABLES + _WHERE
_VALUES = ("answered_value", "compared_value", "others_values")
