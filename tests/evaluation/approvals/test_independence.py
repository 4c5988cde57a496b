"""Nobody makes themselves the manager who approves; who became one lately is named; waivers end."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from evaluation.approvals.decisions import decide, decision_obstacle, recent_role
from evaluation.approvals.report import report_content, report_markdown
from evaluation.approvals.waivers import Waiver
from evaluation.gates.services import create_report
from evaluation.models import AuditEntry, EvalRun, GateReport
from labeling.models import AnnotationRevision, Membership
from labeling.projects import members
from slmstudio.access import Role
from slmstudio.errors import Refused
from tests.evaluation.factories import World, as_engineer
from tests.evaluation.runs.test_resources import measured
from training.models import TrainingRun


def fresh(report: GateReport) -> GateReport:
    return GateReport.objects.get(pk=report.pk)


def approve(report: GateReport, user: User, days: int = 1) -> Any:
    waiver = Waiver("Two weeks of shadowing first.", timezone.localdate() + timedelta(days=days))
    return decide(report=report, user=user, decision="approved", reason="Good enough.", waiver=waiver)


def membership(world: World, user: User) -> Membership:
    row: Membership = Membership.objects.get(project=world.project, user=user)
    return row


def test_an_owner_may_step_down_but_not_become_manager_by_their_own_hand(world: World) -> None:
    row = membership(world, world.owner)
    members.change_role(membership=membership(world, world.engineer), by=world.owner, role=Role.OWNER)
    with pytest.raises(Refused) as refusal:
        members.change_role(membership=row, by=world.owner, role=Role.MANAGER)
    assert refusal.value.field == "role"
    assert membership(world, world.owner).role == Role.OWNER
    members.change_role(membership=membership(world, world.owner), by=world.owner, role=Role.REVIEWER)
    assert membership(world, world.owner).role == Role.REVIEWER


def test_a_role_younger_than_the_evaluation_is_noted(world: World, report: GateReport, client: Client) -> None:
    EvalRun.objects.update(created_at=timezone.now() - timedelta(days=1))
    made = members.change_role(membership=membership(world, world.annotator), by=world.owner, role=Role.MANAGER)
    assert (made.role_given_by, made.role_since is not None) == (world.owner, True)
    client.force_login(world.annotator)
    address = report.get_absolute_url()
    said = "ana has had the manager role since"
    assert said in client.get(address).content.decode(), "before the decision"
    approve(fresh(report), world.annotator)
    entry = AuditEntry.objects.get(action="approved")
    assert entry.details["fresh_role"].startswith(said)
    assert "olga granted the role" in entry.details["fresh_role"]
    assert said in client.get(address).content.decode()
    content = report_content(GateReport.objects.with_content().get(pk=report.pk))
    assert said in report_markdown(content, address=address, by=world.annotator, at=timezone.now())


def test_a_role_is_noted_for_seven_days_and_never_since_the_creation(world: World, report: GateReport) -> None:
    assert recent_role(report, world.manager) == ""
    EvalRun.objects.update(created_at=timezone.now())
    type(world.project).objects.update(created_at=timezone.now() - timedelta(days=90))
    row = Membership.objects.filter(user=world.manager)
    row.update(role_since=timezone.now() - timedelta(days=3))
    assert "for less than 7 days" in recent_role(fresh(report), world.manager)
    row.update(role_since=timezone.now() - timedelta(days=30))
    assert recent_role(fresh(report), world.manager) == ""


def test_who_resumed_a_run_counts_as_one_who_started_it(world: World, report: GateReport) -> None:
    for table in (EvalRun, TrainingRun):
        before = dict(table.objects.values_list("pk", "facts"))
        table.objects.update(facts={"resumed_by": [{"who": "mona", "user": world.manager.pk, "when": "now"}]})
        with pytest.raises(Refused, match="You were involved in"):
            approve(fresh(report), world.manager)
        for pk, facts in before.items():
            table.objects.filter(pk=pk).update(facts=facts)


def test_the_author_of_a_measurement_is_involved(world: World, report: GateReport) -> None:
    with as_engineer(world, world.manager) as manager:
        measured(report.eval_run, world, 300.0, user=manager)
    again = create_report(eval_run=report.eval_run, baseline=None, user=world.engineer)
    with pytest.raises(Refused, match="measurement"):
        approve(again, world.manager)


def test_who_froze_the_dataset_does_not_decide(world: World, report: GateReport) -> None:
    type(world.dataset).objects.update(created_by=world.manager)
    with pytest.raises(Refused, match="the freezing of"):
        approve(fresh(report), world.manager)


def test_who_labeled_much_of_the_hold_out_does_not_decide(world: World, report: GateReport) -> None:
    holdout = report.eval_run.dataset.items.filter(split="holdout").order_by("pk")
    revisions = AnnotationRevision.objects.filter(pk__in=holdout.values("revision"))
    with connection.cursor() as cursor:  # revisions are append-only
        cursor.execute("SET LOCAL session_replication_role = replica")
    some = [*revisions.values_list("pk", flat=True)]
    revisions.filter(pk__in=some[: len(some) // 5]).update(user=world.manager)
    assert decision_obstacle(fresh(report), world.manager) == ""
    revisions.filter(pk__in=some[: len(some) // 5 + 1]).update(user=world.manager)
    with pytest.raises(Refused, match=f"of {len(some)} hold-out documents"):
        approve(fresh(report), world.manager)


def test_a_waiver_has_a_longest_duration(world: World, report: GateReport, settings: Any) -> None:
    settings.WAIVER_MAX_DAYS = 30
    with pytest.raises(Refused, match="30 days") as refusal:
        approve(report, world.manager, days=31)
    assert refusal.value.field == "waiver_expires"
    approve(report, world.manager, days=30)


def test_a_decision_on_own_work_is_disclosed(world: World, report: GateReport, client: Client) -> None:
    EvalRun.objects.filter(pk=report.eval_run_id).update(created_by=world.manager)
    type(world.project).objects.update(four_eyes=False)
    approve(fresh(report), world.manager)
    details = AuditEntry.objects.get(action="approved").details
    assert (details["four_eyes"], details["own_part"]) == (False, f"evaluation {report.eval_run.number}")
    client.force_login(world.manager)
    address = report.get_absolute_url()
    assert "four-eyes review was off" in client.get(address).content.decode()
    assert f"mona started evaluation {report.eval_run.number}" in client.get(f"{address}report.md").content.decode()
