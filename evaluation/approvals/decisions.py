"""Decisions on gate reports: who can decide, what a decision requires, and what voids it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import ngettext

from evaluation.approvals import waivers
from evaluation.approvals.waivers import Waiver
from evaluation.audit import services as audit_services
from evaluation.gates import manifest
from evaluation.gates.manifest import ManifestCheck
from evaluation.gates.policy.services import current_policy, lowered_alone
from evaluation.gates.services import event_payload
from evaluation.models import Approval, AuditEntry, EvalRun, GatePolicy, GateReport
from labeling.integrations import events
from labeling.models import (
    AnnotationRevision,
    DatasetItem,
    DatasetVersion,
    Gold,
    Membership,
    Project,
    SchemaVersion,
    Split,
)
from slmstudio.access import Action, Role, require
from slmstudio.contract.scoring.scorer import SCORER_VERSION
from slmstudio.database.fields import validate_fields
from slmstudio.errors import Refused
from slmstudio.hooks import Hook
from slmstudio.runs.application import application
from slmstudio.text.formatting import format_date

#: ids of documents that a sentence lists
MAX_LISTED = 5
#: actions of decisions in the audit log, which keeps the words of earlier versions
APPROVED, REJECTED = "approved", ("rejected", "sent back")
#: a detail of an approval in the audit log, and why it is not valid until a second person confirms its waivers
NEEDS_CONFIRMATION = "needs_confirmation"
UNCONFIRMED = "Another manager or an owner must confirm the waiver."


@transaction.atomic
def decide(
    *,
    report: GateReport,
    user: User,
    decision: str,
    reason: str,
    waiver: Waiver | Mapping[str, Waiver] | None = None,
) -> Approval:
    """Records a manager's decision on a report, which is decided once.

    ``waiver``: one for all gates that do not pass, or one for each by the gate's key.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is decision, reason, or that of ``waivers.validated``.
    """
    require(report.project, user, Action.APPROVE)
    obstacle = decision_obstacle(report, user)
    if obstacle:
        raise Refused(obstacle, field="decision", code="own_involvement")
    report = GateReport.objects.select_for_update().get(pk=report.pk)
    if Approval.objects.filter(report=report).exists():
        raise Refused(f"{capfirst(str(report))} has already been decided.", field="decision", code="decided")
    if decision not in Approval.Decision.values:
        raise Refused("Select a decision.", field="decision")
    if not reason.strip():
        raise Refused("Enter a reason. It is recorded in the audit log.", field="reason")
    approves = decision == Approval.Decision.APPROVED
    covered = waivers.validated(report, user, waiver) if approves else []
    if approves:
        changed = changed_since(report)
        if changed:
            raise Refused("This report cannot be approved. " + " ".join(changed), field="decision", code="changed")
    approval = Approval(
        report=report,
        decision=decision,
        reason=reason.strip(),
        manifest_sha256=manifest.report_manifest_hash(report.manifest),
        waiver=covered or None,
        decided_by=user,
    )
    validate_fields(approval)
    approval.save(force_insert=True)
    audit_services.record(
        project=report.project,
        user=user,
        action=Approval.Decision(decision).value,
        about=str(report),
        details={
            "reason": approval.reason,
            "waiver": approval.waiver,
            "packet_sha256": approval.manifest_sha256,
            "application": application(),
            **independence_details(report, user),
            NEEDS_CONFIRMATION: bool(covered) and report.project.four_eyes,
        },
    )
    if not (covered and report.project.four_eyes):
        _emit_decision(approval)
    return approval


@transaction.atomic
def confirm_waivers(*, report: GateReport, user: User) -> None:
    """Confirms the waivers of an approval as the second person that the four-eyes rule requires.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: nothing is to be confirmed, or the user approved the report.
    """
    require(report.project, user, Action.SET_POLICY)
    report = GateReport.objects.select_for_update().get(pk=report.pk)
    approval = Approval.objects.filter(report=report).first()
    current = CurrentState(report.project)
    if approval is None or not needs_confirmation(approval, current) or str(report) in current.withdrawn:
        raise Refused(f"{capfirst(str(report))} has no waiver to confirm.", field="confirmation", code="not_waived")
    obstacle = confirmation_obstacle(approval, user)
    if obstacle:
        raise Refused(obstacle, field="confirmation", code="own_involvement")
    audit_services.record(
        project=report.project,
        user=user,
        action=audit_services.CONFIRMED,
        about=str(report),
        details={"packet_sha256": approval.manifest_sha256, **independence_details(report, user)},
    )
    _emit_decision(approval)


def needs_confirmation(approval: Approval, current: "CurrentState") -> bool:
    """Whether the waivers of an approval still need a second person."""
    report = str(approval.report)
    is_required = current.decided.get(report, {}).get(NEEDS_CONFIRMATION, False)
    return bool(approval.decision == Approval.Decision.APPROVED and is_required and report not in current.confirmed)


def confirmation_obstacle(approval: Approval, user: User) -> str:
    """Why a user cannot confirm the waivers of an approval, as a sentence; "" where they can."""
    return "You approved this report. Another manager or an owner must confirm." if approval.decided_by == user else ""


@transaction.atomic
def withdraw(*, report: GateReport, user: User, reason: str) -> None:
    """Withdraws an approval, which is void from then on. Any manager can; it cannot be undone.

    Raises:
        Forbidden: the user's role does not permit it.
        Refused: ``field`` is withdrawal or reason.
    """
    require(report.project, user, Action.APPROVE)
    report = GateReport.objects.select_for_update().get(pk=report.pk)
    if not Approval.objects.filter(report=report, decision=Approval.Decision.APPROVED).exists():
        raise Refused(f"{capfirst(str(report))} is not approved.", field="withdrawal", code="not_approved")
    if str(report) in CurrentState(report.project).withdrawn:
        raise Refused(f"The approval of {report} has already been withdrawn.", field="withdrawal", code="withdrawn")
    if not reason.strip():
        raise Refused("Enter a reason. It is recorded in the audit log.", field="reason")
    audit_services.record(
        project=report.project,
        user=user,
        action=audit_services.WITHDRAWN,
        about=str(report),
        details={"reason": reason.strip()},
    )
    _emit(report, "withdrawn", user)


def _emit_decision(approval: Approval) -> None:
    waived = [row["gate"] for row in approval.waiver or []]
    _emit(approval.report, str(approval.decision), approval.decided_by, waived=waived)


def _emit(report: GateReport, event: str, user: User, **more: Any) -> None:
    """Notifies the project's webhooks, in the transaction of the decision."""
    by = {"by": user.get_username(), "manifest_sha256": manifest.report_manifest_hash(report.manifest)}
    events.emit(report.project, f"gate_report.{event}", {**event_payload(report), **by, **more})


