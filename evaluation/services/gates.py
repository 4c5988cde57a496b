"""Gate reports: an evaluation judged by the project's policy, and the looks at a hold-out that this takes."""

from collections import Counter
from typing import Any

from django.db import transaction
from django.utils.text import capfirst

from evaluation import gates as judging
from evaluation.compare import cost_of_time
from evaluation.gates import Measurement
from evaluation.measurements import from_scores
from evaluation.models import Approval, EvalOutput, EvalRun, GateReport
from evaluation.policy import BASE, DEPLOYED
from evaluation.services import audit, packets
from evaluation.services.comparisons import compare_runs
from evaluation.services.evals import next_number
from evaluation.services.policies import current_policy, rules, set_policy
from labeling.models import Contract, DatasetItem, Split
from slmstudio.runs import Status
from training.services.runs import Refused

__all__ = [
    "current_policy",
    "holdout_origins",
    "looks",
    "make_report",
    "measurements",
    "opponent",
    "rules",
    "set_policy",
]

_BY_SCORES = {"schema_valid_rate", "document_error_rate", "field_error_rate", "no_regression"}


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
    look = len(looks(eval_run)) + 1
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


def looks(eval_run: EvalRun) -> list[GateReport]:
    """Reports so far that looked at any of this run's hold-out documents, oldest first.

    A hold-out that grew is still the same hold-out, and another candidate's look is a look too.
    """
    documents = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT).values("document")
    datasets = DatasetItem.objects.filter(split=Split.HOLDOUT, document__in=documents).values("dataset")
    reports = GateReport.objects.filter(project_id=eval_run.project_id, eval_run__dataset__in=datasets)
    return list(reports.select_related("eval_run", "policy").order_by("number"))


def measurements(policy: judging.GatePolicy, eval_run: EvalRun, baseline: EvalRun | None) -> dict[str, Measurement]:
    """What each gate of a policy judges: gate key -> measurement, from this run's own outputs and latencies."""
    candidate = list(EvalOutput.objects.filter(eval_run=eval_run).order_by("document_id"))
    before = (
        dict(EvalOutput.objects.filter(eval_run=baseline).values_list("document_id", "score")) if baseline else None
    )
    found = {}
    for gate in policy:
        rows = [row for row in candidate if not gate.slice or gate.slice in row.tags]
        if gate.compared_with == BASE and baseline is not None and baseline.base_model is None:
            found[gate.key] = Measurement.nothing(f"{baseline.subject} is no base model, which this gate compares with")
        elif gate.metric in _BY_SCORES:
            against = baseline.short_name if baseline else ""
            scores = {row.document_id: row.score for row in rows}
            found[gate.key] = from_scores(gate.metric, scores, baseline=before, against=against)
        else:
            found[gate.key] = _of_resources(gate.metric, rows, eval_run)
    return found


def _of_resources(metric: str, rows: list[EvalOutput], run: EvalRun) -> Measurement:
    """Latency, throughput, cost and memory, as this run measured them. A request that failed has no latency."""
    times = [row.latency_ms for row in rows if row.finish_reason != "error"]
    if metric == "peak_memory_gb":
        peak = run.facts.get("peak_memory_bytes")
        return Measurement.sample([peak / 1e9]) if peak else Measurement.nothing("the run did not measure its memory")
    if metric == "cost_per_request":
        contract = Contract.objects.filter(project_id=run.project_id).first()
        price = (contract.constraints if contract else {}).get("hardware_price_per_hour")
        if not price:
            return Measurement.nothing("the contract names no price per hour of the hardware")
        return Measurement.sample([cost_of_time(time, float(price)) for time in times])
    return Measurement.sample(times)


def holdout_origins(eval_run: EvalRun) -> dict[str, int]:
    """Where the gold of the hold-out comes from: origin -> documents."""
    items = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT)
    return dict(Counter(items.values_list("origin", flat=True)))
