"""What became of a hold-out: documents that left it after a model had answered them, and how others came into it.

Both bend what is counted. Whoever may set aside a document can set aside those that a model has wrong; and documents
that were drawn for one slice are no sample of all.
"""

from collections.abc import Iterable
from typing import Any

from evaluation.gates.holdout.alpha_spending import versions
from evaluation.models import AuditEntry, EvalOutput, EvalRun
from labeling.models import DatasetItem, Document, Split

#: the action of an audit entry about documents that were drawn for the hold-out
DREW = "queued labels"


def unanswered(run: EvalRun) -> tuple[int, int]:
    """How many hold-out documents of its dataset version an evaluation has no output for, and how many there are."""
    items = DatasetItem.objects.filter(dataset_id=run.dataset_id, split=Split.HOLDOUT)
    answered = EvalOutput.objects.filter(eval_run=run).values("document")
    return items.exclude(document__in=answered).count(), items.count()


def gone(run: EvalRun) -> list[EvalOutput]:
    """The newest answer, of whichever model, to each document that an earlier version held out and this one does not.

    What nobody had answered can not have been set aside because of an answer, so that it is not among them.
    """
    held_out = DatasetItem.objects.filter(dataset_id=run.dataset_id, split=Split.HOLDOUT).values("document")
    earlier = DatasetItem.objects.filter(
        dataset__in=versions(run), dataset__number__lt=run.dataset.number, split=Split.HOLDOUT
    )
    left = earlier.exclude(document__in=held_out).values("document")
    rows: Any = EvalOutput.objects.filter(
        document__in=left, eval_run__project=run.project_id, eval_run__split=Split.HOLDOUT
    )
    rows = rows.select_related("document").defer("gold", "raw", "error", "document__text")
    return list(rows.order_by("document_id", "-eval_run__number").distinct("document_id"))


def all_wrong(score: dict[str, Any]) -> dict[str, Any]:
    """A score in which all that counts is wrong."""
    fields = [
        {**row, "outcome": "unscorable", "output": None} if row["outcome"] != "both_absent" else row
        for row in score["fields"]
    ]
    amiss = dict.fromkeys(("valid_json", "schema_valid", "exact", "invariants_hold"), False)
    return {**score, **amiss, "fields": fields}


def all_right(score: dict[str, Any]) -> dict[str, Any]:
    """A score in which all that counts is right."""
    fields = [
        {**row, "outcome": "correct", "output": row["gold"]} if row["outcome"] != "both_absent" else row
        for row in score["fields"]
    ]
    return {**score, **dict.fromkeys(("valid_json", "schema_valid", "exact"), True), "fields": fields}


def drawn_for_slices(project: Any) -> dict[int, str]:
    """Documents that came into the hold-out by a draw for one slice alone: document -> that slice, from the audit log,
    which nobody can rewrite."""
    rows = AuditEntry.objects.filter(project=project, action=DREW).order_by("pk").values_list("details", flat=True)
    return {pk: details["slice"] for details in rows if details.get("slice") for pk in details["documents"]}


def of_others(drawn: dict[int, str], wanted: str) -> set[int]:
    """Documents that were drawn for another slice than this one."""
    return {pk for pk, slice_ in drawn.items() if slice_ != wanted}


def metadata_of(rows: Iterable[EvalOutput]) -> dict[int, Any]:
    """What the documents of these outputs say of themselves."""
    keys = [row.document_id for row in rows]
    return dict(Document.objects.filter(pk__in=keys).values_list("pk", "metadata"))
