"""Gate policies: made from the contract, set by a manager, never changed once they are there."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from evaluation import gates as judging
from evaluation.models import GatePolicy
from evaluation.services import audit
from evaluation.services.evals import next_number
from labeling.models import Contract, Project
from slmstudio.contract.jsontext import dumps
from slmstudio.hashing import sha256_text


def policy_hash(policy: judging.GatePolicy) -> str:
    """SHA-256 over the policy as compact JSON."""
    return sha256_text(dumps(policy.to_json()))


@transaction.atomic
def current_policy(*, project: Project) -> GatePolicy:
    """The newest policy. As long as nobody has set one, it is made from the contract and follows its constraints."""
    newest = GatePolicy.objects.filter(project=project).order_by("-number").first()
    if newest is not None and newest.created_by_id is not None:
        return newest
    contract = Contract.objects.filter(project=project).first()
    wanted = judging.default_policy(contract.constraints if contract else {})
    if newest is not None and newest.sha256 == policy_hash(wanted):
        return newest
    return _add_policy(project, None, wanted)


@transaction.atomic
def set_policy(*, project: Project, user: Any, gates: judging.GatePolicy | Mapping[str, Any] | list[Any]) -> GatePolicy:
    """Makes these the project's gates, as a new version; the newest as it stands where nothing changed.

    Reports keep the policy they were made under; approvals under an older one are void.

    Raises:
        GateError: no policy; ``field`` is like ``gates[2].threshold``.
    """
    wanted = _read(gates)
    newest = current_policy(project=project)
    if newest.sha256 == policy_hash(wanted):
        return newest
    policy = _add_policy(project, user, wanted)
    audit.record(
        project=project,
        user=user,
        action="changed",
        about="gate policy",
        details={"version": policy.number, "sha256": policy.sha256, "before": newest.gates, "after": policy.gates},
    )
    return policy


def _read(data: judging.GatePolicy | Mapping[str, Any] | list[Any]) -> judging.GatePolicy:
    return data if isinstance(data, judging.GatePolicy) else judging.GatePolicy.from_json(data)


def _add_policy(project: Project, user: Any, policy: judging.GatePolicy) -> GatePolicy:
    number = next_number(GatePolicy, project)
    # The row lock of next_number made us wait for whoever was adding the same default.
    newest = GatePolicy.objects.filter(project=project).order_by("-number").first()
    if newest is not None and newest.sha256 == policy_hash(policy):
        return newest
    return GatePolicy.objects.create(
        project=project, number=number, gates=policy.to_json(), sha256=policy_hash(policy), created_by=user
    )


def rules(policy: GatePolicy) -> judging.GatePolicy:
    """A stored policy as the gates it consists of."""
    return judging.GatePolicy.from_json(policy.gates)
