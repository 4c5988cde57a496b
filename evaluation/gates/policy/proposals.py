"""Proposals to change a gate policy: by users who run evaluations, answered by users who can set the policy.

A proposal consists of changes. They are displayed for, and applied to, the current policy, so later changes by others
stay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.audit import services as audit_services
from evaluation.gates.policy.changes import Change, changes, rebased
from evaluation.gates.policy.definition import GateSet
from evaluation.gates.policy.services import current_policy, from_contract, gates_of, is_frozen, read, set_policy
from evaluation.models import GatePolicy, PolicyProposal
from labeling.contract.changes import ContractState as Contract
from labeling.models import Project
from slmstudio.access import Action, require
from slmstudio.errors import Refused

State = PolicyProposal.State
MAX_REASON_LENGTH = 4000  # characters of a reason or an answer
#: how long an answer is displayed to the author of the proposal
ANSWER_SHOWN_FOR = timedelta(days=30)


@dataclass(frozen=True)
class OpenProposal:
    """An open proposal, the policy with its changes, and the changes to the current policy."""

    proposal: PolicyProposal
    wanted: GateSet
    changes: list[Change]


def open_proposals(*, project: Project, policy: GatePolicy) -> list[OpenProposal]:
    """The open proposals, oldest first."""
    rows = PolicyProposal.objects.filter(project=project, state=State.OPEN)
    return [_proposed(row, policy) for row in rows.select_related("created_by", "based_on").order_by("number")]


def open_by(*, project: Project, user: User, policy: GatePolicy) -> OpenProposal | None:
    """The open proposal of a user."""
    return next(
        (
            proposal
            for proposal in open_proposals(project=project, policy=policy)
            if proposal.proposal.created_by == user
        ),
        None,
    )


def recently_answered(*, project: Project, user: User) -> PolicyProposal | None:
    """The newest proposal of a user, if it was accepted or declined recently."""
    rows = PolicyProposal.objects.filter(project=project, created_by=user).select_related("answered_by")
    newest: PolicyProposal | None = rows.order_by("-number").first()
    if newest is None or newest.state not in (State.TAKEN, State.DECLINED) or newest.answered_at is None:
        return None
    return newest if timezone.now() - newest.answered_at < ANSWER_SHOWN_FOR else None


@transaction.atomic
def propose(
    *, project: Project, user: User, gates: GateSet | Mapping[str, Any] | list[Any], reason: str
) -> PolicyProposal:
    """Proposes these gates; an open proposal by the same user is withdrawn.

    Raises:
        GateError: the policy is invalid.
        Refused: ``field`` is reason, where none is given; or policy, where nothing would change.
    """
    require(project, user, Action.PROPOSE_POLICY)
    wanted, reason = read(gates), _checked_text(reason, "reason", "Enter a reason. It is shown to the approver.")
    number = project.next_number(PolicyProposal)
    policy = current_policy(project=project)
    proposed = changes(gates_of(policy), wanted)
    if not proposed:
        raise Refused(f"Policy {policy.number} already has these gates. Change a threshold.", field="policy")
    for old in PolicyProposal.objects.filter(project=project, created_by=user, state=State.OPEN):
        _answer(old, user, State.WITHDRAWN, f"Replaced by proposal {number}.")
        _record(old, user, "withdrew", reason=old.answer)
    proposal: PolicyProposal = PolicyProposal.objects.create(
        project=project, number=number, based_on=policy, gates=wanted.to_json(), reason=reason, created_by=user
    )
    _record(proposal, user, "proposed", policy=policy.number, changes=_describe(proposed), reason=reason)
    return proposal


def propose_from_contract(*, project: Project, user: User, before: Contract, after: Contract) -> None:
    """Proposes what a change of the contract means for a frozen policy, in the name of the user who changed it; added
    to their open proposal. Until its first use a policy follows the contract automatically.
    """
    policy = current_policy(project=project)
    base, wanted = (from_contract(state.constraints, state.compiled) for state in (before, after))
    moved = changes(base, wanted)
    if user is None or not moved or not is_frozen(policy):
        return
    own = open_by(project=project, user=user, policy=policy)
    gates = rebased(own.wanted if own is not None else gates_of(policy), base, wanted)
    reason = f"The contract changed: {_describe(moved)}."
    if changes(gates_of(policy), gates):
        kept = f"{own.proposal.reason}\n" if own is not None else ""
        propose(project=project, user=user, gates=gates, reason=f"{kept}{reason}"[-MAX_REASON_LENGTH:])
    elif own is not None:
        withdraw(proposal=own.proposal, user=user)


@transaction.atomic
def accept(*, proposal: PolicyProposal, user: User, answer: str = "", seen: int | None = None) -> GatePolicy:
    """Applies the proposed changes, if any are left; approvals under the older policy become void.

    ``seen``: the number of the policy that the changes were displayed for.

    Raises:
        Refused: the policy changed since, or the proposal is not open.
    """
    require(proposal.project, user, Action.SET_POLICY)
    proposal = _locked(proposal)
    policy = current_policy(project=proposal.project)
    if seen is not None and seen != policy.number:
        raise Refused(
            f"Policy {policy.number} was set since you opened this page. Review the changes again.", code="stale"
        )
    open_proposal = _proposed(proposal, policy)
    if open_proposal.changes:
        policy = set_policy(
            project=proposal.project, user=user, gates=open_proposal.wanted, proposed_by=proposal.created_by
        )
    _answer(proposal, user, State.TAKEN, answer)
    _record(proposal, user, "took", policy=policy.number, by=proposal.created_by.get_username(), reason=answer.strip())
    return policy


@transaction.atomic
def decline(*, proposal: PolicyProposal, user: User, answer: str) -> None:
    """Declines a proposal.

    Raises:
        Refused: there is no reason (``field`` is answer), or the proposal is not open.
    """
    require(proposal.project, user, Action.SET_POLICY)
    answer = _checked_text(answer, "answer", "Enter a reason. It is shown to the author of the proposal.")
    proposal = _locked(proposal)
    _answer(proposal, user, State.DECLINED, answer)
    _record(proposal, user, "declined", by=proposal.created_by.get_username(), reason=answer)


@transaction.atomic
def withdraw(*, proposal: PolicyProposal, user: User) -> None:
    """Withdraws a proposal. Raises Refused for other users than its author, and where it is not open."""
    require(proposal.project, user, Action.PROPOSE_POLICY)
    if proposal.created_by_id != user.pk:
        raise Refused(f"Only {proposal.created_by.get_username()} can withdraw this proposal.", code="not_author")
    proposal = _locked(proposal)
    _answer(proposal, user, State.WITHDRAWN, "")
    _record(proposal, user, "withdrew")


def _proposed(proposal: PolicyProposal, policy: GatePolicy) -> OpenProposal:
    now = gates_of(policy)
    wanted = rebased(now, gates_of(proposal.based_on), GateSet.from_json(proposal.gates))
    return OpenProposal(proposal, wanted, changes(now, wanted))


def _locked(proposal: PolicyProposal) -> PolicyProposal:
    """The current proposal, locked; and its project first, in the same order as ``set_policy``."""
    proposal.project.next_number(PolicyProposal)
    rows = PolicyProposal.objects.select_for_update(of=("self",))
    now: PolicyProposal = rows.select_related("created_by", "answered_by", "project", "based_on").get(pk=proposal.pk)
    if now.state != State.OPEN:
        who = now.answered_by.get_username() if now.answered_by else "another user"
        raise Refused(f"Proposal {now.number} was {now.get_state_display().lower()} by {who}.", code="not_open")
    return now


def _answer(proposal: PolicyProposal, user: User, state: str, answer: str) -> None:
    proposal.state, proposal.answer, proposal.answered_by = state, answer.strip()[:MAX_REASON_LENGTH], user
    proposal.answered_at = timezone.now()
    proposal.save(update_fields=["state", "answer", "answered_by", "answered_at"])


def _checked_text(text: str, field: str, missing: str) -> str:
    text = text.replace("\0", "").strip()
    if not text:
        raise Refused(missing, field=field)
    if len(text) > MAX_REASON_LENGTH:
        raise Refused(f"At most {MAX_REASON_LENGTH:,} characters; this has {len(text):,}.", field=field)
    return text


def _describe(listed: list[Change]) -> str:
    """Changes as one line of text for the audit log."""
    return "; ".join(f"{change.before or 'no gate'} -> {change.after or 'no gate'}" for change in listed)


def _record(proposal: PolicyProposal, user: User, action: str, **details: Any) -> None:
    audit_services.record(
        project=proposal.project,
        user=user,
        action=action,
        about=str(proposal),
        details={name: value for name, value in details.items() if value != ""},
    )