def decision_obstacle(report: GateReport, user: User) -> str:
    """Why a manager cannot decide on a report, as a sentence; "" where they can."""
    involvement = own_involvement(report, user) if report.project.four_eyes else ""
    return f"You were involved in {involvement}. Another manager must decide." if involvement else ""


def deciders(report: GateReport) -> list[str]:
    """The names of the managers who can decide on a report."""
    rows = Membership.objects.filter(project=report.project_id, role=Role.MANAGER).select_related("user")
    managers = [row.user for row in rows.order_by("user__username")]
    return [manager.get_username() for manager in managers if not decision_obstacle(report, manager)]


class CurrentState:
    """The current inputs of a project's reports, read once for any number of them."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._revised: dict[int, list[str]] = {}

    @cached_property
    def schema(self) -> SchemaVersion:
        """The newest version of the schema."""
        return self.project.schema_version

    @cached_property
    def policy(self) -> GatePolicy:
        """The current policy."""
        return current_policy(project=self.project)

    @cached_property
    def decided(self) -> dict[str, dict[str, Any]]:
        """Approvals in the audit log: ``str()`` of the report -> details, with the user's key in ``user``."""
        return audit_services.details_by_subject(self.project, APPROVED)

    @cached_property
    def withdrawn(self) -> dict[str, AuditEntry]:
        """Withdrawn approvals: ``str()`` of the report -> the entry of its withdrawal."""
        return audit_services.entries_by_subject(self.project, audit_services.WITHDRAWN)

    @cached_property
    def confirmed(self) -> dict[str, AuditEntry]:
        """Confirmed waivers: ``str()`` of the report -> the entry of the confirmation."""
        return audit_services.entries_by_subject(self.project, audit_services.CONFIRMED)

    def revised_gold(self, dataset: DatasetVersion) -> list[str]:
        """Ids of hold-out documents whose gold label has another value than the frozen one, or is missing; not of those
        that were erased.
        """
        if dataset.pk not in self._revised:
            rows = DatasetItem.objects.filter(dataset=dataset, split=Split.HOLDOUT, document__erased_at=None)
            items = rows.order_by("document_id")
            frozen = list(items.values_list("document_id", "document__external_id", "revision_id"))
            golds = Gold.objects.current(self.project).filter(document__in=items.values("document"))
            now = dict(golds.values_list("document_id", "revision_id"))
            other = [(name, revision, now.get(pk)) for pk, name, revision in frozen if now.get(pk) != revision]
            keys = {key for _, *pair in other for key in pair if key is not None}
            values = dict(AnnotationRevision.objects.filter(pk__in=keys).values_list("pk", "value"))
            canonical = dataset.schema_version.compiled.canonical
            # A schema migration writes a new revision of an unchanged value.
            self._revised[dataset.pk] = [
                name for name, old, new in other if new is None or canonical(values[old]) != canonical(values[new])
            ]
        return self._revised[dataset.pk]


