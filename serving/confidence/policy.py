"""The answer policy: what happens with an answer below the threshold, and the error budget of the others.

The error budget is a figure: of the answers that go out without a person, a random sample is judged (the uniform sample
of the review queue). Once it is shown to be exceeded, nothing is automatic any more, until a person resumes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.endpoints.permits import require_permit
from evaluation.models import Endpoint
from evaluation.stats.sequential import ErrorRate, needed
from serving.confidence.calibration import ConfidenceCalibration, DocumentRecord
from serving.deployments import services as deployment_services
from serving.models import AnswerPolicy, Deployment, DeploymentEvent, Judgment, PackageCalibration, Release
from serving.models.review import Draw
from serving.replicas.changes import announce
from slmstudio.access import Action, require
from slmstudio.database.transactions import statement_timeout
from slmstudio.errors import Refused
from slmstudio.periodic import for_each
from slmstudio.text.formatting import percent

Kind = DeploymentEvent.Kind
FIELDS = (
    "endpoint", "on_invalid", "on_invariant", "on_unavailable", "min_confidence", "rest", "budget_wrong", "budget_of",
)  # fmt: skip
#: error of the decision that a budget is exceeded, over all readings
ALPHA = 0.05
#: no query of the check takes longer
_STATEMENT_MS = 5_000


# -- decisions, pure: the gateway and simulations call them -----------------------------------------------------------


class Reason(StrEnum):
    """Why the larger model is asked, or a person should check an answer."""

    NONE = ""
    INVALID = "invalid"
    UNAVAILABLE = "unavailable"
    INVARIANT = "invariant"
    CONFIDENCE = "confidence"
    BROKEN = "broken"
    FALLBACK = "fallback_failed"


@dataclass(frozen=True)
class Policy:
    """See ``serving.models.AnswerPolicy``. ``rest_to_fallback``: answers below the threshold go to the larger model,
    where there is one."""

    has_fallback: bool = False
    on_invalid: bool = True
    on_invariant: bool = True
    on_unavailable: bool = True
    min_confidence: float | None = None
    rest_to_fallback: bool = True
    has_budget: bool = False
    is_broken: bool = False


#: of a deployment without a policy
NO_POLICY = Policy(on_invariant=False)


@dataclass(frozen=True)
class Assessment:
    """A valid output: the confidence of its scored fields by path, and whether it keeps the invariants."""

    confidence: Mapping[str, float] = field(default_factory=dict)
    holds: bool = True
    is_calibrated: bool = False

    @property
    def lowest(self) -> float | None:
        """The confidence of the document; None without any field."""
        return min(self.confidence.values(), default=None)


def doubtful_fields(policy: Policy, assessment: Assessment) -> list[str]:
    """Paths of the fields below the threshold."""
    minimum = policy.min_confidence or 0.0
    return [path for path, confidence in assessment.confidence.items() if confidence < minimum]


def doubt(policy: Policy, assessment: Assessment) -> Reason:
    """Why a valid output of the small model is not good enough by itself."""
    if policy.has_budget and policy.is_broken:
        return Reason.BROKEN
    if policy.on_invariant and not assessment.holds:
        return Reason.INVARIANT
    lowest = assessment.lowest
    if policy.has_budget and (lowest is None or not assessment.is_calibrated):
        return Reason.CONFIDENCE
    if policy.min_confidence is not None and lowest is not None and lowest < policy.min_confidence:
        return Reason.CONFIDENCE
    return Reason.NONE


def asks_fallback(policy: Policy, why: Reason) -> bool:
    """Whether the larger model is asked for this reason."""
    if not policy.has_fallback or why == Reason.NONE:
        return False
    asked = {
        Reason.INVALID: policy.on_invalid, Reason.UNAVAILABLE: policy.on_unavailable,
        Reason.CONFIDENCE: policy.rest_to_fallback, Reason.BROKEN: policy.rest_to_fallback,
    }  # fmt: skip
    return asked.get(why, True)


# -- what the gateway reads with the routes ---------------------------------------------------------------------------


def policies(deployments: Iterable[int]) -> dict[int, AnswerPolicy]:
    """The policy of each deployment that has one."""
    rows = AnswerPolicy.objects.filter(deployment__in=list(deployments)).select_related("endpoint__project")
    return {row.deployment_id: row for row in rows}


def applied(row: AnswerPolicy) -> tuple[Policy, Endpoint | None]:
    """A policy as the gateway applies it, with the larger model; one that was removed is not asked."""
    endpoint = row.endpoint if row.endpoint is not None and row.endpoint.retired_at is None else None
    policy = Policy(
        has_fallback=endpoint is not None, on_invalid=row.on_invalid, on_invariant=row.on_invariant,
        on_unavailable=row.on_unavailable, min_confidence=row.min_confidence,
        rest_to_fallback=row.rest == AnswerPolicy.Rest.FALLBACK, has_budget=row.budget_wrong is not None,
        is_broken=row.broken_at is not None,
    )  # fmt: skip
    return policy, endpoint


def calibrations(releases: Sequence[Release]) -> dict[int, ConfidenceCalibration]:
    """Release -> its calibration, for those that have one."""
    return {release: _calibration(row.pk, row.sha256) for release, row in calibration_rows(releases).items()}


def calibration_rows(releases: Sequence[Release]) -> dict[int, PackageCalibration]:
    """Release -> the calibration of what it serves, without its records."""
    rows = PackageCalibration.objects.filter(package__in=[release.package_id for release in releases])
    by_key: dict[tuple[Any, str], PackageCalibration] = {
        (row.package_id, row.variant): row for row in rows.defer("records", "fits")
    }
    known = {}
    for release in releases:
        package = release.package
        variant = package.variant(release.variant) if package is not None else None
        keys = (release.package_id, variant.key if variant is not None else ""), (release.package_id, "")
        row = by_key.get(keys[0]) or by_key.get(keys[1])
        if row is not None:
            known[release.pk] = row
    return known


# Keyed by the hash, too: what is built again has another one.


@lru_cache(maxsize=128)
def _calibration(pk: int, sha256: str) -> ConfidenceCalibration:
    fits = PackageCalibration.objects.values_list("fits", flat=True).get(pk=pk)
    return ConfidenceCalibration({key: (knots, values) for key, (knots, values) in fits.items()})


@lru_cache(maxsize=16)
def records_of(pk: int, sha256: str) -> tuple[DocumentRecord, ...]:
    """The records of a calibration."""
    rows = PackageCalibration.objects.values_list("records", flat=True).get(pk=pk)
    return tuple(DocumentRecord.from_json(row) for row in rows)


# -- changes ----------------------------------------------------------------------------------------------------------


def policy_of(deployment: Deployment) -> AnswerPolicy:
    """The policy of a deployment; one with the defaults, not stored, where it has none."""
    row = AnswerPolicy.objects.select_related("endpoint__project").filter(deployment=deployment).first()
    return row or AnswerPolicy(deployment=deployment)


def set_policy(*, deployment: Deployment, user: User, **values: Any) -> AnswerPolicy:
    """Stores the given members of the policy; the others stay. A new budget starts over.

    Raises:
        Refused: ``field`` is the member that is not valid.
    """
    require(deployment.project, user, Action.DEPLOY)
    with transaction.atomic():
        policy = policy_of(Deployment.objects.select_for_update(of=("self",)).get(pk=deployment.pk))
        before, former = (policy.budget_wrong, policy.budget_of), policy.endpoint_id
        for name in FIELDS:
            if name in values:
                setattr(policy, name, values[name])
        _check(deployment, policy)
        if policy.endpoint is not None and policy.endpoint_id != former:
            require_permit(policy.endpoint, user, "endpoint")
        if policy.budget_wrong is not None and before != (policy.budget_wrong, policy.budget_of):
            policy.audit_since = timezone.now()
        policy.save()
        deployment_services.record_change(deployment, Kind.POLICY, user, describe(policy))
        details = {name: getattr(policy, name) for name in FIELDS} | {"endpoint": str(policy.endpoint or "")}
        audit_services.record(
            project=deployment.project, user=user, action="answer policy changed", about="deployment", details=details
        )
        transaction.on_commit(announce)
    return policy


def _check(deployment: Deployment, policy: AnswerPolicy) -> None:
    endpoint = policy.endpoint
    if endpoint is not None and (endpoint.project_id != deployment.project_id or endpoint.retired_at is not None):
        raise Refused("Select an external model of this project.", field="endpoint", code="endpoint")
    if policy.budget_wrong is not None and policy.budget_wrong >= policy.budget_of:
        raise Refused("The number of errors must be less than the total.", field="budget_wrong", code="range")
    if policy.budget_wrong is not None and policy.min_confidence is None:
        raise Refused("An error budget needs a threshold.", field="min_confidence", code="no_threshold")
    try:
        policy.clean_fields(exclude=["deployment"])
    except ValidationError as error:
        name, messages = next(iter(error.message_dict.items()))
        raise Refused(messages[0], field=name, code="range") from error


def describe(policy: AnswerPolicy) -> str:
    """The policy as a sentence, for the history."""
    parts = []
    if policy.min_confidence is not None:
        parts.append(f"Answers below {percent(policy.min_confidence)} go to {policy.destination}.")
    elif policy.endpoint is not None:
        parts.append(f"{policy.endpoint} is asked when the answer is not good enough.")
    if policy.budget_wrong is not None:
        parts.append(f"{policy.budget} may be wrong.")
    return " ".join(parts) or "No threshold and no larger model."


def resume(*, deployment: Deployment, user: User, reason: str) -> AnswerPolicy:
    """Answers automatically again; the judgments that count for the budget begin anew.

    Raises:
        Refused: the budget is not exceeded, or there is no reason.
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


