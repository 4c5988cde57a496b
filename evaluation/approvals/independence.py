"""The independence of a decision: whether its author was involved in the work, and how recent their role is."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from evaluation.models import EvalRun, GateReport
from labeling.models import Membership
from slmstudio.text.formatting import format_date

#: a younger role is noted on a decision
RECENT_ROLE = timedelta(days=7)


def independence_details(report: GateReport, user: User) -> dict[str, Any]:
    """The details of a decision in the audit log: ``four_eyes``, ``own_part``, ``fresh_role``."""
    return {
        "four_eyes": report.project.four_eyes,
        "own_part": own_involvement(report, user),
        "fresh_role": recent_role(report, user),
    }


def own_involvement(report: GateReport, user: User) -> str:
    """The work behind a report that a user started or resumed, such as "evaluation 3"; "" where there is none. The
    measurement of resources is such work.
    """
    if report.measurement is not None and _was_involved(report.measurement, user):
        return f"the measurement of evaluation {report.eval_run.number}"
    for run in _with_sources(report):
        if _was_involved(run, user):
            return f"evaluation {run.number}"
        if run.training_run is not None and _was_involved(run.training_run, user):
            return "the training of this model"
        if run.classical is not None and run.classical.created_by_id == user.pk:
            return "the training of this model"
    return ""


def _with_sources(report: GateReport) -> list[EvalRun]:
    """The evaluation of a report, and the evaluations whose outputs it re-scores."""
    runs: list[EvalRun] = []
    run: EvalRun | None = report.eval_run
    while run is not None:
        runs.append(run)
        run = run.rescored_from
    return runs


def _was_involved(run: Any, user: User) -> bool:
    """Whether a user started a run or resumed it."""
    if run.created_by_id == user.pk:
        return True
    resumed = run.facts.get("resumed_by", [])
    return any(row.get("user") == user.pk or row.get("who") == user.get_username() for row in resumed)


def recent_role(report: GateReport, user: User) -> str:
    """A sentence where the user's role is younger than the evaluation or than ``RECENT_ROLE``; "" otherwise, also for a
    role since the creation of the project, or from before this was recorded.
    """
    row = Membership.objects.filter(project_id=report.project_id, user=user).select_related("role_given_by").first()
    if row is None or row.role_since is None or row.role_since <= report.project.created_at:
        return ""
    first = min(run.created_at for run in _with_sources(report))
    if row.role_since > first:
        reason = "after the evaluation was started"
    elif timezone.now() - row.role_since < RECENT_ROLE:
        reason = f"for less than {RECENT_ROLE.days} days"
    else:
        return ""
    giver = f"; {row.role_given_by.get_username()} granted the role" if row.role_given_by else ""
    since = timezone.localdate(row.role_since)
    return f"{user.get_username()} has had the {row.role} role since {format_date(since)}, {reason}{giver}."
