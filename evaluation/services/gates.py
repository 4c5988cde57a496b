"""Gate reports: an evaluation judged by the project's policy, and the looks at a hold-out that this takes."""

from typing import Any

from django.db import transaction
from django.utils.text import capfirst

from evaluation import gates as judging
from evaluation.models import Approval, EvalRun, GateReport
from evaluation.policy import DEPLOYED
from evaluation.services import audit, packets
from evaluation.services.comparisons import compare_runs
from evaluation.services.evals import next_number
from evaluation.services.gate_facts import holdout_origins, measurements
from evaluation.services.looking import looks, next_look
from evaluation.services.policies import current_policy, rules, set_policy
from labeling.models import DatasetItem, Split
from slmstudio.runs import Status
from training.services.runs import Refused

__all__ = [
    "current_policy",
    "holdout_origins",
    "looks",
    "make_report",
    "measurements",
    "next_look",
    "opponent",
    "rules",
    "set_policy",
]


@transaction.atomic
def make_report(*, eval_run: EvalRun, baseline: EvalRun | None, user: Any) -> GateReport:
    """Judges an evaluation on the hold-out by the project's policy.

    The same outputs under the same policy and baseline are the same look: the report that is there is given back.

    Raises:
        Refused: ``field`` is eval_run or baseline, with the reason.
    """
    _check_runs(eval_run, baseline)
    project = eval_run.project
    policy = current_policy(project=project)
    # Locks the project, so that two reports made at once are not both the same look.
    number = next_number(GateReport, project)
    made = GateReport.objects.filter(policy=policy, eval_run=eval_run, baseline=baseline).first()
    if made is not None:
        return made
    if baseline is not None and any(gate.compared_with == DEPLOYED for gate in rules(policy)):
        _check_opponent(eval_run, baseline)
    look = next_look(eval_run)
    verdicts = judging.judge_all(rules(policy), measurements(rules(policy), eval_run, baseline), look)
    report = GateReport(
        project=project,
        number=number,
        policy=policy,
        eval_run=eval_run,
        baseline=baseline,
        look=look,
        verdicts=[verdict.as_dict() for verdict in verdicts],
        sentence=judging.overall(verdicts),
        passed=judging.may_ship(verdicts),
        created_by=user,
    )
    report.packet = packets.packet(report)
    report.full_clean()
    report.save()
    if baseline is not None:
        compare_runs(a=baseline, b=eval_run)
    audit.record(
        project=project,
        user=user,
        action="judged",
        about=str(report),
        details={"evaluation": eval_run.number, "look": look, "sentence": report.sentence, "packet": report.packet},
    )
    return report


def _check_runs(eval_run: EvalRun, baseline: EvalRun | None) -> None:
    if eval_run.status != Status.DONE:
        raise Refused("eval_run", f"Evaluation {eval_run.number} is not done, so there is nothing to judge yet.")
    if eval_run.split != Split.HOLDOUT:
        raise Refused("eval_run", f"Evaluation {eval_run.number} is not on the hold-out; gates judge nothing else.")
    seen = _trained_on(eval_run)
    if seen:
        raise Refused(
            "eval_run",
            f"{len(seen)} of the hold-out documents were in this model's training data ({', '.join(seen[:3])}), "
            "so it cannot be judged by them.",
        )
    if baseline is None:
        return
    if baseline.pk == eval_run.pk:
        raise Refused("baseline", "An evaluation is not its own baseline.")
    if baseline.project_id != eval_run.project_id:
        raise Refused("baseline", "The baseline belongs to another project.")
    if baseline.status != Status.DONE or baseline.split != Split.HOLDOUT:
        raise Refused("baseline", f"Evaluation {baseline.number} is no finished evaluation on the hold-out.")
    if baseline.dataset.holdout_sha256 != eval_run.dataset.holdout_sha256:
        raise Refused(
            "baseline",
            f"Evaluation {baseline.number} is on another hold-out ({baseline.dataset}). A baseline has answered the "
            f"very documents of {eval_run.dataset}: evaluate that model on it.",
        )
    if baseline.mode != eval_run.mode:
        raise Refused(
            "baseline",
            f"Evaluation {baseline.number} was decoded {baseline.get_mode_display()}, evaluation {eval_run.number} "
            f"{eval_run.get_mode_display()}. A baseline is decoded the same way.",
        )


def _check_opponent(eval_run: EvalRun, baseline: EvalRun) -> None:
    """Refuses a baseline that is not of the model in use: that model is not for whoever judges to choose."""
    before = _last_approved(eval_run)
    if before is not None:
        if _model(baseline) != _model(before):
            raise Refused(
                "baseline",
                f"{capfirst(before.subject)} was approved last, so it is what this model is held against. "
                f"Choose an evaluation of {before.subject}, not of {baseline.subject}.",
            )
        return
    if baseline.base_model is None:
        raise Refused(
            "baseline",
            "No other model has been approved yet, so a base model is what this one is held against. "
            f"Choose an evaluation of a base model, not of {baseline.subject}.",
        )
    wanted = opponent(eval_run)
    if wanted is not None and _model(baseline) != _model(wanted):
        raise Refused(
            "baseline",
            f"This model was made from {wanted.subject}, so that is what it is held against. "
            f"Choose evaluation {wanted.number}, or another of {wanted.subject}.",
        )


def opponent(eval_run: EvalRun) -> EvalRun | None:
    """The newest evaluation that this one can be held against: of the model approved last on the same hold-out, decoded
    the same way; as long as no other model is approved, of the base model it was made from. None where there is none.
    """
    before = _last_approved(eval_run)
    base_model, training_run = _model(before) if before is not None else (_made_from(eval_run), None)
    if base_model is None and training_run is None:
        return None
    rows = EvalRun.objects.with_subject().filter(
        project_id=eval_run.project_id,
        base_model=base_model,
        training_run=training_run,
        mode=eval_run.mode,
        dataset__holdout_sha256=eval_run.dataset.holdout_sha256,
    )
    found: EvalRun | None = rows.on_holdout().done().exclude(pk=eval_run.pk).order_by("-number").first()
    return found


def _last_approved(eval_run: EvalRun) -> EvalRun | None:
    """The evaluation that the last approval of another model than this one rests on."""
    base_model, training_run = _model(eval_run)
    approvals = Approval.objects.filter(
        report__project_id=eval_run.project_id, decision=Approval.Decision.APPROVED
    ).exclude(report__eval_run__base_model=base_model, report__eval_run__training_run=training_run)
    last = approvals.select_related("report__eval_run").order_by("-decided_at", "-pk").first()
    return last.report.eval_run if last is not None else None


def _model(run: EvalRun) -> tuple[int | None, int | None]:
    """The keys that say which model a run is of: a base model, or what a training made."""
    return run.base_model_id, run.training_run_id


def _made_from(run: EvalRun) -> int | None:
    return run.training_run.base_model_id if run.training_run is not None else None


def _trained_on(eval_run: EvalRun) -> list[str]:
    """Ids of hold-out documents that the model was trained on."""
    if eval_run.training_run is None:
        return []
    trained = DatasetItem.objects.filter(dataset_id=eval_run.training_run.dataset_id).exclude(split=Split.HOLDOUT)
    held_out = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT)
    both = held_out.filter(document__in=trained.values("document"))
    return list(both.order_by("document_id").values_list("document__external_id", flat=True))
