"""Proposals of a gate policy: made by whoever runs evaluations, answered by whoever may set the policy.

What is proposed are changes: they are told, and taken, about the policy as it stands then, so that what others set
meanwhile is not undone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.gates import verdicts as judging
from evaluation.gates.policy.changes import Change, applied, changes
from evaluation.gates.policy.services import current_policy, derived, is_fixed, read, rules, set_policy
from evaluation.models import GatePolicy, PolicyProposal
from evaluation.runs.services import next_number
from labeling.models import Project
from labeling.projects.contract_changes import State as Contract
from slmstudio.errors import Refused

State = PolicyProposal.State
LONGEST = 4000  # characters of a reason or an answer
#: so long whoever made a proposal is shown what was answered
SHOWN = timedelta(days=30)


@dataclass(frozen=True)
class Proposed:
    """An open proposal, the policy with it, and what that changes about the policy as it stands today."""

    proposal: PolicyProposal
    wanted: judging.GatePolicy
    changes: list[Change]


def open_proposals(*, project: Project, policy: GatePolicy) -> list[Proposed]:
    """The proposals that wait for an answer, oldest first."""
    rows = PolicyProposal.objects.filter(project=project, state=State.OPEN)
    return [_proposed(row, policy) for row in rows.select_related("created_by", "based_on").order_by("number")]


def open_by(*, project: Project, user: User, policy: GatePolicy) -> Proposed | None:
    """The proposal of a person that waits for an answer."""
    return next(
        (one for one in open_proposals(project=project, policy=policy) if one.proposal.created_by == user), None
    )


def answered(*, project: Project, user: User) -> PolicyProposal | None:
    """A person's newest proposal, where it was taken or declined not long ago."""
    rows = PolicyProposal.objects.filter(project=project, created_by=user).select_related("answered_by")
    newest: PolicyProposal | None = rows.order_by("-number").first()
    if newest is None or newest.state not in (State.TAKEN, State.DECLINED) or newest.answered_at is None:
        return None
    return newest if timezone.now() - newest.answered_at < SHOWN else None


@transaction.atomic
def propose(
    *, project: Project, user: User, gates: judging.GatePolicy | Mapping[str, Any] | list[Any], reason: str
) -> PolicyProposal:
    """Proposes these gates; an open proposal by the same person gives way to it.

    Raises:
        GateError: no policy.
        Refused: ``field`` is reason, where none is given; or policy, where nothing would change.
    """
    wanted, reason = read(gates), _said(reason, "reason", "Say why: whoever decides reads it first.")
    number = next_number(PolicyProposal, project)
    policy = current_policy(project=project)
    found = changes(rules(policy), wanted)
    if not found:
        raise Refused(
            f"These are the gates of policy {policy.number} as it stands. Change a threshold.", field="policy"
        )
    for old in PolicyProposal.objects.filter(project=project, created_by=user, state=State.OPEN):
        _answer(old, user, State.WITHDRAWN, f"Proposal {number} follows it.")
        _record(old, user, "took back", reason=old.answer)
    made: PolicyProposal = PolicyProposal.objects.create(
        project=project, number=number, based_on=policy, gates=wanted.to_json(), reason=reason, created_by=user
    )
    _record(made, user, "proposed", policy=policy.number, changes=_told(found), reason=reason)
    return made


def propose_from_contract(*, project: Project, user: User, before: Contract, after: Contract) -> None:
    """What a change of the contract asks of gates that are fixed already, as a proposal of whoever changed it; added
    to the proposal that they have open. Before the first use the policy follows the contract by itself.
    """
    policy = current_policy(project=project)
    base, wanted = (derived(one.constraints, one.compiled) for one in (before, after))
    moved = changes(base, wanted)
    if user is None or not moved or not is_fixed(policy):
        return
    own = open_by(project=project, user=user, policy=policy)
    gates = applied(own.wanted if own is not None else rules(policy), base, wanted)
    reason = f"The contract was changed: {_told(moved)}."
    if changes(rules(policy), gates):
        kept = f"{own.proposal.reason}\n" if own is not None else ""
        propose(project=project, user=user, gates=gates, reason=f"{kept}{reason}"[-LONGEST:])
    elif own is not None:
        take_back(proposal=own.proposal, user=user)