# -- the error budget -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BudgetStatus:
    """``drawn``: automatic answers in the sample since the budget was set; ``rate``: of the judged ones."""

    limit: float
    drawn: int
    wrong: int
    rate: ErrorRate

    @property
    def judged(self) -> int:
        return self.rate.answers

    @property
    def pending(self) -> int:
        return self.drawn - self.judged

    @property
    def interval(self) -> tuple[float, float]:
        """The rates that are not ruled out, no matter how often this is read."""
        return self.rate.interval(ALPHA)

    @property
    def is_exceeded(self) -> bool:
        """Whether the budget is shown to be exceeded."""
        return bool(self.judged) and self.rate.log_e_above(self.limit) >= needed(ALPHA)


def budget_status(deployment: Deployment, policy: AnswerPolicy) -> BudgetStatus | None:
    """The budget so far; None without one. Judgments of callers do not count: they choose what they judge."""
    if policy.budget_wrong is None:
        return None
    draws = Draw.objects.filter(project=deployment.project_id, is_audited=True)
    if policy.audit_since is not None:
        draws = draws.filter(created_at__gte=policy.audit_since)
    judgments = Judgment.objects.of(deployment.project).most_reliable(
        draws.values("request_id")
    )  # fmt: skip
    wrong = sum(not judgment.right for judgment in judgments.values())
    rate = ErrorRate()
    rate.add(1, 1, wrong)
    rate.add(0, 1, len(judgments) - wrong)
    return BudgetStatus(policy.budget_wrong / policy.budget_of, draws.count(), wrong, rate)


