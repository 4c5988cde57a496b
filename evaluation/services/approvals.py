"""Decisions on gate reports: who may decide, what a decision needs, and what voids it."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

from django.db import transaction
from django.utils import timezone

from evaluation.gates import Status as Verdict
from evaluation.models import Approval, GatePolicy, GateReport
from evaluation.services import audit, packets
from evaluation.services.policies import current_policy
from labeling.models import DatasetItem, DatasetVersion, Gold, Membership, Project, SchemaVersion, Split
from slmstudio.access import Action, Forbidden, may
from slmstudio.contract.scoring import SCORER_VERSION
from training.services.runs import Refused

NAMED = 5


@dataclass(frozen=True)
class Waiver:
    """Why a model may ship although not every gate passes, and until when that holds (its last day)."""

    reason: str
    expires: date


@transaction.atomic
def decide(*, report: GateReport, user: Any, decision: str, reason: str, waiver: Waiver | None = None) -> Approval:
    """A manager's decision on a report. One report is decided once.

    Raises:
        Forbidden: the person's role does not allow it.
        Refused: ``field`` is decision, reason, waiver_reason or waiver_expires, with a sentence.
    """
    _check_role(report, user)
    obstacle = obstacle_for(report, user)
    if obstacle:
        raise Refused("decision", obstacle)
    report = GateReport.objects.select_for_update().get(pk=report.pk)
    if Approval.objects.filter(report=report).exists():
        raise Refused("decision", f"The {report} has been decided already.")
    if decision not in Approval.Decision.values:
        raise Refused("decision", "Choose to approve or to send back.")
    if not reason.strip():
        raise Refused("reason", "Say why: the reason stands in the audit log.")
    approves = decision == Approval.Decision.APPROVED
    covered = _check_waiver(report, user, waiver) if approves else None
    if approves:
        changed = changes(report)
        if changed:
            raise Refused("decision", "What was judged is no longer what is there. " + " ".join(changed))
    approval = Approval(
        report=report,
        decision=decision,
        reason=reason.strip(),
        packet_sha256=packets.packet_hash(report.packet),
        waiver=covered,
        decided_by=user,
    )
    approval.full_clean()
    approval.save(force_insert=True)
    audit.record(
        project=report.project,
        user=user,
        action=str(Approval.Decision(decision).label),
        about=str(report),
        details={"reason": approval.reason, "waiver": covered, "packet_sha256": approval.packet_sha256},
    )
    return approval


def _check_role(report: GateReport, user: Any) -> None:
    membership = Membership.objects.filter(project_id=report.project_id, user=user).first()
    if membership is None or not may(membership.role, Action.APPROVE):
        raise Forbidden(membership.role if membership else "annotator", Action.APPROVE)


def obstacle_for(report: GateReport, user: Any) -> str:
    """Why this manager may not decide on this report, as a sentence; "" where nothing stands in the way."""
    if not report.project.four_eyes:
        return ""
    run = report.eval_run
    if run.created_by_id == user.pk:
        return f"You started evaluation {run.number} yourself, so another manager has to decide."
    if run.training_run is not None and run.training_run.created_by_id == user.pk:
        return "You started the training of this model yourself, so another manager has to decide."
    return ""


def open_gates(report: GateReport) -> list[dict[str, Any]]:
    """The gates of a report that do not pass: what an approval would have to waive."""
    return [row["gate"] for row in report.verdicts if row["status"] != Verdict.PASS]


def _check_waiver(report: GateReport, user: Any, waiver: Waiver | None) -> dict[str, Any] | None:
    """The waiver as it is stored; None where none is needed."""
    keys = [gate["key"] for gate in open_gates(report)]
    if report.passed:
        return None
    if waiver is None or not waiver.reason.strip():
        raise Refused("waiver_reason", "Not every gate passes. Approving takes a waiver with a reason.")
    if waiver.expires <= timezone.localdate():
        raise Refused("waiver_expires", "The waiver must end on a day that is still to come.")
    return {
        "gates": keys,
        "reason": waiver.reason.strip(),
        "owner": user.get_username(),
        "expires": waiver.expires.isoformat(),
    }


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

    def revised_gold(self, dataset: DatasetVersion) -> list[str]:
        """Ids of hold-out documents whose gold is no longer the frozen revision, or that have none any more."""
        if dataset.pk not in self._revised:
            items = DatasetItem.objects.filter(dataset=dataset, split=Split.HOLDOUT).order_by("document_id")
            frozen = list(items.values_list("document_id", "document__external_id", "revision_id"))
            golds = Gold.objects.to_freeze(self.project).filter(document__in=items.values("document"))
            now = dict(golds.values_list("document_id", "revision_id"))
            self._revised[dataset.pk] = [name for pk, name, revision in frozen if now.get(pk) != revision]
        return self._revised[dataset.pk]


def voided(approval: Approval, *, files: bool = True, present: Present | None = None) -> list[str]:
    """Why an approval no longer holds, a sentence each; empty where it holds.

    With ``files`` every file is read again; without, only those that were touched since the report was made.
    """
    reasons = changes(approval.report, files=files, present=present)
    if packets.packet_hash(approval.report.packet) != approval.packet_sha256:
        reasons.insert(0, "The packet is not the one that was decided on.")
    expires = (approval.waiver or {}).get("expires")
    if expires and date.fromisoformat(expires) < timezone.localdate():
        reasons.append(f"The waiver ended on {expires}.")
    return reasons


def standing(report: GateReport, *, present: Present | None = None) -> tuple[str, str]:
    """How a report's decision stands: a state for the badge, and its words."""
    approval = getattr(report, "approval", None)
    if approval is None:
        return "queued", "waits for a decision"
    if approval.decision == approval.Decision.REJECTED:
        return "rejected", "sent back"
    approval.report = report
    if voided(approval, files=False, present=present):
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
    checks = packets.verify(report, files=files)
    return reasons + [check.sentence for check in checks if not check.equal and check.name not in said]
