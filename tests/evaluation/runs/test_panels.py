"""What a project's home and a document's page show about evaluation, and the next step for a person."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.asserts import assertContains, assertNotContains

from evaluation import panels
from evaluation.approvals.decisions import decide, deciders
from evaluation.approvals.waivers import Waiver
from evaluation.gates.services import create_report
from labeling.datasets.freeze import freeze
from labeling.models import Document
from slmstudio.access import Action, project_for
from slmstudio.panels import next_steps_for
from tests.evaluation.factories import (
    World,
    as_engineer,
    confirmed,
    evaluated,
    make_version,
    rename_vendor,
    rewrite,
    right,
)
from tests.serving.factories import approved_report


def step(world: World, user: User, ask: Any) -> Any:
    return ask(project_for(user, world.project.slug, Action.READ), user)


def test_an_engineer_is_led_from_the_model_to_the_report(world: World) -> None:
    first = step(world, world.engineer, panels.evaluation_step)
    assert first.text == "Model v1 has not been evaluated."
    assert first.url.endswith("/evaluation/new/?model=run-1")
    run = evaluated(world, right)
    second = step(world, world.engineer, panels.evaluation_step)
    assert second.text == "Evaluation 1 of model v1 has no gate report."
    assert second.url.endswith("/gates/new/?eval_run=1")
    create_report(eval_run=run, baseline=None, user=world.engineer)
    assert step(world, world.engineer, panels.evaluation_step) is None
    make_version(world.project, world.engineer, world.dataset, world.base_model)
    assert step(world, world.engineer, panels.evaluation_step).text == "Model v2 has not been evaluated."


def test_after_a_change_of_the_schema_an_engineer_freezes_and_trains(world: World) -> None:
    rename_vendor(world)
    assert step(world, world.engineer, panels.evaluation_step) is None
    project = project_for(world.engineer, world.project.slug, Action.READ)
    first = next_steps_for(project, world.engineer, limit=1)[0]
    assert first.url == f"/p/{project.slug}/datasets/"
    frozen = freeze(project=world.project, user=world.engineer, validation_share=0.1)
    project = project_for(world.engineer, world.project.slug, Action.READ)
    first = next_steps_for(project, world.engineer, limit=1)[0]
    assert first.url == f"/p/{project.slug}/training/new/?dataset={frozen.number}"


def test_a_manager_is_led_to_the_report_that_waits(world: World) -> None:
    assert step(world, world.manager, panels.decision_step) is None
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    assert step(world, world.manager, panels.decision_step).text == "Gate report 1: your decision is pending."
    for other in (world.engineer, world.annotator):
        assert step(world, other, panels.decision_step) is None
    decide(report=report, user=world.manager, decision="rejected", reason="no")
    assert step(world, world.manager, panels.decision_step) is None


def test_inapplicable_gates_do_not_count(world: World) -> None:
    report = approved_report(world, decision="")
    passing = report.verdicts
    rewrite(report, verdicts=[{**passing[0], "status": "INAPPLICABLE"}, *passing])
    [cell] = step(world, world.engineer, panels.last_report).context["strip"]
    assert cell["value"] == f"{len(passing)} of {len(passing)}"


def test_an_engineer_is_led_to_a_report_that_passes_until_its_decision(world: World) -> None:
    report = approved_report(world, decision="")
    pending = step(world, world.engineer, panels.pending_decision_step)
    assert pending.url == report.get_absolute_url()
    assert deciders(report) == ["mona"]
    for other in (world.manager, world.annotator):
        assert step(world, other, panels.pending_decision_step) is None
    decide(report=report, user=world.manager, decision="approved", reason="yes")
    assert step(world, world.engineer, panels.pending_decision_step) is None


def test_a_manager_who_took_part_is_no_decider(world: World) -> None:
    with as_engineer(world, world.manager) as manager:
        run = evaluated(world, right, user=manager)
    assert deciders(create_report(eval_run=run, baseline=None, user=world.engineer)) == []


def test_manager_is_notified_of_a_void_or_expiring_approval(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    report = create_report(eval_run=evaluated(world, right), baseline=None, user=world.engineer)
    waiver = Waiver("a trial", timezone.localdate() + timedelta(days=9))
    approval = decide(report=report, user=world.manager, decision="approved", reason="yes", waiver=waiver)
    assert step(world, world.manager, panels.decision_step) is None
    assert step(world, world.owner, panels.decision_step).url == report.get_absolute_url()
    confirmed(approval)
    assert step(world, world.owner, panels.decision_step) is None
    monkeypatch.setattr("evaluation.approvals.waivers.EXPIRES_SOON_DAYS", 9)
    assert (
        step(world, world.manager, panels.decision_step).text
        == f"A waiver of gate report 1 expires on {waiver.expires}."
    )
    Document.objects.filter(holdout=True).update(state="skipped")
    told = step(world, world.manager, panels.decision_step)
    assert (told.text, told.url) == ("Gate report 1: approval void.", report.get_absolute_url())
    assert step(world, world.engineer, panels.decision_step) is None


def test_a_report_that_a_manager_may_not_decide_on_is_no_step_for_them(world: World) -> None:
    with as_engineer(world, world.manager) as manager:
        run = evaluated(world, right, user=manager)
    create_report(eval_run=run, baseline=None, user=world.engineer)
    assert step(world, world.manager, panels.decision_step) is None


def test_a_document_shows_what_every_model_made_of_it(world: World, client: Client) -> None:
    client.force_login(world.annotator)
    item = world.dataset.items.filter(split="holdout").first()
    assert item is not None
    address = f"/p/invoices/documents/{item.document_id}/"
    output = f"/p/invoices/evaluation/1/outputs/{item.document_id}/"
    assertNotContains(client.get(address), output)
    evaluated(world, right)
    assertContains(client.get(address), output)
