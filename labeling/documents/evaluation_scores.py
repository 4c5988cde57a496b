"""The score of each document in its last evaluation, for the filters and orders of the list."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from django.utils import timezone

from labeling.models import DocumentScore, Project

BATCH = 1000


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """The score of a document: its field accuracy from 0 to 1, and the patterns of its wrong fields."""

    document_id: int
    score: float
    wrong_fields: Sequence[str] = ()


def record(*, project: Project, rows: Iterable[ScoreRow], source: str) -> int:
    """Stores scores and replaces older ones; ``source`` names the evaluation. Returns their number. Idempotent."""
    now = timezone.now()
    count, remaining = 0, iter(rows)
    while batch := list(islice(remaining, BATCH)):
        scores = [
            DocumentScore(
                document_id=row.document_id,
                project=project,
                score=min(1.0, max(0.0, row.score)),
                wrong_fields=list(row.wrong_fields),
                source=source[:120],
                updated_at=now,
            )
            for row in batch
        ]
        DocumentScore.objects.bulk_create(
            scores,
            update_conflicts=True,
            unique_fields=["document"],
            update_fields=["score", "wrong_fields", "source", "updated_at"],
        )
        count += len(scores)
    return count
