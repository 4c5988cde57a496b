"""How the last evaluation that saw a document went, so that the list can be filtered and sorted by it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from django.utils import timezone

from labeling.models import DocumentScore, Project

BATCH = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One document's score: the share of its fields that were right, 0 to 1, and patterns of those that were not."""

    document_id: int
    score: float
    wrong_fields: Sequence[str] = ()


def record(*, project: Project, rows: Iterable[Row], source: str) -> int:
    """Keeps scores in the place of older ones; ``source`` is the evaluation in words. Returns how many.

    Done twice, it changes nothing but the time.
    """
    now = timezone.now()
    count, left = 0, iter(rows)
    while some := list(islice(left, BATCH)):
        made = [
            DocumentScore(
                document_id=row.document_id,
                project=project,
                score=min(1.0, max(0.0, row.score)),
                wrong_fields=list(row.wrong_fields),
                source=source[:120],
                updated_at=now,
            )
            for row in some
        ]
        DocumentScore.objects.bulk_create(
            made,
            update_conflicts=True,
            unique_fields=["document"],
            update_fields=["score", "wrong_fields", "source", "updated_at"],
        )
        count += len(made)
    return count
