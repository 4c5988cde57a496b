"""What whoever decides on a report should know beside its verdicts: what became of hold-out and thresholds."""

from collections.abc import Iterator

from django.db.models import Min

from evaluation.gates.holdout import membership
from evaluation.gates.holdout.alpha_spending import candidates, ended, versions
from evaluation.gates.policy.services import set_at
from evaluation.models import EvalRun, GateReport
from evaluation.runs import resources
from labeling.models import BulkEdit, DatasetItem, DatasetVersion, Split

#: ids of documents that are named
NAMED = 5


def cautions(report: GateReport) -> list[str]:
    """A sentence or two for each."""
    run = report.eval_run
    return [*_gone(run), *_scored_again(run), *_drawn(run), *_moved(run), *_late(report), *_measured_since(report)]


def _gone(run: EvalRun) -> Iterator[str]:
    gone = membership.gone(run)
    if not gone:
        return
    names = ", ".join(row.document.external_id for row in gone[:NAMED])
    more = f" and {len(gone) - NAMED} more" if len(gone) > NAMED else ""
    wrong = sum(not row.exact for row in gone)
    many = "1 document that was" if len(gone) == 1 else f"{len(gone):,} documents that were"
    yield (
        f"{many} held out and had been answered {'is' if len(gone) == 1 else 'are'} not in the hold-out of "
        f"{run.dataset}: {names}{more}. {wrong:,} had an error in the newest answer. In gates on documents every "
        "one of them counts as wrong, because it may have been set aside for being so."
    )


def _scored_again(run: EvalRun) -> Iterator[str]:
    if run.rescored_from is None:
        return
    changed = int(run.facts.get("rescored", {}).get("noise", {}).get("corrected") or 0)
    labels = "no label of them has" if not changed else f"{changed:,} label{' has' if changed == 1 else 's have'}"
    yield f"These are the outputs of evaluation {run.rescored_from.number}, scored again: {labels} changed since."


def _drawn(run: EvalRun) -> Iterator[str]:
    drawn = membership.drawn_for_slices(run.project_id)
    items = DatasetItem.objects.filter(dataset_id=run.dataset_id, split=Split.HOLDOUT, document__in=list(drawn))
    count = items.count() if drawn else 0
    if count:
        yield (
            f"{count:,} of the hold-out documents {'was' if count == 1 else 'were'} drawn for one slice alone. They "
            "count in gates on that slice, and in no other."
        )


def _moved(run: EvalRun) -> Iterator[str]:
    """What people chose by a filter is no sample of anything."""
    first = DatasetVersion.objects.filter(pk__in=versions(run)).aggregate(at=Min("created_at"))["at"]
    edits = BulkEdit.objects.filter(project_id=run.project_id, action=BulkEdit.Action.HOLDOUT, changed__gt=0)
    edits = edits.exclude(params__has_key="undone_by")
    if first is not None:
        edits = edits.filter(created_at__gt=first, created_at__lt=run.dataset.created_at)
    count = sum(edits.values_list("changed", flat=True)) if first is not None else 0
    if count:
        yield (
            f"{count:,} document{'' if count == 1 else 's'} {'was' if count == 1 else 'were'} moved to the hold-out by "
            "hand since it was first frozen. The verdicts hold for documents like those that are held out now."
        )


def _measured_since(report: GateReport) -> Iterator[str]:
    """Measurements that the report does not judge: one that was made until it passed would say so here."""
    judged = report.measurement
    newest = resources.newest(report.eval_run) if judged is not None else None
    if judged is not None and newest is not None and newest.pk > judged.pk:
        yield (
            f"Evaluation {report.eval_run.number} was measured again since: this report judges measurement "
            f"{resources.measurement_number(judged)} of {resources.measurement_number(newest)}."
        )


def _late(report: GateReport) -> Iterator[str]:
    """Thresholds that were set after the first figures could be seen."""
    known = candidates(report.eval_run)
    if known and set_at(report.policy) > ended(known[0]):
        yield (
            f"The thresholds (gate policy {report.policy.number}) were set after evaluation {known[0].number} of this "
            "hold-out had ended, so that whoever set them could have seen its figures."
        )
