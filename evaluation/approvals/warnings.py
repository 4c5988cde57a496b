"""Warnings for the decision on a report: changes of the hold-out, of thresholds, and of measurements."""

from collections.abc import Iterator

from django.db.models import Min
from django.utils.timezone import localtime
from django.utils.translation import ngettext

from evaluation.gates.holdout import disclosure, membership
from evaluation.gates.holdout.evaluation_numbers import ended_at, overlapping_versions, trained_candidates
from evaluation.gates.policy.services import gates_of, thresholds_set_at
from evaluation.gates.production import current_model, needs_production
from evaluation.models import EvalRun, GateReport
from evaluation.runs import resources
from labeling.models import BulkEdit, DatasetItem, DatasetVersion, Split
from slmstudio.text.formatting import format_date

#: ids of documents that a sentence lists
MAX_LISTED = 5


def warnings(report: GateReport) -> list[str]:
    """The warnings of a report, a sentence or two each."""
    run = report.eval_run
    return [
        *_opened(run),
        *_removed(run),
        *_rescored(run),
        *_sampled_for_slices(run),
        *_moved_manually(run),
        *_thresholds_set_late(report),
        *_measured_since(report),
        *_other_in_production(report),
    ]


def _opened(run: EvalRun) -> Iterator[str]:
    """Hold-out evaluations whose outputs were open before this model was created."""
    for opened in disclosure.disclosing_runs(run):
        if opened.opened_at is None:
            yield (
                f"Lookalikes of hold-out documents were queued from evaluation {opened.number}, before this model was "
                "made. The documents of that evaluation do not count in gates on outputs."
            )
            continue
        user = opened.opened_by.get_username() if opened.opened_by is not None else "unknown user"
        day = format_date(localtime(opened.opened_at))
        yield (
            f"The outputs of hold-out evaluation {opened.number} were opened by {user} on {day}, before this model was "
            f"made ({opened.opened_reason}). The documents of that evaluation do not count in gates on outputs."
        )


def _removed(run: EvalRun) -> Iterator[str]:
    removed = membership.removed_documents(run)
    if not removed:
        return
    names = ", ".join(row.document.external_id for row in removed[:MAX_LISTED])
    more = f" and {len(removed) - MAX_LISTED} more" if len(removed) > MAX_LISTED else ""
    wrong = sum(not row.exact for row in removed)
    text = ngettext(
        "{n:,} document left the hold-out of {dataset} after it was evaluated: {names}. {wrong:,} had an error in the "
        "newest output. It counts as wrong in gates on outputs.",
        "{n:,} documents left the hold-out of {dataset} after they were evaluated: {names}. {wrong:,} had an error in "
        "the newest output. They count as wrong in gates on outputs.",
        len(removed),
    )
    yield text.format(n=len(removed), dataset=run.dataset, names=f"{names}{more}", wrong=wrong)


def _rescored(run: EvalRun) -> Iterator[str]:
    if run.rescored_from is None:
        return
    changed = int(run.facts.get("rescored", {}).get("noise", {}).get("corrected") or 0)
    labels = ngettext("{n:,} label has changed", "{n:,} labels have changed", changed).format(n=changed)
    yield f"Evaluation {run.number} re-scores the outputs of evaluation {run.rescored_from.number}: {labels} since."


def _sampled_for_slices(run: EvalRun) -> Iterator[str]:
    samples = membership.slice_samples(run.project_id)
    items = DatasetItem.objects.filter(dataset_id=run.dataset_id, split=Split.HOLDOUT, document__in=list(samples))
    count = items.count() if samples else 0
    if count:
        yield ngettext(
            "{n:,} hold-out document was sampled for one slice. It counts only in gates on that slice.",
            "{n:,} hold-out documents were sampled for one slice. They count only in gates on that slice.",
            count,
        ).format(n=count)


def _moved_manually(run: EvalRun) -> Iterator[str]:
    """Documents that were selected with a filter are not a sample."""
    first = DatasetVersion.objects.filter(pk__in=overlapping_versions(run)).aggregate(at=Min("created_at"))["at"]
    if first is None:
        return
    edits = BulkEdit.objects.filter(
        project_id=run.project_id,
        action=BulkEdit.Action.HOLDOUT,
        changed__gt=0,
        created_at__gt=first,
        created_at__lt=run.dataset.created_at,
    )
    count = sum(edits.exclude(params__has_key="undone_by").values_list("changed", flat=True))
    if count:
        text = ngettext(
            "{n:,} document has been moved to the hold-out manually since it was first frozen.",
            "{n:,} documents have been moved to the hold-out manually since it was first frozen.",
            count,
        )
        yield f"{text.format(n=count)} The verdicts apply to documents like those in the current hold-out."


def _measured_since(report: GateReport) -> Iterator[str]:
    """Newer measurements than the report's: repeating one until it passes is visible here."""
    used = report.measurement
    newest = resources.newest(report.eval_run) if used is not None else None
    if used is not None and newest is not None and newest.pk > used.pk:
        yield (
            f"The resources of evaluation {report.eval_run.number} were measured again: this report uses measurement "
            f"{resources.measurement_number(used)} of {resources.measurement_number(newest)}."
        )


def _other_in_production(report: GateReport) -> Iterator[str]:
    """Another production model than the one that an undecided report compares with."""
    if getattr(report, "approval", None) is not None or not needs_production(gates_of(report.policy)):
        return
    now, compared = current_model(report.project), report.production_run
    known = {report.eval_run.backend.key, compared.backend.key if compared is not None else None}
    if now is not None and now.key not in known:
        against = f"with {report.production['model']}" if compared is not None else "with no production model"
        yield f"The current production model is {now.label} ({now.source}); this report compares {against}."


def _thresholds_set_late(report: GateReport) -> Iterator[str]:
    """Thresholds that were set after the first results were available."""
    candidates = trained_candidates(report.eval_run)
    if candidates and thresholds_set_at(report.policy) > ended_at(candidates[0]):
        yield (
            f"Thresholds (gate policy {report.policy.number}) were changed after results of evaluation "
            f"{candidates[0].number} were available."
        )
