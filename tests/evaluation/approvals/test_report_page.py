"""A gate report as a manager reads it: what it says of waivers, of what changed, of who decided; and its copies."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains

from evaluation import panels
from evaluation.approvals.decisions import decide
from evaluation.approvals.report import report_content
from evaluation.approvals.waivers import Waiver
from evaluation.gates.services import create_report
from evaluation.models import Approval, GateReport
from labeling.annotation.services import open_document, submit
from labeling.models import Document
from slmstudio.access import Action, project_for
from tests.evaluation.factories import World, confirmed, evaluated, pretend, rename_vendor, rewrite, right
from tests.shared_rows import shared_fixture


@shared_fixture
def report(world: World) -> GateReport:
    base = evaluated(world, right, tuned=False)
    return create_report(eval_run=evaluated(world, pretend(2, spoil=0.2)), baseline=base, user=world.engineer)


def in_days(days: int) -> Any:
    return timezone.localdate() + timedelta(days=days)


def approve(world: World, report: GateReport, waiver: Any = None, reason: str = "Enough for a trial.") -> Approval:
    waiver = waiver or Waiver("Shadow it first.", in_days(30), "erik")
    fresh = GateReport.objects.get(pk=report.pk)
    approval = decide(report=fresh, user=world.manager, decision="approved", reason=reason, waiver=waiver)
    return confirmed(approval)


def correct(world: World, document: Document) -> None:
    opened = open_document(document=document, user=world.annotator)
    assert opened.annotation is not None
    value = {**opened.annotation.value, "vendor": document.text.split()[0]}
    base = opened.annotation.version
    submit(document=document, user=world.annotator, value=value, evidence={}, base_version=base)


def held_out(world: World) -> Document:
    document = Document.objects.filter(project=world.project, holdout=True).order_by("pk").first()
    assert document is not None
    return document


def test_a_corrected_label_is_listed_with_author_and_link(world: World, manager: Client, report: GateReport) -> None:
    approve(world, report)
    document = held_out(world)
    correct(world, document)
    page = manager.get(report.get_absolute_url())
    assertContains(page, "The approval is void.")
    [label] = page.context["revised"]
    assert (label["document"], label["user"]) == (document, world.annotator)
    assertContains(page, f'<a href="{document.get_absolute_url()}">{document.external_id}</a> ana')


def test_a_report_for_an_older_schema_offers_no_approval(world: World, manager: Client) -> None:
    run = evaluated(world, right)
    rename_vendor(world)
    report = create_report(eval_run=run, baseline=None, user=world.engineer)
    rewrite(report, passed=True)
    page = manager.get(report.get_absolute_url())
    assert (page.context["state"], page.context["is_ready"]) == (("failed", "outdated"), False)
    assert page.context["reasons"][0].endswith("for schema v1, when the current one was already v2.")
    assert [check.name for check in page.context["checks"] if not check.equal] == ["schema", "verdicts"]
    assertNotContains(page, 'value="approved"')
    assertContains(page, 'value="rejected"')
    member = project_for(world.manager, world.project.slug, Action.READ)
    assert panels.decision_step(member, world.manager) is None


@pytest.mark.slow
def test_a_longer_history_takes_no_more_queries(
    world: World, manager: Client, django_assert_max_num_queries: Any
) -> None:
    """Reports, evaluations and waivers grow; the queries do not. The first page also reads what the bundle has."""
    for _ in range(4):
        made = create_report(eval_run=evaluated(world, pretend(2, spoil=0.2)), baseline=None, user=world.engineer)
        approve(world, made)
    with django_assert_max_num_queries(57):
        page = manager.get(made.get_absolute_url())
    assert len(page.context["earlier_reports"]) == 3


def test_the_file_has_everything_that_the_page_shows(world: World, manager: Client, report: GateReport) -> None:
    waiver = Waiver("Shadowed. " * 390, in_days(30), "erik")
    approval = approve(world, report, waiver, reason="Grüße aus 東京, <b>gut</b>.\nSecond line")
    answer = manager.get(f"{report.get_absolute_url()}report.md")
    assert answer["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="invoices-gate-report-1.md"'
    text = answer.content.decode()
    content = report_content(GateReport.objects.with_content().get(pk=report.pk))
    for value in (
        report.sentence,
        approval.manifest_sha256,
        *report.manifest.values(),
        content["confidences"],
        content["suite"].words,
        *(verdict["gate"]["title"] for verdict in content["verdicts"]),
        *(f"{verdict['finding'][:1].upper()}{verdict['finding'][1:]}." for verdict in content["verdicts"]),
        *(line["words"] for line in content["money"]["lines"] if content["money"]),
        *(row["field"] for row in content["regressions"]["fields"] if content["regressions"]),
        *(entry["action"] for entry in content["history"]),
        *content["warnings"],
        "12 are imported",
        "erik",
        "http://testserver/p/invoices/gates/1/",
    ):
        assert value.lower() in text.replace("\\", "").lower(), value
    assert r"Grüße aus 東京, \<b\>gut\</b\>.  " in text
    assert text.count("Shadowed.") == 390
    assert "{" not in text
    assert manager.get(f"{report.get_absolute_url()}report.pdf").headers["Location"] == report.get_absolute_url()
