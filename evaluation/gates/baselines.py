"""Baselines: the model of an evaluation, the baseline it is compared with, and whether they are comparable."""

from typing import Any

from django.utils.text import capfirst

from evaluation.audit import services as audit_services
from evaluation.gates.holdout.membership import unanswered_documents
from evaluation.inference.backend import ModelKey
from evaluation.models import Approval, EvalRun
from labeling.models import Split
from slmstudio.errors import Refused
from slmstudio.runs.models import Status


def model_key(run: EvalRun) -> ModelKey:
    """Which model an evaluation is of."""
    return run.backend.key


def base_model_of(run: EvalRun) -> int | None:
    """The base model of a trained model; None for any other model, and for an encoder, whose base model does not
    answer.
    """
    training = run.training_run
    return None if training is None or training.base_model.is_encoder else training.base_model_id


def check_baseline(eval_run: EvalRun, baseline: EvalRun) -> None:
    """Raises Refused where the two evaluations are not comparable."""
    if baseline.pk == eval_run.pk:
        raise Refused("An evaluation cannot be its own baseline.", field="baseline", code="same_evaluation")
    if baseline.project_id != eval_run.project_id:
        raise Refused("The baseline belongs to another project.", field="baseline", code="other_project")
    split = eval_run.get_split_display().lower()
    if baseline.status != Status.DONE or baseline.split != eval_run.split:
        raise Refused(
            f"Evaluation {baseline.number} is not a finished {split} evaluation.", field="baseline", code="not_finished"
        )
    if _documents(baseline) != _documents(eval_run):
        raise Refused(
            f"Evaluation {baseline.number} is on another {split} ({baseline.dataset}). The baseline must be evaluated "
            f"on the same documents ({eval_run.dataset}).",
            field="baseline",
            code="other_holdout" if eval_run.split == Split.HOLDOUT else "other_documents",
        )
    if baseline.mode != mode_of_baseline(eval_run, baseline):
        raise Refused(
            f"Evaluation {baseline.number} is {baseline.get_mode_display().lower()}, evaluation {eval_run.number} is "
            f"{eval_run.get_mode_display().lower()}. Both must use the same decoding mode.",
            field="baseline",
            code="other_mode",
        )
    if _scoring_key(baseline) != _scoring_key(eval_run):
        raise Refused(
            f"Evaluation {baseline.number} was scored with a different {_difference(eval_run, baseline)}. "
            f"Re-score it on {eval_run.dataset} first.",
            field="baseline",
            code="other_scoring",
        )
    check_answered("baseline", baseline)


def mode_of_baseline(eval_run: EvalRun, baseline: EvalRun | None) -> str:
    """The decoding mode of comparable evaluations of a baseline: the same, where both models have decoding modes."""
    if baseline is None or (eval_run.backend.decodes and baseline.backend.decodes):
        return str(eval_run.mode)
    return str(baseline.mode)


def _documents(run: EvalRun) -> tuple[str, str]:
    """What determines the documents of an evaluation."""
    holdout = run.split == Split.HOLDOUT
    return run.split, run.dataset.holdout_sha256 if holdout else run.dataset.sha256


def check_answered(field: str, run: EvalRun) -> None:
    """Raises Refused where an evaluation has no output for some hold-out documents: it was re-scored on a version with
    a larger hold-out."""
    if run.split != Split.HOLDOUT:
        return
    missing, total = unanswered_documents(run)
    if missing:
        raise Refused(
            f"Evaluation {run.number} has no output for {missing:,} of {total:,} hold-out documents of {run.dataset}. "
            "Evaluate the model again.",
            field=field,
            code="unanswered",
        )


def _scoring_key(run: EvalRun) -> tuple[str, str]:
    """What determines the score of an output."""
    return run.dataset.schema_version.sha256, run.scorer_version


def _difference(a: EvalRun, b: EvalRun) -> str:
    return "schema" if _scoring_key(a)[0] != _scoring_key(b)[0] else "scorer"


def check_required_baseline(eval_run: EvalRun, baseline: EvalRun) -> None:
    """Raises Refused for a baseline of another model than the deployed one, which the user cannot choose."""
    deployed = last_approved(eval_run)
    if deployed is not None:
        if model_key(baseline) != model_key(deployed):
            raise Refused(
                f"{capfirst(deployed.model_label)} was approved last and is the required baseline. "
                f"Select an evaluation of {deployed.model_label}, not of {baseline.model_label}.",
                field="baseline",
                code="wrong_baseline",
            )
        return
    if not baseline.backend.is_base_model:
        raise Refused(
            "No other model is approved yet, so the baseline must be a base model. "
            f"Select an evaluation of a base model, not of {baseline.model_label}.",
            field="baseline",
            code="wrong_baseline",
        )
    required = default_baseline(eval_run)
    if required is not None and model_key(baseline) != model_key(required):
        raise Refused(
            f"The base model of this model is {required.model_label}, which is the required baseline. "
            f"Select evaluation {required.number}, or another one of {required.model_label}.",
            field="baseline",
            code="wrong_baseline",
        )


def default_baseline(eval_run: EvalRun) -> EvalRun | None:
    """The newest evaluation of the required baseline on the same documents, decoded and scored the same way: of the
    model that was approved last, or of this model's base model where no other model is approved.
    """
    deployed = last_approved(eval_run)
    base = base_model_of(eval_run)
    if deployed is None and base is None:
        return None
    key = model_key(deployed) if deployed is not None else ModelKey(base_model=base)
    rows = (
        EvalRun.objects.with_model()
        .of_model(key)
        .filter(
            project_id=eval_run.project_id,
            mode=mode_of_baseline(eval_run, deployed),
            split=eval_run.split,
            scorer_version=eval_run.scorer_version,
            dataset__schema_version__sha256=eval_run.dataset.schema_version.sha256,
        )
    )
    same: dict[str, Any] = {"dataset__sha256": eval_run.dataset.sha256}
    if eval_run.split == Split.HOLDOUT:
        same = {"dataset__holdout_sha256": eval_run.dataset.holdout_sha256}
    newest: Any = rows.filter(**same).done().exclude(pk=eval_run.pk).order_by("-number")
    return next((run for run in newest if model_key(run) == key and _is_complete(run)), None)


def _is_complete(run: EvalRun) -> bool:
    return run.split != Split.HOLDOUT or not unanswered_documents(run)[0]


def last_approved(eval_run: EvalRun) -> EvalRun | None:
    """The evaluation of the last approval of another model; withdrawn approvals do not count."""
    approvals = Approval.objects.filter(
        report__project_id=eval_run.project_id, decision=Approval.Decision.APPROVED
    ).select_related(
        "report__eval_run__base_model",
        "report__eval_run__training_run__base_model",
        "report__eval_run__model_version",
        "report__eval_run__endpoint",
        "report__eval_run__export",
    )
    withdrawn = audit_services.entries_by_subject(eval_run.project, audit_services.WITHDRAWN)
    reports = (approval.report for approval in approvals.order_by("-decided_at", "-pk"))
    runs = (report.eval_run for report in reports if str(report) not in withdrawn)
    own = model_key(eval_run)
    return next((run for run in runs if model_key(run) != own), None)