def void_reasons(approval: Approval, *, files: bool = True, current: CurrentState | None = None) -> list[str]:
    """Why an approval is void, a sentence each; empty where it is valid.

    With ``files`` every file is read again; without, only those that were modified since the report was created.
    """
    current = current or CurrentState(approval.report.project)
    reasons = changed_since(approval.report, files=files, current=current)
    if manifest.report_manifest_hash(approval.report.manifest) != approval.manifest_sha256:
        reasons.insert(0, "The manifest differs from the one that the decision was made on.")
    if not _matches_audit_log(approval, current):
        reasons.insert(0, "The decision differs from its entry in the audit log.")
    withdrawn = current.withdrawn.get(str(approval.report))
    if withdrawn is not None:
        day = format_date(timezone.localtime(withdrawn.created_at))
        reasons.insert(0, f"{withdrawn.user} withdrew the approval on {day}: {withdrawn.details['reason']}")
    reasons += waivers.expired_sentences(approval)
    return [*reasons, UNCONFIRMED] if needs_confirmation(approval, current) else reasons


def _matches_audit_log(approval: Approval, current: CurrentState) -> bool:
    """Whether the append-only audit log has the approval with the same user, manifest and waivers."""
    logged = current.decided.get(str(approval.report), {})
    stored = (approval.decided_by_id, approval.manifest_sha256, approval.waiver)
    return (logged.get("user"), logged.get("packet_sha256"), logged.get("waiver")) == stored


def decision_circumstances(approval: Approval, current: CurrentState) -> dict[str, Any]:
    """The independence of a decision: ``four_eyes``, ``own_part`` and ``fresh_role`` from the audit log."""
    report = approval.report
    if approval.decision == approval.Decision.APPROVED:
        logged = current.decided.get(str(report), {})
    else:
        logged = audit_services.details_by_subject(report.project, *REJECTED).get(str(report), {})
    return {"four_eyes": True, "own_part": "", "fresh_role": "", **logged}


def decision_status(report: GateReport, *, current: CurrentState | None = None) -> tuple[str, str]:
    """The status of a report's decision: the state of its badge, and its label."""
    approval = getattr(report, "approval", None)
    if approval is None:
        return pending_status(changed_since(report, files=False, current=current))
    if approval.decision == approval.Decision.REJECTED:
        return "rejected", "rejected"
    approval.report = report
    return approval_status(approval, void_reasons(approval, files=False, current=current))


def pending_status(reasons: list[str]) -> tuple[str, str]:
    """The status of a report without a decision that cannot be approved for these reasons, or can without any."""
    return ("failed", "outdated") if reasons else ("queued", "pending")


def approval_status(approval: Approval, reasons: list[str]) -> tuple[str, str]:
    """The status of an approval that is void for these reasons, or valid where there are none."""
    if reasons == [UNCONFIRMED]:
        return "queued", "waiver not confirmed"
    if reasons:
        return "failed", "approval void"
    return "approved", "approved with a waiver" if approval.waiver else "approved"


def current_result(report: GateReport, status: tuple[str, str]) -> str:
    """The result of a report in a sentence; ``status``: of its decision. An outdated report is not ready."""
    if not report.passed or status[0] != "failed":
        return report.sentence
    return f"Not ready to deploy. {'The report is outdated' if status[1] == 'outdated' else 'The approval is void'}."


def manifest_checks(
    report: GateReport, *, files: bool = True, current: CurrentState | None = None
) -> list[ManifestCheck]:
    """``manifest.verify``, with the schema, policy and scorer that an approval would be for."""
    current = current or CurrentState(report.project)
    now = {"schema": current.schema.sha256, "policy": current.policy.sha256, "scorer": SCORER_VERSION}
    checks = manifest.verify(report, files=files)
    return [replace(check, now=now.get(check.name, check.now)) if check.equal else check for check in checks]


