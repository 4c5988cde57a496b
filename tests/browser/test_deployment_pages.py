"""From an approved report to an answer: an engineer deploys, tries and calls the model; a manager takes it back."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from serving.deployments import gateway_client, queries, services
from serving.models import Deployment
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.factories import answering, approved_report, built
from tests.serving.rollouts.rows import current, requests

pytestmark = pytest.mark.slow

As = Callable[[Any], Page]
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def start(world: World) -> None:
    """What the worker and ``manage.py serve`` do for the candidate."""
    deployment = queries.find(world.project)
    assert deployment is not None
    assert deployment.candidate is not None
    assert deployment.candidate.package is not None
    built(deployment.candidate.package)
    answering(deployment.candidate)
    services.finish_promotion(deployment)


def test_deploy_try_call_and_take_back(world: World, logged_in: As, monkeypatch: pytest.MonkeyPatch) -> None:
    report = approved_report(world)
    erik = logged_in(world.engineer)
    erik.goto(report.get_absolute_url())
    erik.get_by_role("link", name="Deploy").last.click()
    expect(erik.get_by_text("Nothing is deployed")).to_be_visible()
    expect(erik.locator(".page-tabs")).to_have_count(0)  # the other pages are empty
    check(erik, "deploy-empty")
    form = erik.locator("#deploy")
    expect(form.get_by_label("Stage")).to_have_value("full")
    expect(form.get_by_label("Share of requests")).to_be_hidden()
    form.get_by_label("Stage").select_option("canary")
    expect(form.get_by_label("Share of requests")).to_be_visible()
    form.get_by_label("Stage").select_option("full")
    form.get_by_role("button", name="Deploy").click()

    stable = erik.locator(".release")
    expect(stable).to_contain_text("Package is being built")
    start(world)
    expect(stable.locator(".badge")).to_have_text("Answering")  # the page asks by itself
    expect(erik.get_by_role("heading", name="Stable")).to_be_visible()
    erik.reload()
    check(erik, "deploy-answering")
    erik.reload()  # axe leaves empty style attributes

    answer = {
        "output": {"total": 12.5}, "model": "invoices@1", "request_id": "r-1", "confidence": {"total": 0.9},
        "evidence": {"total": [[0, 4]]}, "latency_ms": {"total": 5, "model": 4}, "usage": {"output_tokens": 3},
    }  # fmt: skip
    monkeypatch.setattr(gateway_client, "send", lambda **_: httpx.Response(200, json=answer))
    erik.locator("#try textarea").fill("Total 12.50")
    erik.get_by_role("button", name="Send").click()
    expect(erik.locator(".answer pre")).to_contain_text('"total": 12.5')
    expect(erik.locator(".answer tbody tr")).to_contain_text(re.compile("90.0%.*yes", re.DOTALL))
    expect(erik.locator("#try textarea")).to_have_value("Total 12.50")

    erik.get_by_role("tab", name="curl").press("ArrowRight")
    expect(erik.get_by_role("tabpanel", name="Python")).to_contain_text("httpx.post")
    expect(erik.get_by_role("tabpanel", name="curl")).to_be_hidden()

    mona = logged_in(world.manager)
    mona.set_viewport_size(PHONE)  # type: ignore[arg-type]
    mona.goto("/p/invoices/deploy/")
    check(mona, "deploy-phone")
    mona.once("dialog", lambda dialog: dialog.accept())
    mona.get_by_role("button", name="Stop serving").click()
    expect(mona.get_by_text("Nothing is deployed")).to_be_visible()
    assert Deployment.objects.get().stable is None


def test_a_canary_moves_on_and_is_aborted(world: World, logged_in: As) -> None:
    services.deploy(project=world.project, user=world.engineer, stage="full", report=approved_report(world))
    start(world)
    services.deploy(
        project=world.project, user=world.engineer, stage="canary", share=0.05, report=approved_report(world)
    )
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    expect(erik.locator(".release")).to_have_count(2)
    erik.get_by_role("button", name="25%").click()
    expect(erik.locator(".release").last).to_contain_text("25% of the requests")
    expect(erik.get_by_role("button", name="10%")).to_have_count(0)
    check(erik, "deploy-canary")
    erik.once("dialog", lambda dialog: dialog.accept())
    erik.get_by_role("button", name="Abort").click()
    expect(erik.locator(".release")).to_have_count(1)
    assert Deployment.objects.get().candidate is None


def test_requests_and_history_arrive_by_themselves(world: World, logged_in: As) -> None:
    """They wait while someone uses them, and nothing else of the page changes."""
    services.deploy(project=world.project, user=world.engineer, stage="full", report=approved_report(world))
    start(world)
    erik = logged_in(world.engineer)
    erik.clock.install()
    erik.goto("/p/invoices/deploy/")
    erik.locator("#try textarea").fill("Total 7")
    [first] = requests(current(world), 1, candidate=False, at=timezone.now())
    refresh(erik, 5)
    expect(erik.locator("#recent-requests tbody tr")).to_have_count(1)
    expect(erik.locator("#recent-requests")).to_contain_text(str(first.id))
    expect(erik.locator("#try textarea")).to_be_focused()
    expect(erik.locator("#try textarea")).to_have_value("Total 7")

    erik.locator("#recent-requests code").select_text()
    services.deploy(
        project=world.project, user=world.engineer, stage="canary", share=0.05, report=approved_report(world)
    )
    changes = erik.locator("#history tbody tr")
    before = changes.count()
    refresh(erik, 5)
    expect(changes).to_have_count(before)
    erik.evaluate("getSelection().removeAllRanges()")
    refresh(erik, 5)
    expect(changes).to_have_count(before + 1)
    check(erik, "deploy-requests")
    erik.set_viewport_size(PHONE)  # type: ignore[arg-type]
    check(erik, "deploy-requests-phone")

    erik.goto("/p/invoices/")
    deployed = erik.locator(".loop-cell", has_text="Deployed")
    expect(deployed).to_contain_text("Canary")
    services.abort(deployment=current(world), user=world.engineer, reason="Again.")
    refresh(erik, 10)
    expect(deployed).to_contain_text("All traffic")


def refresh(page: Page, seconds: int) -> None:
    """Lets the page ask again, and waits for the response."""
    with page.expect_response(lambda response: "part=" in response.url):
        page.clock.run_for(seconds * 1_000)
    page.wait_for_load_state("networkidle")
