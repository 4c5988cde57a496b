"""Decisions on gate reports: who may decide, what a decision needs, and what voids it."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from evaluation.approvals import waivers
from evaluation.approvals.independence import circumstances, fresh_role, own_part
from evaluation.approvals.waivers import Waiver, open_gates
from evaluation.audit import services as audit_services
from evaluation.gates import manifest
from evaluation.gates.policy.services import current_policy
from evaluation.models import Approval, AuditEntry, GatePolicy, GateReport
from labeling.models import DatasetItem, DatasetVersion, Gold, Membership, Project, SchemaVersion, Split
from slmstudio.access import Action, Forbidden, may
from slmstudio.contract.scoring.scorer import SCORER_VERSION
from slmstudio.errors import Refused

__all__ = [
    "Present",
    "Waiver",
    "changes",
    "decide",
    "decided_how",
    "fresh_role",
    "obstacle_for",
    "open_gates",
    "own_part",
    "standing",
    "standing_of",
    "voided",
    "withdraw",
]

NAMED = 5


@transaction.atomic
def decide(
    *,
    report: GateReport,
    user: User,
    decision: str,
    reason: str,
    waiver: Waiver | Mapping[str, Waiver] | None = None,
) -> Approval:
    """A manager's decision on a report. One report is decided once.

    ``waiver``: one for every gate that does not pass, or one for each by the gate's key.

    Raises:
        Forbidden: the person's role does not allow it.
        Refused: ``field`` is decision, reason, or what ``waivers.accepted`` names, with a sentence.
    """
    _check_role(report, user)
    obstacle = obstacle_for(report, user)
    if obstacle:
        raise Refused(obstacle, field="decision")
    report = GateReport.objects.select_for_update().get(pk=report.pk)
    if Approval.objects.filter(report=report).exists():
        raise Refused(f"The {report} has been decided already.", field="decision")
    if decision not in Approval.Decision.values:
        raise Refused("Choose to approve or to send back.", field="decision")
    if not reason.strip():
        raise Refused("Say why: the reason stands in the audit log.", field="reason")
    approves = decision == Approval.Decision.APPROVED
    covered = waivers.accepted(report, user, waiver) if approves else []
    if approves:
        changed = changes(report)
        if changed:
            raise Refused("What was judged is no longer what is there. " + " ".join(changed), field="decision")
    approval = Approval(
        report=report,
        decision=decision,
        reason=reason.strip(),
        packet_sha256=manifest.packet_hash(report.packet),
        waiver=covered or None,
        decided_by=user,
    )
    approval.full_clean()
    approval.save(force_insert=True)
    audit_services.record(
        project=report.project,
        user=user,
        action=str(Approval.Decision(decision).label),
        about=str(report),
        details={
            "reason": approval.reason,
            "waiver": approval.waiver,
            "packet_sha256": approval.packet_sha256,
            **circumstances(report, user),
        },
    )
    return approval


@transaction.atomic
def withdraw(*, report: GateReport, user: User, reason: str) -> None:
    """Takes an approval back: from now on it is void. Any manager may, whoever approved; it cannot be undone.

    Raises:
        Forbidden: the person's role does not allow it.
        Refused: ``field`` is withdrawal or reason, with a sentence.
    """
    _check_role(report, user)
    report = GateReport.objects.select_for_update().get(pk=report.pk)
    if not Approval.objects.filter(report=report, decision=Approval.Decision.APPROVED).exists():
        raise Refused(f"The {report} is not approved.", field="withdrawal")
    if str(report) in Present(report.project).withdrawn:
        raise Refused(f"The approval of {report} has been withdrawn already.", field="withdrawal")
    if not reason.strip():
        raise Refused("Say why: the reason stands in the audit log.", field="reason")
    audit_services.record(
        project=report.project,
        user=user,
        action=audit_services.WITHDRAWN,
        about=str(report),
        details={"reason": reason.strip()},
    )


def _check_role(report: GateReport, user: User) -> None:
    membership = Membership.objects.filter(project_id=report.project_id, user=user).first()
    if membership is None or not may(membership.role, Action.APPROVE):
        raise Forbidden(membership.role if membership else "annotator", Action.APPROVE)


def obstacle_for(report: GateReport, user: User) -> str:
    """Why this manager may not decide on this report, as a sentence; "" where nothing stands in the way."""
    part = own_part(report, user) if report.project.four_eyes else ""
    return f"You started or resumed {part} yourself, so another manager has to decide." if part else ""


class Present:
    """What a project has now, looked up once for any number of its reports."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._revised: dict[int, list[str]] = {}

    @cached_property
    def schema(self) -> SchemaVersion:
        """The newest version of the schema."""
        return self.project.schema_version

    @cached_property
    def policy(self) -> GatePolicy:
        """The policy in force."""
        return current_policy(project=self.project)

    @cached_property
    def decided(self) -> dict[str, dict[str, Any]]:
        """What the audit log says was approved: report, as it is called, -> the particulars, with who in ``user``."""
        return audit_services.decisions(self.project, str(Approval.Decision.APPROVED.label))

    @cached_property
    def withdrawn(self) -> dict[str, AuditEntry]:
        """Approvals that were taken back, as ``audit.withdrawn`` has them."""
        return audit_services.withdrawn(self.project)

    def revised_gold(self, dataset: DatasetVersion) -> list[str]:
        """Ids of hold-out documents whose gold is no longer the frozen revision, or that have none any more."""
        if dataset.pk not in self._revised:
            items = DatasetItem.objects.filter(dataset=dataset, split=Split.HOLDOUT).order_by("document_id")
            frozen = list(items.values_list("document_id", "document__external_id", "revision_id"))
            golds = Gold.objects.current(self.project).filter(document__in=items.values("document"))
            now = dict(golds.values_list("document_id", "revision_id"))
            self._revised[dataset.pk] = [name for pk, name, revision in frozen if now.get(pk) != revision]
        return self._revised[dataset.pk]


