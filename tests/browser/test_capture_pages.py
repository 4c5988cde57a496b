"""From the model of today to a certificate, in a browser: capture, collect, compare."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from evaluation.models import Endpoint
from labeling.models import Document, Prediction
from serving.deployments import services as deployment_services
from serving.models import Deployment, TrafficComparison
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.captures.test_services import captured
from tests.serving.comparisons.test_labels import label, traffic
from tests.serving.factories import answering, approved_report
from tests.serving.rollouts.rows import current, deployed

pytestmark = pytest.mark.slow

As = Callable[[Any], Page]


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def test_move_in_an_afternoon(world: World, logged_in: As) -> None:
    Endpoint.objects.create(
        project=world.project, name="Big", url="https://example.com/v1", model="big", price_in=2.0, price_out=10.0
    )
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    form = erik.locator("#deploy-endpoint")
    expect(form.get_by_role("heading", name="Start with the model you use today")).to_be_visible()
    check(erik, "capture-start")
    form.get_by_role("button", name="Start").click()
    expect(erik.get_by_text("/capture/invoices/v1")).to_be_visible()

    for number in range(3):
        captured(Deployment.objects.get(), f"Invoice {number}")
    erik.reload()
    check(erik, "capture-traffic")
    erik.get_by_role("button", name="Collect").click()
    expect(erik.get_by_role("status")).to_contain_text("3 new documents")
    assert Prediction.objects.filter(document__text="Invoice 1", model="big-2026-08").exists()
    erik.get_by_role("button", name="Use as instruction").click()
    expect(erik.get_by_label("Instruction")).to_have_value("You read invoices.")

    deployment_services.deploy(
        project=world.project, user=world.engineer, stage="shadow", report=approved_report(world)
    )
    deployment = current(world)
    assert deployment.candidate is not None
    answering(deployment.candidate)
    traffic(deployment, range(60))
    erik.goto("/p/invoices/deploy/comparisons/")
    erik.locator("#labels summary").click()
    check(erik, "comparison-plan")
    erik.get_by_label("Margin (points)").fill("10")
    erik.get_by_label("Documents to label").fill("60")
    erik.get_by_role("button", name="Plan and sample documents").click()
    expect(erik.get_by_text("0 of 60 planned documents are labeled")).to_be_visible()
    check(erik, "certificate-open")
    certificate = TrafficComparison.objects.get()
    label(world, certificate)
    erik.reload()
    erik.get_by_role("button", name="Issue certificate").click()
    expect(erik.locator(".badge").first).to_have_text("Non-inferior")
    check(erik, "certificate-issued")
    assert Document.objects.filter(source="certificate").count() == 60
    erik.set_viewport_size({"width": 390, "height": 800})
    for name, address in (("captured", "captured/"), ("comparisons", "comparisons/"), ("comparison", "comparisons/1/")):
        erik.goto(f"/p/invoices/deploy/{address}")
        check(erik, f"narrow-{name}")


def test_a_live_split_is_started_and_stopped(world: World, logged_in: As) -> None:
    deployed(world)
    report = approved_report(world)
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/comparisons/")
    erik.locator("#split summary").click()
    erik.get_by_label("Share of B (%)").fill("30")
    erik.get_by_role("button", name="Start").click()
    expect(erik.locator(".badge").first).to_have_text("Not shown yet")
    check(erik, "live-split")
    assert TrafficComparison.objects.get().b.report == report
    erik.get_by_role("button", name="Stop and keep A").click()
    expect(erik.get_by_text("Ended")).to_be_visible()
    assert current(world).candidate is None


def test_keys_of_callers_are_registered_and_removed(world: World, logged_in: As) -> None:
    endpoint = Endpoint.objects.create(project=world.project, name="Big", url="https://example.com/v1", model="big")
    deployment_services.deploy_endpoint(
        project=world.project, user=world.engineer, endpoint=endpoint, capture="own_key"
    )
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/captured/")
    section = erik.locator("#keys")
    for key in ("sk-proj-0123456789abcdef", "sk-proj-9876543210fedcba"):
        section.get_by_label("API key for the external model").fill(key)
        section.get_by_role("button", name="Register key").click()
        expect(section.get_by_text(f"sk-p…{key[-4:]}")).to_be_visible()
    check(erik, "capture-keys")
    section.get_by_role("button", name="Remove sk-p…cdef").click()
    expect(section.get_by_text("sk-p…cdef")).to_have_count(0)
    expect(section.get_by_text("sk-p…dcba")).to_be_visible()
