"""Proposals of a gate policy: made by whoever runs evaluations, answered by whoever may set the policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from evaluation import gates as judging
from evaluation.models import GatePolicy, PolicyProposal
from evaluation.policy_changes import Change, changes
from evaluation.services import audit
from evaluation.services.evals import next_number
from evaluation.services.policies import current_policy, read, rules, set_policy
from labeling.models import Project
from training.services.runs import Refused

State = PolicyProposal.State
LONGEST = 4000  # characters of a reason or an answer


@dataclass(frozen=True)
class Proposed:
    """An open proposal with what it would change about the policy as it stands today."""

    proposal: PolicyProposal
    changes: list[Change]


def open_proposals(*, project: Project, policy: GatePolicy) -> list[Proposed]:
    """The proposals that wait for an answer, oldest first."""
    rows = PolicyProposal.objects.filter(project=project, state=State.OPEN).select_related("created_by")
    now = rules(policy)
    return [Proposed(row, changes(now, judging.GatePolicy.from_json(row.gates))) for row in rows.order_by("number")]


@transaction.atomic
def propose(
    *, project: Project, user: Any, gates: judging.GatePolicy | Mapping[str, Any] | list[Any], reason: str
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
        raise Refused("policy", f"These are the gates of policy {policy.number} as it stands. Change a threshold.")
    PolicyProposal.objects.filter(project=project, created_by=user, state=State.OPEN).update(
        state=State.WITHDRAWN, answered_by=user, answered_at=timezone.now(), answer=f"Proposal {number} follows it."
    )
    made: PolicyProposal = PolicyProposal.objects.create(
        project=project, number=number, gates=wanted.to_json(), reason=reason, created_by=user
    )
    _record(made, user, "proposed", policy=policy.number, changes=_told(found), reason=reason)
    return made


@transaction.atomic
def take(*, proposal: PolicyProposal, user: Any, answer: str = "") -> GatePolicy:
    """Makes the proposed gates the project's; approvals under the older policy are void.

    Raises Refused where the proposal does not wait for an answer any more.
    """
    proposal = _waiting(proposal)
    policy = set_policy(project=proposal.project, user=user, gates=proposal.gates)
    _answer(proposal, user, State.TAKEN, answer)
    _record(proposal, user, "took", policy=policy.number, by=proposal.created_by.get_username(), reason=answer.strip())
    return policy


@transaction.atomic
def decline(*, proposal: PolicyProposal, user: Any, answer: str) -> None:
    """Leaves the policy as it is.

    Raises Refused where no reason is given (``field`` is answer), or where it does not wait any more.
    """
    answer = _said(answer, "answer", "Say why: whoever proposed it learns what to change.")
    proposal = _waiting(proposal)
    _answer(proposal, user, State.DECLINED, answer)
    _record(proposal, user, "declined", by=proposal.created_by.get_username(), reason=answer)


@transaction.atomic
def take_back(*, proposal: PolicyProposal, user: Any) -> None:
    """The person who made it takes it back. Raises Refused for others, and where it does not wait any more."""
    if proposal.created_by_id != user.pk:
        raise Refused("", f"Only {proposal.created_by.get_username()}, who made this proposal, can take it back.")
    proposal = _waiting(proposal)
    _answer(proposal, user, State.WITHDRAWN, "")
    _record(proposal, user, "took back")


def _waiting(proposal: PolicyProposal) -> PolicyProposal:
    """The proposal as it is now, locked."""
    rows = PolicyProposal.objects.select_for_update(of=("self",)).select_related("created_by", "answered_by", "project")
    now: PolicyProposal = rows.get(pk=proposal.pk)
    if now.state != State.OPEN:
        who = now.answered_by.get_username() if now.answered_by else "somebody"
        raise Refused("", f"Proposal {now.number} was {now.get_state_display()} by {who}.")
    return now


def _answer(proposal: PolicyProposal, user: Any, state: str, answer: str) -> None:
    proposal.state, proposal.answer, proposal.answered_by = state, answer.strip()[:LONGEST], user
    proposal.answered_at = timezone.now()
    proposal.save(update_fields=["state", "answer", "answered_by", "answered_at"])


def _said(text: str, field: str, missing: str) -> str:
    text = text.replace("\0", "").strip()
    if not text:
        raise Refused(field, missing)
    if len(text) > LONGEST:
        raise Refused(field, f"At most {LONGEST:,} characters; this has {len(text):,}.")
    return text


def _told(found: list[Change]) -> str:
    """Changes as one line of text for the audit log, which is searched and exported."""
    return "; ".join(f"{one.before or 'no gate'} -> {one.after or 'no gate'}" for one in found)


def _record(proposal: PolicyProposal, user: Any, action: str, **details: Any) -> None:
    audit.record(
        project=proposal.project,
        user=user,
        action=action,
        about=str(proposal),
        details={name: value for name, value in details.items() if value != ""},
    )
