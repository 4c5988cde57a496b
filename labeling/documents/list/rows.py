"""The rows of a page of the list, with three queries in total."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from labeling.models import Annotation, Document, DocumentScore, Project


@dataclass
class DocumentRow:
    """A document with its labels and score. ``score`` is from 0 to 1, ``seconds`` is the labeling time.
    ``imported``: its label was imported.
    """

    document: Document
    by: list[str] = field(default_factory=list)
    imported: bool = False
    saved_at: Any = None
    seconds: float = 0
    score: float | None = None
    wrong: list[str] = field(default_factory=list)


def rows(project: Project, ids: Sequence[int]) -> list[DocumentRow]:
    """The rows of these documents, in this order, without deleted ones."""
    documents = Document.objects.for_list().filter(project=project).in_bulk(list(ids))
    by_id = {pk: DocumentRow(documents[pk]) for pk in ids if pk in documents}
    labels = Annotation.objects.filter(document__in=by_id).order_by("updated_at")
    for pk, name, saved_at, seconds in labels.values_list("document_id", "user__username", "updated_at", "seconds"):
        row = by_id[pk]
        if name is None:
            row.imported = True
            continue
        row.by = [*(other for other in row.by if other != name), name]
        row.saved_at, row.seconds = saved_at, max(row.seconds, seconds)
    scores = DocumentScore.objects.filter(document__in=by_id).values_list("document_id", "score", "wrong_fields")
    for pk, score, wrong in scores:
        by_id[pk].score, by_id[pk].wrong = score, wrong
    return list(by_id.values())
