"""Changes of the sample plan."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from evaluation.audit import services as audit_services
from serving.models import Deployment, SamplePlan
from slmstudio.access import Action, require

FIELDS = (
    "share", "per_day", "targeted_per_day", "low_confidence", "redact", "retrain_labels", "retrain_tag",
    "retrain_below",
)  # fmt: skip


@transaction.atomic
def set_plan(*, deployment: Deployment, user: User, **values: Any) -> SamplePlan:
    """Stores the plan. It is in effect for requests from now on.

    Raises:
        ValidationError: a value is out of range.
    """
    require(deployment.project, user, Action.DEPLOY)
    SamplePlan.objects.get_or_create(deployment=deployment)
    # The draw holds the same lock.
    plan = SamplePlan.objects.select_for_update(of=("self",)).get(deployment=deployment)
    for name in FIELDS:
        setattr(plan, name, values[name])
    plan.full_clean(exclude=["deployment"])
    plan.save(update_fields=FIELDS)
    audit_services.record(
        project=deployment.project, user=user, action="sample plan changed", about="deployment",
        details={name: values[name] for name in FIELDS},
    )  # fmt: skip
    return plan
