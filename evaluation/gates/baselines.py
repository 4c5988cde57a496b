"""Which model an evaluation is of, which one it is held against, and whether two evaluations can be."""

from typing import Any

from django.utils.text import capfirst

from evaluation.audit import services as audit_services
from evaluation.gates.holdout.membership import unanswered
from evaluation.inference.backend import ModelKey
from evaluation.models import Approval, EvalRun
from labeling.models import Split
from slmstudio.errors import Refused
from slmstudio.runs.models import Status


def model_key(run: EvalRun) -> ModelKey:
    """Which model an evaluation is of."""
    return run.backend.key


def made_from(run: EvalRun) -> int | None:
    """The base model that a training started from; None for any other model."""
    return run.training_run.base_model_id if run.training_run is not None else None


def check_baseline(eval_run: EvalRun, baseline: EvalRun) -> None:
    """Raises Refused where the two evaluations cannot be held against each other."""
    if baseline.pk == eval_run.pk:
        raise Refused("An evaluation is not its own baseline.", field="baseline")
    if baseline.project_id != eval_run.project_id:
        raise Refused("The baseline belongs to another project.", field="baseline")
    if baseline.status != Status.DONE or baseline.split != Split.HOLDOUT:
        raise Refused(f"Evaluation {baseline.number} is no finished evaluation on the hold-out.", field="baseline")
    if baseline.dataset.holdout_sha256 != eval_run.dataset.holdout_sha256:
        raise Refused(
            f"Evaluation {baseline.number} is on another hold-out ({baseline.dataset}). A baseline has answered the "
            f"very documents of {eval_run.dataset}: evaluate that model on it.",
            field="baseline",
        )
    if baseline.mode != eval_run.mode:
        raise Refused(
            f"Evaluation {baseline.number} was decoded {baseline.get_mode_display()}, evaluation {eval_run.number} "
            f"{eval_run.get_mode_display()}. A baseline is decoded the same way.",
            field="baseline",
        )
    if _scale(baseline) != _scale(eval_run):
        raise Refused(
            f"Evaluation {baseline.number} was scored by another {_differs(eval_run, baseline)}. "
            f"Score it again on {eval_run.dataset} first.",
            field="baseline",
        )
    check_answered("baseline", baseline)


def check_answered(field: str, run: EvalRun) -> None:
    """Raises Refused where an evaluation has no answer to some of the hold-out: outputs that were scored again by a
    version that holds out more."""
    missing, total = unanswered(run)
    if missing:
        raise Refused(
            f"Evaluation {run.number} was never asked about {missing:,} of the {total:,} hold-out documents of "
            f"{run.dataset}. Evaluate that model on it anew.",
            field=field,
        )


def _scale(run: EvalRun) -> tuple[int, str]:
    """What the same answer is scored the same by."""
    return run.dataset.schema_version_id, run.scorer_version


def _differs(one: EvalRun, other: EvalRun) -> str:
    return "schema" if one.dataset.schema_version_id != other.dataset.schema_version_id else "scorer"


def check_opponent(eval_run: EvalRun, baseline: EvalRun) -> None:
    """Refuses a baseline that is not of the model in use: that model is not for whoever judges to choose."""
    before = _last_approved(eval_run)
    if before is not None:
        if model_key(baseline) != model_key(before):
            raise Refused(
                f"{capfirst(before.model_label)} was approved last, so it is what this model is held against. "
                f"Choose an evaluation of {before.model_label}, not of {baseline.model_label}.",
                field="baseline",
            )
        return
    if not baseline.backend.is_base_model:
        raise Refused(
            "No other model has been approved yet, so a base model is what this one is held against. "
            f"Choose an evaluation of a base model, not of {baseline.model_label}.",
            field="baseline",
        )
    wanted = opponent(eval_run)
    if wanted is not None and model_key(baseline) != model_key(wanted):
        raise Refused(
            f"This model was made from {wanted.model_label}, so that is what it is held against. "
            f"Choose evaluation {wanted.number}, or another of {wanted.model_label}.",
            field="baseline",
        )


def opponent(eval_run: EvalRun) -> EvalRun | None:
    """The newest evaluation that this one can be held against: of the model approved last on the same hold-out, decoded
    and scored the same way; as long as no other model is approved, of the base model it was made from. None where there
    is none.
    """
    before = _last_approved(eval_run)
    base = made_from(eval_run)
    if before is None and base is None:
        return None
    wanted = model_key(before) if before is not None else ModelKey(base_model=base)
    rows = (
        EvalRun.objects.with_model()
        .of_model(wanted)
        .filter(
            project_id=eval_run.project_id,
            mode=eval_run.mode,
            scorer_version=eval_run.scorer_version,
            dataset__schema_version=eval_run.dataset.schema_version_id,
            dataset__holdout_sha256=eval_run.dataset.holdout_sha256,
        )
    )
    newest: Any = rows.on_holdout().done().exclude(pk=eval_run.pk).order_by("-number")
    return next((run for run in newest if model_key(run) == wanted and not unanswered(run)[0]), None)


def _last_approved(eval_run: EvalRun) -> EvalRun | None:
    """The evaluation that the last approval of another model than this one rests on; one taken back does not count."""
    approvals = Approval.objects.filter(
        report__project_id=eval_run.project_id, decision=Approval.Decision.APPROVED
    ).select_related(
        "report__eval_run__base_model",
        "report__eval_run__training_run",
        "report__eval_run__model_version",
        "report__eval_run__endpoint",
        "report__eval_run__export",
    )
    taken_back = audit_services.withdrawn(eval_run.project)
    reports = (one.report for one in approvals.order_by("-decided_at", "-pk"))
    runs = (report.eval_run for report in reports if str(report) not in taken_back)
    own = model_key(eval_run)
    return next((run for run in runs if model_key(run) != own), None)
