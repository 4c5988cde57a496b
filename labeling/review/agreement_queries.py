"""How well the people of a project agree, from the documents that several of them labelled unseen by each other."""

from typing import Any

from django.db.models import Exists, OuterRef

from labeling.annotation.locked_document import SETTLED, Actions
from labeling.models import AnnotationRevision, Document, DocumentState, Project, Review
from labeling.review.agreement import UNASKED, FieldAgreement, by_field

#: the newest documents that agreement is taken of
MOST_DOCUMENTS = 500


def of_project(project: Project) -> list[FieldAgreement]:
    """Agreement per field on the newest 500 documents that several people labelled under the newest schema; empty where
    there is none.

    Only labels written unseen count: what somebody submitted after a reviewer had decided is left out, and so is the
    reviewer's own. Three queries.
    """
    version = project.schema_version
    done = (DocumentState.SUBMITTED, DocumentState.APPROVED, DocumentState.REJECTED)
    documents = Document.objects.filter(project=project, wanted__gt=1, state__in=done).order_by("-pk")
    keys = list(documents.values_list("pk", flat=True)[:MOST_DOCUMENTS])
    if not keys:
        return []
    earlier = Review.objects.filter(
        document=OuterRef("annotation__document"), decision__in=SETTLED, created_at__lte=OuterRef("created_at")
    )
    rows: Any = (
        AnnotationRevision.objects.filter(
            ~Exists(earlier),
            annotation__document__in=keys,
            annotation__schema_version=version,
            annotation__user__isnull=False,
            action=Actions.SUBMIT,
        )
        .order_by("annotation_id", "-number")
        .distinct("annotation_id")
        .values_list("annotation__document_id", "annotation__user_id", "value")
    )
    labels: dict[int, dict[int, Any]] = {}
    people: dict[int, None] = {}
    for document, user, value in rows:
        labels.setdefault(document, {})[user] = value
        people[user] = None
    order = sorted(people)
    return by_field(version.compiled, ([own.get(user, UNASKED) for user in order] for own in labels.values()))
