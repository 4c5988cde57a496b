"""An approval is taken back: by whom, with what left of it, and what everybody sees then."""

from datetime import timedelta

import pytest
from django.utils import timezone

from evaluation.approvals.decisions import decide, decision_status, void_reasons, withdraw
from evaluation.approvals.waivers import Waiver
from evaluation.gates.services import create_report
from evaluation.models import Approval, AuditEntry, GateReport
from slmstudio.access import Forbidden
from slmstudio.errors import Refused
from slmstudio.text.formatting import format_date
from tests.evaluation.factories import World, confirmed, evaluated, pretend
from tests.shared_rows import shared_fixture


@shared_fixture
def approval(world: World) -> Approval:
    report = create_report(eval_run=evaluated(world, pretend(2, spoil=0.05)), baseline=None, user=world.engineer)
    waiver = Waiver("Two weeks of shadowing first.", timezone.localdate() + timedelta(days=30))
    approved = decide(report=report, user=world.manager, decision="approved", reason="For a trial.", waiver=waiver)
    return confirmed(approved)


def fresh(approval: Approval) -> GateReport:
    return GateReport.objects.select_related("approval", "project").get(pk=approval.report_id)


def test_a_withdrawn_approval_is_void_with_user_and_reason(world: World, approval: Approval) -> None:
    for other in (world.annotator, world.engineer, world.owner):
        with pytest.raises(Forbidden):
            withdraw(report=approval.report, user=other, reason="I may not.")
    assert void_reasons(approval) == []
    withdraw(report=approval.report, user=world.manager, reason=" Customers complained. ")
    (sentence,) = void_reasons(approval)
    assert sentence == f"mona withdrew the approval on {format_date(timezone.localdate())}: Customers complained."
    assert decision_status(fresh(approval)) == ("failed", "approval void")
    entry = AuditEntry.objects.get(action__startswith="withdrew")
    assert (entry.user, entry.about) == (world.manager, str(approval.report))
    assert Approval.objects.get(pk=approval.pk).reason == "For a trial.", "what was decided stays as it was"


def test_it_needs_a_reason_and_an_approval_and_happens_once(world: World, approval: Approval) -> None:
    with pytest.raises(Refused, match="Enter a reason") as refusal:
        withdraw(report=approval.report, user=world.manager, reason="  ")
    assert refusal.value.field == "reason"
    withdraw(report=approval.report, user=world.manager, reason="Enough.")
    with pytest.raises(Refused, match="already been withdrawn"):
        withdraw(report=approval.report, user=world.manager, reason="Once more.")
    other = create_report(eval_run=evaluated(world, pretend(2, spoil=0.1)), baseline=None, user=world.engineer)
    decide(report=other, user=world.manager, decision="rejected", reason="Too many wrong dates.")
    with pytest.raises(Refused, match="Gate report 2 is not approved"):
        withdraw(report=other, user=world.manager, reason="Not approved.")
    assert AuditEntry.objects.filter(action__startswith="withdrew").count() == 1
