"""Changes of the review sample, of how long texts are stored, and of the limits of use."""

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from evaluation.audit import services as audit_services
from labeling.models import ApiToken, Project
from serving.models import Budget, Deployment, SamplePlan
from serving.replicas.changes import announce
from slmstudio.access import Action, require
from slmstudio.errors import Refused
from slmstudio.hooks import note_audit

SAMPLE = ("share", "redact", "retrain_labels", "retrain_tag", "retrain_below")
LIMITS = ("requests_per_month", "tokens_per_month", "requests_per_minute", "tokens_per_minute")
MAX_LIMIT = 10**15


@transaction.atomic
def set_sample(*, deployment: Deployment, user: User, retention_days: int, **values: Any) -> SamplePlan:
    """Stores the sampling rate, what is redacted, when retraining is proposed, and how long texts are stored. It is in
    effect for requests from now on.

    Raises:
        Refused: a value is out of range; ``field`` names it.
    """
    require(deployment.project, user, Action.DEPLOY)
    SamplePlan.objects.get_or_create(deployment=deployment)
    row = Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk)
    # The draw holds the same lock.
    plan = SamplePlan.objects.select_for_update(of=("self",)).get(deployment=deployment)
    for name in SAMPLE:
        setattr(plan, name, values[name])
    row.retention_days, row.revision = retention_days, row.revision + 1
    try:
        plan.full_clean(exclude=["deployment"])
        row.full_clean(exclude=["project"])
    except ValidationError as error:
        name, messages = next(iter(error.message_dict.items()))
        raise Refused(messages[0], field=name, code="range") from error
    plan.save(update_fields=SAMPLE)
    row.save(update_fields=["retention_days", "revision", "updated_at"])
    audit_services.record(
        project=deployment.project, user=user, action="review sample changed", about="deployment",
        details={**{name: values[name] for name in SAMPLE}, "retention_days": retention_days},
    )  # fmt: skip
    return plan


def set_limits(*, project: Project, user: User, token: ApiToken | None = None, **limits: int | None) -> Budget | None:
    """The limits of a token, or of the project; None where none is left. ``limits``: of ``LIMITS``.

    Raises:
        Refused: a limit is not a positive number; ``field`` names it.
    """
    require(project, user, Action.ADMINISTER)
    for name, limit in limits.items():
        if name not in LIMITS or (limit is not None and not 1 <= limit <= MAX_LIMIT):
            raise Refused("Enter a whole number of at least 1.", field=name, code="limit")
    values = {name: limits.get(name) for name in LIMITS}
    about = f"budget of token {token.prefix}" if token is not None else "budget of the project"
    with transaction.atomic():
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        rows = Budget.objects.filter(project=project, token=token)
        budget = None
        if any(values.values()):
            budget, _ = rows.update_or_create(project=project, token=token, defaults=values)
        else:
            rows.delete()
        note_audit(project=project, user=user, action="changed", about=about, details=values)
        transaction.on_commit(announce)
    return budget