def voided(approval: Approval, *, files: bool = True, present: Present | None = None) -> list[str]:
    """Why an approval no longer holds, a sentence each; empty where it holds.

    With ``files`` every file is read again; without, only those that were touched since the report was made.
    """
    present = present or Present(approval.report.project)
    reasons = changes(approval.report, files=files, present=present)
    if manifest.packet_hash(approval.report.packet) != approval.packet_sha256:
        reasons.insert(0, "The packet is not the one that was decided on.")
    if not _is_logged(approval, present):
        reasons.insert(0, "The audit log does not have this decision as it stands here.")
    withdrawn = present.withdrawn.get(str(approval.report))
    if withdrawn is not None:
        day = timezone.localtime(withdrawn.created_at)
        reasons.insert(0, f"{withdrawn.user} withdrew it on {day:%Y-%m-%d}: {withdrawn.details['reason']}")
    return reasons + waivers.ended(approval)


def _is_logged(approval: Approval, present: Present) -> bool:
    """Whether the log, which nobody can rewrite, has the approval: by whom, of what, with which waivers."""
    found = present.decided.get(str(approval.report), {})
    here = (approval.decided_by_id, approval.packet_sha256, approval.waiver)
    return (found.get("user"), found.get("packet_sha256"), found.get("waiver")) == here


def decided_how(approval: Approval, present: Present) -> dict[str, Any]:
    """How a decision came about: ``four_eyes``, ``own_part`` and ``fresh_role`` as the audit log has them."""
    report = approval.report
    if approval.decision == approval.Decision.APPROVED:
        logged = present.decided.get(str(report), {})
    else:
        logged = audit_services.decisions(report.project, str(approval.Decision.REJECTED.label)).get(str(report), {})
    return {"four_eyes": True, "own_part": "", "fresh_role": "", **logged}


def standing(report: GateReport, *, present: Present | None = None) -> tuple[str, str]:
    """How a report's decision stands: a state for the badge, and its words."""
    approval = getattr(report, "approval", None)
    if approval is None:
        return "queued", "waits for a decision"
    if approval.decision == approval.Decision.REJECTED:
        return "rejected", "sent back"
    approval.report = report
    return standing_of(approval, voided(approval, files=False, present=present))


def standing_of(approval: Approval, reasons: list[str]) -> tuple[str, str]:
    """How an approval stands that no longer holds for these reasons, or holds where there are none."""
    if reasons:
        return "failed", "approval void"
    return "approved", "approved with a waiver" if approval.waiver else "approved"


def changes(report: GateReport, *, files: bool = True, present: Present | None = None) -> list[str]:
    """What is no longer as the report's packet has it, a sentence each. ``files`` as in ``voided``."""
    present = present or Present(report.project)
    packet, run = report.packet, report.eval_run
    reasons: list[str] = []
    said: set[str] = set()  # parts of the packet that a sentence of ours is about
    revised = present.revised_gold(run.dataset)
    if revised:
        more = f" and {len(revised) - NAMED} more" if len(revised) > NAMED else ""
        what = "a hold-out document" if len(revised) == 1 else f"{len(revised)} hold-out documents"
        reasons.append(f"The gold of {what} has changed since: {', '.join(revised[:NAMED])}{more}.")
    if present.schema.sha256 != packet["schema"]:
        used = run.dataset.schema_version
        reasons.append(f"The schema is now {present.schema}; the report was made under {used}.")
        said.add("schema")
    if present.policy.sha256 != packet["policy"]:
        used_policy, now = report.policy.number, present.policy.number
        reasons.append(f"The gate policy is now version {now}; the report used version {used_policy}.")
        said.add("policy")
    if packet["scorer"] != SCORER_VERSION:
        reasons.append(f"The scorer is now version {SCORER_VERSION}; the report used version {packet['scorer']}.")
        said.add("scorer")
    checks = manifest.verify(report, files=files)
    return reasons + [check.sentence for check in checks if not check.equal and check.name not in said]