@transaction.atomic
def take(*, proposal: PolicyProposal, user: User, answer: str = "", seen: int | None = None) -> GatePolicy:
    """Makes the proposed changes; approvals under the older policy are void. Where they stand already, nothing changes.

    ``seen``: the number of the policy that the changes were shown about.

    Raises Refused where another policy was set since, or where the proposal does not wait for an answer any more.
    """
    proposal = _waiting(proposal)
    policy = current_policy(project=proposal.project)
    if seen is not None and seen != policy.number:
        raise Refused(
            f"Policy {policy.number} was set since you opened this page. Look at the changes again.", field=""
        )
    one = _proposed(proposal, policy)
    if one.changes:
        policy = set_policy(project=proposal.project, user=user, gates=one.wanted)
    _answer(proposal, user, State.TAKEN, answer)
    _record(proposal, user, "took", policy=policy.number, by=proposal.created_by.get_username(), reason=answer.strip())
    return policy


@transaction.atomic
def decline(*, proposal: PolicyProposal, user: User, answer: str) -> None:
    """Leaves the policy as it is.

    Raises Refused where no reason is given (``field`` is answer), or where it does not wait any more.
    """
    answer = _said(answer, "answer", "Say why: whoever proposed it learns what to change.")
    proposal = _waiting(proposal)
    _answer(proposal, user, State.DECLINED, answer)
    _record(proposal, user, "declined", by=proposal.created_by.get_username(), reason=answer)


@transaction.atomic
def take_back(*, proposal: PolicyProposal, user: User) -> None:
    """The person who made it takes it back. Raises Refused for others, and where it does not wait any more."""
    if proposal.created_by_id != user.pk:
        raise Refused(f"Only {proposal.created_by.get_username()}, who made this proposal, can take it back.", field="")
    proposal = _waiting(proposal)
    _answer(proposal, user, State.WITHDRAWN, "")
    _record(proposal, user, "took back")


def _proposed(proposal: PolicyProposal, policy: GatePolicy) -> Proposed:
    now = rules(policy)
    wanted = applied(now, rules(proposal.based_on), judging.GatePolicy.from_json(proposal.gates))
    return Proposed(proposal, wanted, changes(now, wanted))


def _waiting(proposal: PolicyProposal) -> PolicyProposal:
    """The proposal as it is now, locked; and the project before it, as whoever sets a policy locks it."""
    next_number(PolicyProposal, proposal.project)
    rows = PolicyProposal.objects.select_for_update(of=("self",))
    now: PolicyProposal = rows.select_related("created_by", "answered_by", "project", "based_on").get(pk=proposal.pk)
    if now.state != State.OPEN:
        who = now.answered_by.get_username() if now.answered_by else "somebody"
        raise Refused(f"Proposal {now.number} was {now.get_state_display()} by {who}.", field="")
    return now


def _answer(proposal: PolicyProposal, user: User, state: str, answer: str) -> None:
    proposal.state, proposal.answer, proposal.answered_by = state, answer.strip()[:LONGEST], user
    proposal.answered_at = timezone.now()
    proposal.save(update_fields=["state", "answer", "answered_by", "answered_at"])


def _said(text: str, field: str, missing: str) -> str:
    text = text.replace("\0", "").strip()
    if not text:
        raise Refused(missing, field=field)
    if len(text) > LONGEST:
        raise Refused(f"At most {LONGEST:,} characters; this has {len(text):,}.", field=field)
    return text


def _told(found: list[Change]) -> str:
    """Changes as one line of text for the audit log, which is searched and exported."""
    return "; ".join(f"{one.before or 'no gate'} -> {one.after or 'no gate'}" for one in found)


def _record(proposal: PolicyProposal, user: User, action: str, **details: Any) -> None:
    audit_services.record(
        project=proposal.project,
        user=user,
        action=action,
        about=str(proposal),
        details={name: value for name, value in details.items() if value != ""},
    )
