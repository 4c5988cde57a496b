"""Disclosure: the single outputs of a hold-out evaluation are opened on purpose, with a reason.

What is known of single documents can be trained on: a team that corrects what it sees on the hold-out passes every
gate at a true rate far below it (``bench.gate_workflow``). Therefore a hold-out evaluation shows figures over at least
``MIN_SLICE_DOCUMENTS`` documents and no single output. Once its outputs are opened, its documents count in no gate on
answers of a model that is made afterward; gates on that model need other hold-out documents.
"""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.models import AuditEntry, EvalOutput, EvalRun
from labeling.models import Project, Split
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

MAX_REASON_LENGTH = 300
OPENED_ACTION = "opened hold-out outputs"
#: the audit action of lookalikes, which earlier versions also queued for hold-out documents
_LOOKALIKES_ACTION = "queued look-alikes"


@transaction.atomic
def open_outputs(*, run: EvalRun, user: User | None, reason: str) -> None:
    """Opens the outputs of a finished hold-out evaluation, with those of its source and re-scorings. Idempotent.

    Raises:
        Refused: ``field`` is run or reason; nothing is opened then.
    """
    require(run.project, user, Action.PROPOSE_POLICY)
    reason = reason.replace("\0", "").strip()
    if run.split != Split.HOLDOUT or run.status != Status.DONE:
        raise Refused(f"Evaluation {run.number} is not a finished hold-out evaluation.", field="run")
    if not reason or len(reason) > MAX_REASON_LENGTH:
        raise Refused(f"Enter a reason of at most {MAX_REASON_LENGTH} characters.", field="reason")
    Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
    source = run.rescored_from_id or run.pk
    same = EvalRun.objects.filter(Q(pk=source) | Q(rescored_from=source))
    if not same.filter(opened_at=None).update(opened_at=timezone.now(), opened_by=user, opened_reason=reason):
        return
    run.refresh_from_db(fields=["opened_at", "opened_by", "opened_reason"])
    audit_services.record(
        project=run.project,
        user=user,
        action=OPENED_ACTION,
        about=f"evaluation {run.number}",
        details={
            "reason": reason,
            "holdout": run.dataset.holdout_sha256,
            "documents": EvalOutput.objects.filter(eval_run=run).count(),
        },
    )


def disclosed_documents(run: EvalRun) -> set[int]:
    """Hold-out documents with outputs that were open before the model of an evaluation was made."""
    runs = disclosing_runs(run)
    if not runs:
        return set()
    return set(EvalOutput.objects.filter(eval_run__in=runs).values_list("document_id", flat=True).distinct())


def disclosing_runs(run: EvalRun) -> list[EvalRun]:
    """Hold-out evaluations whose outputs were open before the model of this one was made, oldest first.

    Kept on the row: nothing that happens later changes them.
    """
    kept: list[EvalRun] | None = run.__dict__.get("_disclosing_runs")
    if kept is not None:
        return kept
    made = made_at(run)
    entries = AuditEntry.objects.filter(project=run.project_id, action=_LOOKALIKES_ACTION, created_at__lt=made)
    numbers = [int(number) for number in entries.values_list("details__evaluation", flat=True) if number]
    rows = EvalRun.objects.filter(project=run.project_id).on_holdout()
    opened = rows.filter(Q(opened_at__lt=made) | Q(number__in=numbers))
    runs = list(opened.select_related("opened_by").defer("spec", "scores").order_by("number"))
    run.__dict__["_disclosing_runs"] = runs
    return runs


def made_at(run: EvalRun) -> datetime:
    """When the model of an evaluation was made: when its training was started; of a model that was not trained here,
    when it was evaluated."""
    trained: Any = run.training_run or run.classical
    if trained is not None:
        made: datetime = trained.created_at
        return made
    return (run.rescored_from or run).created_at
