"""The members of a hold-out: documents that left it after an evaluation, and how others came in.

Both bias what is counted: a document may have been removed because a model got it wrong, and documents that were
sampled for one slice are not a sample of all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from evaluation.gates.holdout.evaluation_numbers import overlapping_versions
from evaluation.models import AuditEntry, EvalOutput, EvalRun
from labeling.models import DatasetItem, Document, Split

#: the audit action of sampling documents for the hold-out
SAMPLED_ACTION = "queued labels"


def unanswered_documents(run: EvalRun) -> tuple[int, int]:
    """How many hold-out documents of its dataset version have no output in an evaluation, and how many there are."""
    items = DatasetItem.objects.filter(dataset_id=run.dataset_id, split=Split.HOLDOUT)
    answered = EvalOutput.objects.filter(eval_run=run).values("document")
    return items.exclude(document__in=answered).count(), items.count()


def removed_documents(run: EvalRun) -> list[EvalOutput]:
    """The newest output, of any model, for each document in the hold-out of an earlier version but not of this one.

    Documents without an output are not included: they cannot have been removed because of one.
    """
    held_out = DatasetItem.objects.filter(dataset_id=run.dataset_id, split=Split.HOLDOUT).values("document")
    earlier = DatasetItem.objects.filter(
        dataset__in=overlapping_versions(run), dataset__number__lt=run.dataset.number, split=Split.HOLDOUT
    )
    left = earlier.exclude(document__in=held_out).values("document")
    rows: Any = EvalOutput.objects.filter(
        document__in=left, eval_run__project=run.project_id, eval_run__split=Split.HOLDOUT
    )
    rows = rows.select_related("document").defer("gold", "raw", "error", "document__text")
    return list(rows.order_by("document_id", "-eval_run__number").distinct("document_id"))


def slice_samples(project_id: int) -> dict[int, str]:
    """Documents that were sampled for the hold-out for one slice only: document -> slice, from the append-only audit
    log."""
    rows = (
        AuditEntry.objects.filter(project=project_id, action=SAMPLED_ACTION)
        .order_by("pk")
        .values_list("details", flat=True)
    )
    return {pk: details["slice"] for details in rows if details.get("slice") for pk in details["documents"]}


def samples_of_other_slices(samples: Mapping[int, str], slice_: str) -> set[int]:
    """Documents that were sampled for another slice."""
    return {pk for pk, sampled_for in samples.items() if sampled_for != slice_}


def metadata_of(rows: Iterable[EvalOutput]) -> dict[int, Any]:
    """The metadata of the documents of some outputs, by document."""
    keys = [row.document_id for row in rows]
    return dict(Document.objects.filter(pk__in=keys).values_list("pk", "metadata"))


def training_overlap(run: EvalRun) -> list[str]:
    """Ids of hold-out documents that the model was trained on."""
    trained_on = run.backend.trained_on
    if trained_on is None:
        return []
    trained = DatasetItem.objects.filter(dataset=trained_on).exclude(split=Split.HOLDOUT)
    held_out = DatasetItem.objects.filter(dataset_id=run.dataset_id, split=Split.HOLDOUT)
    both = held_out.filter(document__in=trained.values("document"))
    return list(both.order_by("document_id").values_list("document__external_id", flat=True))


def holdout_origins(run: EvalRun) -> dict[str, int]:
    """Where the gold labels of the hold-out come from: origin -> documents."""
    items = DatasetItem.objects.filter(dataset_id=run.dataset_id, split=Split.HOLDOUT)
    return dict(Counter(items.values_list("origin", flat=True)))
