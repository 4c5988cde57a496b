"""Gate policies: made from the contract, set by a manager, never changed once they are there."""

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any

from django.contrib.auth.models import User
from django.db import connection, transaction

from evaluation.audit import services as audit_services
from evaluation.gates import verdicts as judging
from evaluation.gates.policy.changes import Change, changes
from evaluation.models import GatePolicy, GateReport
from evaluation.runs.services import next_number
from evaluation.scores.slices import Slice
from labeling.documents.failure_tags import tags_of
from labeling.models import Contract, Project
from slmstudio.contract.json_text import dumps
from slmstudio.contract.rules import invariants
from slmstudio.contract.schema.compiled import CompiledSchema
from slmstudio.storage.hashing import sha256_text


def policy_hash(policy: judging.GatePolicy) -> str:
    """SHA-256 over the policy as compact JSON."""
    return sha256_text(dumps(policy.to_json()))


@transaction.atomic
def current_policy(*, project: Project) -> GatePolicy:
    """The newest policy. Until one is set or a model was judged, it is made from the contract and follows it."""
    newest = GatePolicy.objects.filter(project=project).order_by("-number").first()
    if newest is not None and is_fixed(newest):
        return newest
    wanted = _from_contract(project)
    if newest is not None and newest.sha256 == policy_hash(wanted):
        return newest
    return _add_policy(project, None, wanted)


def is_fixed(policy: GatePolicy) -> bool:
    """Whether a person set it, or it was used: a change of the contract moves none of its thresholds any more."""
    return policy.created_by_id is not None or GateReport.objects.filter(project_id=policy.project_id).exists()


def fix(policy: GatePolicy, user: User | None) -> None:
    """The first use of a policy that was made from the contract: whoever uses it is named as its author."""
    if user is None or GatePolicy.objects.filter(pk=policy.pk, created_by=None).update(created_by=user) != 1:
        return
    policy.created_by = user
    details = {
        "version": policy.number,
        "sha256": policy.sha256,
        "after": policy.gates,
        "reason": "First use. From now on a change of the contract is a proposal.",
    }
    audit_services.record(project=policy.project, user=user, action="fixed", about="gate policy", details=details)


def _from_contract(project: Project) -> judging.GatePolicy:
    """The policy as the contract asks for it today."""
    contract = Contract.objects.filter(project=project).first()
    return derived(contract.constraints if contract else {}, project.schema_version.compiled)


def derived(constraints: Mapping[str, Any], compiled: CompiledSchema) -> judging.GatePolicy:
    """The policy as constraints and schema ask for it."""
    copies = any(field.evidence == "required" for field in compiled.fields)
    return judging.default_policy(constraints, rules=bool(invariants.declared(compiled)), copies=copies)


@transaction.atomic
def set_policy(
    *, project: Project, user: User, gates: judging.GatePolicy | Mapping[str, Any] | list[Any]
) -> GatePolicy:
    """Makes these the project's gates, as a new version; the newest as it stands where nothing changed.

    Reports keep the policy they were made under; approvals under an older one are void.

    Raises:
        GateError: no policy; ``field`` is like ``gates[2].threshold``.
    """
    wanted = read(gates)
    newest = current_policy(project=project)
    if newest.sha256 == policy_hash(wanted):
        return newest
    return _add_policy(project, user, wanted)


def read(data: judging.GatePolicy | Mapping[str, Any] | list[Any]) -> judging.GatePolicy:
    """A policy from JSON, or one that was read already. Raises GateError naming the field."""
    return data if isinstance(data, judging.GatePolicy) else judging.GatePolicy.from_json(data)


def _add_policy(project: Project, user: User | None, policy: judging.GatePolicy) -> GatePolicy:
    number = next_number(GatePolicy, project)
    # The row lock of next_number made us wait for whoever was adding the same default.
    newest = GatePolicy.objects.filter(project=project).order_by("-number").first()
    if newest is not None and newest.sha256 == policy_hash(policy):
        return newest
    made: GatePolicy = GatePolicy.objects.create(
        project=project, number=number, gates=policy.to_json(), sha256=policy_hash(policy), created_by=user
    )
    if newest is not None:
        why: dict[str, str] = (
            {} if user is not None else {"reason": "It follows the contract, because nobody has set one."}
        )
        audit_services.record(
            project=project,
            user=user,
            action="changed",
            about="gate policy",
            details={
                "version": made.number,
                "sha256": made.sha256,
                "before": newest.gates,
                "after": made.gates,
                **why,
            },
        )
    return made


#: versions of a policy that its history shows
MOST_VERSIONS = 20


def history(project: Project) -> list[tuple[GatePolicy, list[Change]]]:
    """The versions of a policy, newest first, each with what it changed about the one before."""
    rows = GatePolicy.objects.filter(project=project).select_related("created_by").order_by("-number")
    found = list(rows[: MOST_VERSIONS + 1])
    told = [(new, changes(rules(old), rules(new))) for new, old in pairwise(found)]
    return told if len(found) > MOST_VERSIONS else [*told, *((first, []) for first in found[-1:])]


def set_at(policy: GatePolicy) -> datetime:
    """Since when its thresholds stand: of the first one, which is made from the contract when it is first asked for,
    since when the contract does."""
    when: datetime = policy.created_at
    if policy.number == 1:
        contract = Contract.objects.filter(project_id=policy.project_id).only("updated_at").first()
        return min(when, contract.updated_at) if contract is not None else when
    return when


def rules(policy: GatePolicy) -> judging.GatePolicy:
    """A stored policy as the gates it consists of."""
    return judging.GatePolicy.from_json(policy.gates)


#: a key of metadata with more values than this is a name, and a slice of it one document
MOST_VALUES = 30


def known_slices(project: Project) -> list[tuple[str, str]]:
    """(slice, words) of what a gate can be about: failure tags, and the values that metadata has in the hold-out."""
    found = [(name, tag.title) for name, tag in tags_of(project).items()]
    with connection.cursor() as cursor:
        cursor.execute(_METADATA, [project.pk, MOST_VALUES])
        found += [(str(one), one.words) for one in (Slice(key=key, value=value) for key, value in cursor.fetchall())]
    return found


_METADATA = """
    SELECT key, value FROM (
        SELECT pair.key, pair.value, count(*) OVER (PARTITION BY pair.key) AS values
        FROM labeling_document d, jsonb_each_text(d.metadata) pair
        WHERE d.project_id = %s AND d.holdout AND pair.value <> '' AND length(pair.value) <= 100
        GROUP BY pair.key, pair.value HAVING count(*) > 1
    ) AS counted WHERE values <= %s ORDER BY key, value LIMIT 200
"""