def check_budgets(now: datetime) -> int:
    """Checks every budget that holds; a periodic task. Returns how many are exceeded now."""
    rows = AnswerPolicy.objects.filter(budget_wrong__isnull=False, broken_at=None, audit_since__isnull=False)
    keys = rows.order_by("pk").values_list("deployment_id", flat=True)
    return for_each("error budget of a deployment", keys, lambda pk: _check_budget(pk, now))


def _check_budget(deployment_id: int, now: datetime) -> bool:
    with statement_timeout(_STATEMENT_MS):
        rows = Deployment.objects.select_for_update(of=("self",), skip_locked=True).select_related("project")
        deployment = rows.filter(pk=deployment_id).first()
        policy = AnswerPolicy.objects.filter(deployment=deployment_id, broken_at=None).first()
        status = budget_status(deployment, policy) if deployment and policy else None
        if policy is None or deployment is None or status is None or not status.is_exceeded:
            return False
        reason = (
            f"{status.wrong:,} of {status.judged:,} judged automatic answers are wrong: at least "
            f"{percent(status.interval[0], 2)}; the budget is {policy.budget}."
        )
        policy.broken_at, policy.broken_reason = now, reason
        policy.save(update_fields=["broken_at", "broken_reason"])
        deployment_services.record_change(deployment, Kind.BROKEN, None, reason)
        transaction.on_commit(announce)
        return True
