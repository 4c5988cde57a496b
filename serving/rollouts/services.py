"""Changes of the plan of a rollout."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.audit import services as audit_services
from serving.models import Deployment, Rollout, RolloutPlan
from serving.rollouts.counts import Step
from slmstudio.access import Action, require

FIELDS = ("auto_promote", "margin", "max_failure_rate", "p95_ms", "min_requests", "max_disagreement")


def set_plan(*, deployment: Deployment, user: User, **values: Any) -> RolloutPlan:
    """Stores the plan. A new p95 limit counts slow answers from now on.

    Raises:
        ValidationError: a value is out of range.
    """
    require(deployment.project, user, Action.DEPLOY)
    with transaction.atomic():
        # The watch holds the same lock while it counts.
        Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk)
        plan = RolloutPlan.objects.filter(deployment=deployment).first() or RolloutPlan(deployment=deployment)
        before = plan.p95_ms
        for name in FIELDS:
            setattr(plan, name, values[name])
        plan.full_clean()
        plan.save()
        if plan.p95_ms != before:
            _forget_latencies(deployment)
        audit_services.record(
            project=deployment.project, user=user, action="rollout plan changed", about="deployment",
            details={name: values[name] for name in FIELDS},
        )  # fmt: skip
    return plan


def _forget_latencies(deployment: Deployment) -> None:
    """Answers that were counted against another limit say nothing about this one."""
    for rollout in Rollout.objects.running().filter(deployment=deployment):
        steps = [Step.from_json(step) for step in rollout.steps]
        for step in steps:
            step.settled.candidate_timed = step.settled.candidate_slow = 0
        rollout.steps = [step.to_json() for step in steps]
        rollout.save(update_fields=["steps"])
