"""How far the person who decides on a report stands apart from the work it judges."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from evaluation.models import EvalRun, GateReport
from labeling.models import Membership

#: a role that was given less than so long ago is marked on an approval
FRESH = timedelta(days=7)


def circumstances(report: GateReport, user: User) -> dict[str, Any]:
    """What the audit log keeps beside a decision: ``four_eyes``, ``own_part``, ``fresh_role``."""
    return {
        "four_eyes": report.project.four_eyes,
        "own_part": own_part(report, user),
        "fresh_role": fresh_role(report, user),
    }


def own_part(report: GateReport, user: User) -> str:
    """What of the work a report judges this person started or resumed; "" where it was others alone. The measurement
    whose figures it judges is such work.
    """
    if report.measurement is not None and _took_part(report.measurement, user):
        return f"the measurement of evaluation {report.eval_run.number}"
    for run in _chain(report):
        if _took_part(run, user):
            return f"evaluation {run.number}"
        if run.training_run is not None and _took_part(run.training_run, user):
            return "the training of this model"
    return ""


def _chain(report: GateReport) -> list[EvalRun]:
    """The evaluation judged, and those whose outputs it scored again: who had them made has a part in the verdict."""
    found: list[EvalRun] = []
    run: EvalRun | None = report.eval_run
    while run is not None:
        found.append(run)
        run = run.rescored_from
    return found


def _took_part(run: Any, user: User) -> bool:
    """Whether a person started this run or queued it again after it had ended."""
    if run.created_by_id == user.pk:
        return True
    resumed = run.facts.get("resumed_by", [])
    return any(one.get("user") == user.pk or one.get("who") == user.get_username() for one in resumed)


def fresh_role(report: GateReport, user: User) -> str:
    """Since when this person is a manager, as a sentence, where the role is younger than the evaluation or than
    ``FRESH``; "" otherwise. A role that came with the project, or before this was recorded, is none of these.
    """
    row = Membership.objects.filter(project_id=report.project_id, user=user).select_related("role_given_by").first()
    if row is None or row.role_since is None or row.role_since <= report.project.created_at:
        return ""
    first = min(run.created_at for run in _chain(report))
    if row.role_since > first:
        why = "after the evaluation was started"
    elif timezone.now() - row.role_since < FRESH:
        why = f"for less than {FRESH.days} days"
    else:
        return ""
    giver = f"; {row.role_given_by.get_username()} gave the role" if row.role_given_by else ""
    return (
        f"{user.get_username()} has been {row.role} since {timezone.localdate(row.role_since):%Y-%m-%d}, {why}{giver}."
    )
