"""What a row of the list shows, for a page of ids: three queries, however many rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from labeling.models import Annotation, Document, DocumentScore, Project


@dataclass
class Row:
    """A document of the list with what others know of it. ``score`` is from 0 to 1, ``seconds`` the work on it.
    ``imported``: its label came with an import.
    """

    document: Document
    by: list[str] = field(default_factory=list)
    imported: bool = False
    saved_at: Any = None
    seconds: float = 0
    score: float | None = None
    wrong: list[str] = field(default_factory=list)


def rows(project: Project, ids: Sequence[int]) -> list[Row]:
    """The rows of these documents, in this order; what was deleted meanwhile is left out."""
    documents = Document.objects.for_list().filter(project=project).in_bulk(list(ids))
    found = {pk: Row(documents[pk]) for pk in ids if pk in documents}
    labels = Annotation.objects.filter(document__in=found).order_by("updated_at")
    for pk, name, saved_at, seconds in labels.values_list("document_id", "user__username", "updated_at", "seconds"):
        row = found[pk]
        if name is None:
            row.imported = True
            continue
        row.by = [*(other for other in row.by if other != name), name]
        row.saved_at, row.seconds = saved_at, max(row.seconds, seconds)
    scores = DocumentScore.objects.filter(document__in=found).values_list("document_id", "score", "wrong_fields")
    for pk, score, wrong in scores:
        found[pk].score, found[pk].wrong = score, wrong
    return list(found.values())
