"""Reserving a part of an import with pre-labels for the hold-out: people label it without seeing a pre-label.

Confirmed pre-labels do not enter the hold-out while there are other labels, so without a reservation the hold-out of
such an import is as small as the sample for automation bias.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q, QuerySet

from labeling.datasets import holdout_sampling
from labeling.imports.formats.base import RESERVE
from labeling.models import Document, ImportRun, Prediction, Project

#: of the documents of an import. Of fifty, 15: without an error they prove 78% (0.78^15 is below 2.5%)
SHARE: Final = 0.3


@dataclass(frozen=True)
class Reservation:
    """What an import reserves. ``documents``: the number of its documents (None: unknown, many); ``limit``: of the
    hold-out, up to which they are reserved (0: none are); ``held_out``: the documents that it has.
    """

    documents: int | None
    limit: int
    held_out: int

    @property
    def count(self) -> int:
        """The number that is reserved; at most, where the number of documents is unknown."""
        missing = max(0, self.limit - self.held_out)
        return missing if self.documents is None else min(round(SHARE * self.documents), missing)


def reservation(project: Project, options: Mapping[str, Any], documents: int | None, *, own: int = 0) -> Reservation:
    """What an import with these options reserves. ``own``: documents that it has reserved before."""
    value = str(options.get(RESERVE.name) or next(iter(RESERVE.choices)))
    held_out = Document.objects.filter(project=project, holdout=True).count()
    return Reservation(documents, int(value) if value.isdecimal() else 0, held_out - own)


def reserve(run: ImportRun) -> int:
    """Reserves documents of an import that has pre-labels; returns their number. Repeated, it reserves no more."""
    source = f"import-{run.pk}: "
    if run.synthetic:  # labels of generated documents do not enter the hold-out either
        return 0
    if not Prediction.objects.filter(document__in=_documents(run), source__startswith=source).exists():
        return 0
    mine = reserved(run)
    # Not those that someone has opened: the form showed the pre-label.
    unseen = holdout_sampling.unlabeled_documents(run.project, Q(locked_by=None)).filter(pk__in=_documents(run))
    documents = list(unseen.values_list("pk", flat=True))
    wanted = reservation(run.project, run.options, len(documents) + mine, own=mine).count

    def beat(stage: str, done: int, total: int) -> None:
        run.send_heartbeat(stage="reserving the hold-out")

    return holdout_sampling.reserve_holdout(
        project=run.project, documents=documents, count=wanted - mine, seed=run.pk, progress=beat
    )


def reserved(run: ImportRun) -> int:
    """The number of documents of an import in the hold-out."""
    return _documents(run).filter(holdout=True).count()


def _documents(run: ImportRun) -> QuerySet[Document]:
    rows: QuerySet[Document] = Document.objects.filter(
        project=run.project_id, source=run.file_name, created_at__gte=run.created_at
    )
    return rows.filter(created_at__lte=run.finished_at) if run.finished_at else rows
