"""The gate policies of a project: derived from the contract, then set by a manager; versions never change."""

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction

from evaluation.audit import services as audit_services
from evaluation.gates.policy.changes import Change, changes, lowered
from evaluation.gates.policy.definition import GateSet, default_policy
from evaluation.models import Approval, AuditEntry, GatePolicy, GateReport
from evaluation.scores.slice_selector import KNOWN, NEW, Slice
from labeling.datasets.families import group_rule
from labeling.failure_tags import tags_of
from labeling.models import Contract, Project
from slmstudio.access import Action, require
from slmstudio.contract.json_text import dumps
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.storage.hashing import sha256_text

#: what entries of the audit log about a policy are about
POLICY = "gate policy"


def policy_hash(policy: GateSet) -> str:
    """SHA-256 over the policy as compact JSON."""
    return sha256_text(dumps(policy.to_json()))


@transaction.atomic
def current_policy(*, project: Project) -> GatePolicy:
    """The newest policy. Until one is set or has a report, it is derived from the contract and follows it."""
    newest = GatePolicy.objects.filter(project=project).order_by("-number").first()
    if newest is not None and is_frozen(newest):
        return newest
    wanted = _from_contract(project)
    if newest is not None and not changes(gates_of(newest), wanted):  # only titles may differ
        return newest
    return _add_policy(project, None, wanted)


def is_frozen(policy: GatePolicy) -> bool:
    """Whether a user set it or it was used, so that it no longer follows the contract."""
    return policy.created_by_id is not None or GateReport.objects.filter(project_id=policy.project_id).exists()


def freeze_policy(policy: GatePolicy, user: User | None) -> None:
    """Freezes a policy derived from the contract at its first use, with the user as its author."""
    if user is None or GatePolicy.objects.filter(pk=policy.pk, created_by=None).update(created_by=user) != 1:
        return
    policy.created_by = user
    details = {
        "version": policy.number,
        "sha256": policy.sha256,
        "after": policy.gates,
        "reason": "First use. Later changes of the contract become proposals.",
    }
    audit_services.record(project=policy.project, user=user, action="fixed", about=POLICY, details=details)


def _from_contract(project: Project) -> GateSet:
    """The policy of the current contract."""
    contract = Contract.objects.filter(project=project).first()
    return from_contract(contract.constraints if contract else {}, project.schema_version.compiled)


def from_contract(constraints: Mapping[str, Any], compiled: CompiledSchema) -> GateSet:
    """The default policy of these constraints and this schema."""
    evidence = any(field.evidence == "required" for field in compiled.fields)
    return default_policy(constraints, invariants=bool(invariants.declared(compiled)), evidence=evidence)


@transaction.atomic
def set_policy(
    *,
    project: Project,
    user: User,
    gates: GateSet | Mapping[str, Any] | list[Any],
    proposed_by: User | None = None,
) -> GatePolicy:
    """Sets the gates of a project, as a new version; returns the newest version where at most titles differ.

    Reports keep their policy; approvals under an older one become void. ``proposed_by``: the author of the changes, if
    they were a proposal; another person than ``user`` is the second one whom a lower threshold needs.

    Raises:
        GateError: the policy is invalid; ``field`` is like ``gates[2].threshold``.
    """
    require(project, user, Action.SET_POLICY)
    wanted = read(gates)
    newest = current_policy(project=project)
    if not changes(gates_of(newest), wanted):
        return newest
    is_shared = proposed_by is not None and proposed_by != user
    return _add_policy(project, user, wanted, is_lowered_alone=is_frozen(newest) and not is_shared)


def read(data: GateSet | Mapping[str, Any] | list[Any]) -> GateSet:
    """A policy from JSON; returns a policy as is. Raises GateError naming the field."""
    return data if isinstance(data, GateSet) else GateSet.from_json(data)


