"""Changes of answer policies."""

from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from serving.deployments import services as deployment_services
from serving.models import AnswerPolicy, Deployment, DeploymentEvent
from serving.replicas.changes import announce
from slmstudio.access import Action, require
from slmstudio.errors import Refused

Kind = DeploymentEvent.Kind
FIELDS = (
    "endpoint", "on_invalid", "on_invariant", "on_unavailable", "min_confidence", "field_confidence", "budget_wrong",
    "budget_of", "budget_unit", "basis", "rest", "audit_share",
)  # fmt: skip
#: a change of these is another budget, whose audit begins anew
_BUDGET = ("budget_wrong", "budget_of", "budget_unit")


def policy_of(deployment: Deployment) -> AnswerPolicy:
    """The policy of a deployment; one with the defaults, not stored, where it has none."""
    found = AnswerPolicy.objects.select_related("endpoint__project").filter(deployment=deployment).first()
    return found or AnswerPolicy(deployment=deployment)


def set_policy(*, deployment: Deployment, user: User, **values: Any) -> AnswerPolicy:
    """Stores the given members of the policy; the others stay. A new budget starts a new audit.

    Raises:
        Refused: ``field`` is the member that is not valid.
    """
    require(deployment.project, user, Action.DEPLOY)
    with transaction.atomic():
        policy = policy_of(Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk))
        before = {name: getattr(policy, name) for name in _BUDGET}
        for name in FIELDS:
            if name in values:
                setattr(policy, name, values[name])
        _check(deployment, policy)
        if policy.budget_wrong is not None and before != {name: getattr(policy, name) for name in _BUDGET}:
            policy.audit_since = timezone.now()
        policy.save()
        deployment_services.record_change(deployment, Kind.POLICY, user, describe(policy))
        details = {name: getattr(policy, name) for name in FIELDS if name != "endpoint"}
        details["endpoint"] = str(policy.endpoint or "")
        audit_services.record(
            project=deployment.project, user=user, action="answer policy changed", about="deployment", details=details
        )
        transaction.on_commit(announce)
    return policy


def _check(deployment: Deployment, policy: AnswerPolicy) -> None:
    schema = deployment.project.schema_version.compiled
    known = {field.pattern for field in schema.fields}
    endpoint = policy.endpoint
    if endpoint is not None and (endpoint.project_id != deployment.project_id or endpoint.retired_at is not None):
        raise Refused("Select an external model of this project.", field="endpoint", code="endpoint")
    for pattern, minimum in policy.field_confidence.items():
        if pattern not in known:
            raise Refused(f"The schema has no field {pattern}.", field="field_confidence", code="unknown_field")
        if not 0 <= minimum <= 1:
            raise Refused(f"The minimum of {pattern} must be between 0 and 1.", field="field_confidence", code="range")
    if policy.rest == AnswerPolicy.Rest.FALLBACK and endpoint is None and policy.budget_wrong is not None:
        raise Refused("Select a larger model, or choose human review.", field="rest", code="no_endpoint")
    if policy.budget_wrong is not None and policy.budget_wrong >= policy.budget_of:
        raise Refused("The number of errors must be less than the total.", field="budget_wrong", code="range")
    try:
        policy.clean_fields(exclude=["deployment"])
    except ValidationError as error:
        name, messages = next(iter(error.message_dict.items()))
        raise Refused(messages[0], field=name, code="range") from error


def describe(policy: AnswerPolicy) -> str:
    """The policy as a sentence, for the history."""
    parts = []
    if policy.endpoint is not None:
        parts.append(f"{policy.endpoint} is asked when the answer is not good enough.")
    if policy.budget_wrong is not None:
        parts.append(
            f"{budget_text(policy)} may be wrong; all other answers go to {policy.get_rest_display().lower()}."
        )
    return " ".join(parts) or "No larger model and no error budget."


def budget_text(policy: AnswerPolicy) -> str:
    """The budget: "1 of 200 fields"."""
    return f"{policy.budget_wrong:,} of {policy.budget_of:,} {policy.get_budget_unit_display().lower()}"


def break_budget(*, deployment: Deployment, reason: str) -> bool:
    """Nothing is automatic any more, until a person resumes. Called by the application; False where it was so before.

    Within a transaction with the deployment locked.
    """
    changed = AnswerPolicy.objects.filter(deployment=deployment, broken_at=None).update(
        broken_at=timezone.now(), broken_reason=reason
    )
    if changed:
        deployment_services.record_change(deployment, Kind.BROKEN, None, reason)
        transaction.on_commit(announce)
    return bool(changed)


def resume(*, deployment: Deployment, user: User, reason: str) -> AnswerPolicy:
    """Answers automatically again; the audit begins anew.

    Raises:
        Refused: the budget is not broken, or there is no reason.
    """
    require(deployment.project, user, Action.DEPLOY)
    if not reason.strip():
        raise Refused("Enter a reason.", field="reason", code="reason")
    with transaction.atomic():
        policy = policy_of(Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk))
        if policy.broken_at is None:
            raise Refused("The error budget is not exceeded.", field="reason", code="not_broken")
        policy.broken_at, policy.broken_reason, policy.audit_since = None, "", timezone.now()
        policy.save(update_fields=["broken_at", "broken_reason", "audit_since"])
        deployment_services.record_change(deployment, Kind.RESUMED, user, reason)
        transaction.on_commit(announce)
    return policy
