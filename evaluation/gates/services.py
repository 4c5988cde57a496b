"""Gate reports: an evaluation judged by the project's policy, and the looks at a hold-out that this takes."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.audit import services as audit_services
from evaluation.comparison.services import get_or_create_comparison
from evaluation.gates import manifest
from evaluation.gates import verdicts as judging
from evaluation.gates.baselines import check_answered, check_baseline, check_opponent, opponent
from evaluation.gates.facts import holdout_origins, measurements
from evaluation.gates.holdout.alpha_spending import looks, next_look
from evaluation.gates.policy.definition import DEPLOYED
from evaluation.gates.policy.services import current_policy, fix, rules, set_policy
from evaluation.models import EvalRun, GateReport
from evaluation.runs import resources
from evaluation.runs.services import next_number
from labeling.models import DatasetItem, Split
from slmstudio.errors import Refused
from slmstudio.runs.models import Status

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
    "spent",
]


@transaction.atomic
def make_report(*, eval_run: EvalRun, baseline: EvalRun | None, user: User | None) -> GateReport:
    """Judges an evaluation on the hold-out by the project's policy.

    The same outputs under the same policy and baseline are the same look: the report that is there is given back, or
    where the answers to pinned documents changed since, or resources were measured again, which spends nothing, a new
    one of the same look.

    Raises:
        Refused: ``field`` is eval_run or baseline, with the reason.
    """
    _check_runs(eval_run, baseline)
    project = eval_run.project
    policy = current_policy(project=project)
    # Locks the project, so that two reports made at once are not both the same look.
    number = next_number(GateReport, project)
    gates = rules(policy)
    same = GateReport.objects.filter(policy=policy, eval_run=eval_run, baseline=baseline)
    made = same.order_by("-number").first()
    pinned = manifest.pins_hash(eval_run) if manifest.asks_about_pins(gates) else ""
    measured = resources.newest(eval_run) if resources.tests_resources(gates) else None
    if made is not None and made.pins_sha256 == pinned and made.measurement == measured:
        return made
    if baseline is not None and any(gate.compared_with == DEPLOYED for gate in gates):
        check_opponent(eval_run, baseline)
    look = made.look if made is not None else next_look(eval_run)
    found = measurements(gates, eval_run, baseline, measured)
    verdicts = judging.judge_all(gates, found, look, spent=spent(eval_run, gates, but=same))
    report = GateReport(
        project=project,
        number=number,
        policy=policy,
        eval_run=eval_run,
        baseline=baseline,
        measurement=measured,
        look=look,
        verdicts=[verdict.as_dict() for verdict in verdicts],
        sentence=judging.overall(verdicts),
        passed=judging.may_ship(verdicts),
        created_by=user,
        pins_sha256=pinned,
    )
    report.packet = manifest.packet(report)
    report.full_clean()
    report.save()
    fix(policy, user)
    if baseline is not None:
        get_or_create_comparison(a=baseline, b=eval_run)
    audit_services.record(
        project=project,
        user=user,
        action="judged",
        about=str(report),
        details={"evaluation": eval_run.number, "look": look, "sentence": report.sentence, "packet": report.packet},
    )
    return report


def _check_runs(eval_run: EvalRun, baseline: EvalRun | None) -> None:
    if eval_run.status != Status.DONE:
        raise Refused(f"Evaluation {eval_run.number} is not done, so there is nothing to judge yet.", field="eval_run")
    if eval_run.split != Split.HOLDOUT:
        raise Refused(
            f"Evaluation {eval_run.number} is not on the hold-out; gates judge nothing else.", field="eval_run"
        )
    seen = _trained_on(eval_run)
    if seen:
        raise Refused(
            f"{len(seen)} of the hold-out documents were in this model's training data ({', '.join(seen[:3])}), "
            "so it cannot be judged by them.",
            field="eval_run",
        )
    check_answered("eval_run", eval_run)
    asked = eval_run.backend.changed(eval_run)
    if asked:
        raise Refused(f"{asked} Evaluate it anew.", field="eval_run")
    if baseline is not None:
        check_baseline(eval_run, baseline)


def spent(eval_run: EvalRun, policy: judging.GatePolicy, *, but: Iterable[GateReport] = ()) -> str:
    """Why no error level is left for another look at this hold-out; "" where one is. ``but``: reports of this look."""
    own = {report.pk for report in but}
    before = [report for report in looks(eval_run) if report.pk not in own]
    if any(report.look == 1 and rules(report.policy).only_look for report in before):
        return (
            "an earlier look at this hold-out was promised to be the only one and spent all there is; "
            "take a fresh hold-out"
        )
    if policy.only_look and before:
        return "this hold-out was looked at before, and the policy allows one look; take a fresh hold-out"
    return ""


def _trained_on(eval_run: EvalRun) -> list[str]:
    """Ids of hold-out documents that the model was trained on."""
    if eval_run.training_run is None:
        return []
    trained = DatasetItem.objects.filter(dataset_id=eval_run.training_run.dataset_id).exclude(split=Split.HOLDOUT)
    held_out = DatasetItem.objects.filter(dataset_id=eval_run.dataset_id, split=Split.HOLDOUT)
    both = held_out.filter(document__in=trained.values("document"))
    return list(both.order_by("document_id").values_list("document__external_id", flat=True))