def _add_policy(project: Project, user: User | None, policy: GateSet, *, is_lowered_alone: bool = False) -> GatePolicy:
    number = project.next_number(GatePolicy)
    # next_number locks the project: another process may have added the same default before.
    newest = GatePolicy.objects.filter(project=project).order_by("-number").first()
    if newest is not None and newest.sha256 == policy_hash(policy):
        return newest
    policy_version: GatePolicy = GatePolicy.objects.create(
        project=project, number=number, gates=policy.to_json(), sha256=policy_hash(policy), created_by=user
    )
    if newest is not None:
        more: dict[str, Any] = {} if user is not None else {"reason": "Default policy from the contract."}
        if is_lowered_alone and lowered(gates_of(newest), policy):
            more[LOWERED_ALONE] = True
        audit_services.record(
            project=project,
            user=user,
            action="changed",
            about=POLICY,
            details={
                "version": policy_version.number,
                "sha256": policy_version.sha256,
                "before": newest.gates,
                "after": policy_version.gates,
                **more,
            },
        )
    return policy_version


#: a detail in the audit log: one person lowered a policy that was in use
LOWERED_ALONE = "lowered_alone"


def lowered_alone(policy: GatePolicy, user: User) -> str:
    """The gates that a user alone lowered and that are still lower in ``policy``, such as "lowering “...” in gate
    policy 3"; "" without any, and after another person approved a report under that version or a later one.
    """
    rows = AuditEntry.objects.filter(project=policy.project_id, user=user, about=POLICY, details__has_key=LOWERED_ALONE)
    for details in rows.order_by("-pk").values_list("details", flat=True):
        others = Approval.objects.filter(
            report__project=policy.project_id,
            report__policy__number__gte=details["version"],
            decision=Approval.Decision.APPROVED,
        ).exclude(decided_by=user)
        if details["version"] > policy.number or others.exists():
            continue
        before, after = (GateSet.from_json(details[name]) for name in ("before", "after"))
        own, now = lowered(before, after), lowered(before, gates_of(policy))
        left = [change.before for key, change in own.items() if key in now]
        if left:
            return f"lowering “{'”, “'.join(left)}” in gate policy {details['version']}"
    return ""


#: versions that the history of a policy shows
MAX_VERSIONS = 20


def history(project: Project) -> list[tuple[GatePolicy, list[Change]]]:
    """The versions of a policy, newest first, each with its changes to the previous one."""
    rows = GatePolicy.objects.filter(project=project).select_related("created_by").order_by("-number")
    policies = list(rows[: MAX_VERSIONS + 1])
    versions = [(new, changes(gates_of(old), gates_of(new))) for new, old in pairwise(policies)]
    return versions if len(policies) > MAX_VERSIONS else [*versions, *((first, []) for first in policies[-1:])]


def thresholds_set_at(policy: GatePolicy) -> datetime:
    """When the thresholds of a policy were set: of the first version, which follows the contract, when that was."""
    when: datetime = policy.created_at
    if policy.number == 1:
        contract = Contract.objects.filter(project_id=policy.project_id).only("updated_at").first()
        return min(when, contract.updated_at) if contract is not None else when
    return when


def gates_of(policy: GatePolicy) -> GateSet:
    """The gates of a stored policy."""
    return GateSet.from_json(policy.gates)


#: a metadata key with more values identifies documents, and its slices would have one document each
MAX_VALUES = 30


def known_slices(project: Project) -> list[tuple[str, str]]:
    """(slice, label) of the slices that a gate can have: failure tags, known and new families where documents are
    grouped, and metadata values in the hold-out."""
    slices = [(name, tag.title) for name, tag in tags_of(project).items()]
    newest = project.datasets.newest()
    if newest is not None and group_rule(newest):
        slices += [(str(part), part.words) for part in (Slice(families=NEW), Slice(families=KNOWN))]
    with connection.cursor() as cursor:
        cursor.execute(_METADATA, [project.pk, MAX_VALUES])
        slices += [
            (str(part), part.words) for part in (Slice(key=key, value=value) for key, value in cursor.fetchall())
        ]
    return slices


_METADATA = """
    SELECT key, value FROM (
        SELECT pair.key, pair.value, count(*) OVER (PARTITION BY pair.key) AS values
        FROM labeling_document d, jsonb_each_text(d.metadata) pair
        WHERE d.project_id = %s AND d.holdout AND pair.value <> '' AND length(pair.value) <= 100
        GROUP BY pair.key, pair.value HAVING count(*) > 1
    ) AS counted WHERE values <= %s ORDER BY key, value LIMIT 200
"""