def changed_since(report: GateReport, *, files: bool = True, current: CurrentState | None = None) -> list[str]:
    """The inputs that differ from those of a report, a sentence each: it cannot be approved. ``files`` as in
    ``void_reasons``.
    """
    current = current or CurrentState(report.project)
    frozen, run = report.manifest, report.eval_run
    reasons: list[str] = []
    explained: set[str] = set()  # manifest entries with a sentence of their own
    revised = current.revised_gold(run.dataset)
    if revised:
        more = f" and {len(revised) - MAX_LISTED} more" if len(revised) > MAX_LISTED else ""
        text = ngettext(
            "The gold label of {n} hold-out document", "The gold labels of {n} hold-out documents", len(revised)
        )
        reasons.append(f"{text.format(n=len(revised))} changed: {', '.join(revised[:MAX_LISTED])}{more}.")
    if current.schema.sha256 != frozen["schema"]:
        used = run.dataset.schema_version
        is_older = current.schema.created_at <= report.created_at
        reasons.append(
            f"The report was created for schema {used}, when the current one was already {current.schema}."
            if is_older
            else f"The schema is now {current.schema}; the report used {used}."
        )
        explained.add("schema")
    if current.policy.sha256 != frozen["policy"]:
        used_policy, now = report.policy.number, current.policy.number
        reasons.append(f"The gate policy is now version {now}; the report used version {used_policy}.")
        explained.add("policy")
    if frozen["scorer"] != SCORER_VERSION:
        reasons.append(f"The scorer is now version {SCORER_VERSION}; the report used version {frozen['scorer']}.")
        explained.add("scorer")
    checks = manifest.verify(report, files=files)
    return reasons + [check.sentence for check in checks if not check.equal and check.name not in explained]


#: the share of the hold-out's labels that a manager who decides may have written or imported
MAX_OWN_LABELS = 0.2
#: a younger role is noted on a decision
RECENT_ROLE = timedelta(days=7)


def independence_details(report: GateReport, user: User) -> dict[str, Any]:
    """The details of a decision in the audit log: ``four_eyes``, ``own_part``, ``fresh_role``."""
    return {
        "four_eyes": report.project.four_eyes,
        "own_part": own_involvement(report, user),
        "fresh_role": recent_role(report, user),
    }


def own_involvement(report: GateReport, user: User) -> str:
    """The work behind a report that a user did, such as "evaluation 3"; "" where there is none: evaluation, training,
    measurement of resources, freezing of the dataset, ``MAX_OWN_LABELS`` of the labels of its hold-out, and lower
    thresholds without a second person.
    """
    if report.measurement is not None and _was_involved(report.measurement, user):
        return f"the measurement of evaluation {report.eval_run.number}"
    for run in _with_sources(report):
        if _was_involved(run, user):
            return f"evaluation {run.number}"
        if run.training_run is not None and _was_involved(run.training_run, user):
            return "the training of this model"
        if run.classical is not None and run.classical.created_by_id == user.pk:
            return "the training of this model"
    dataset = report.eval_run.dataset
    if dataset.created_by_id == user.pk:
        return f"the freezing of {dataset}"
    return _own_labels(dataset, user) or lowered_alone(report.policy, user)


def _own_labels(dataset: DatasetVersion, user: User) -> str:
    labels = DatasetItem.objects.filter(dataset=dataset, split=Split.HOLDOUT).aggregate(
        total=Count("pk"), own=Count("pk", filter=Q(revision__user=user))
    )
    if labels["own"] <= MAX_OWN_LABELS * labels["total"]:
        return ""
    return f"the labels of {labels['own']:,} of {labels['total']:,} hold-out documents"


def _with_sources(report: GateReport) -> list[EvalRun]:
    """The evaluation of a report, and the evaluations whose outputs it re-scores."""
    runs: list[EvalRun] = []
    run: EvalRun | None = report.eval_run
    while run is not None:
        runs.append(run)
        run = run.rescored_from
    return runs


def _was_involved(run: Any, user: User) -> bool:
    """Whether a user started a run or resumed it."""
    if run.created_by_id == user.pk:
        return True
    resumed = run.facts.get("resumed_by", [])
    return any(row.get("user") == user.pk or row.get("who") == user.get_username() for row in resumed)


def recent_role(report: GateReport, user: User) -> str:
    """A sentence where the user's role is younger than the evaluation or than ``RECENT_ROLE``; "" otherwise, also for a
    role since the creation of the project, or from before this was recorded.
    """
    row = Membership.objects.filter(project_id=report.project_id, user=user).select_related("role_given_by").first()
    if row is None or row.role_since is None or row.role_since <= report.project.created_at:
        return ""
    first = min(run.created_at for run in _with_sources(report))
    if row.role_since > first:
        reason = "after the evaluation was started"
    elif timezone.now() - row.role_since < RECENT_ROLE:
        reason = f"for less than {RECENT_ROLE.days} days"
    else:
        return ""
    giver = f"; {row.role_given_by.get_username()} granted the role" if row.role_given_by else ""
    since = timezone.localdate(row.role_since)
    return f"{user.get_username()} has had the {row.role} role since {format_date(since)}, {reason}{giver}."


@dataclass(frozen=True)
class ReportAction:
    """A button: its label, the name of its icon, and where it leads."""

    label: str
    icon: str
    url: str


#: a report that was approved, perhaps with a void approval by now, and the user who looks at it -> a button, or None
report_actions: Hook[[GateReport, User], ReportAction | None] = Hook()
