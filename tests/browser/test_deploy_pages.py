"""The pages of Deploy: what refreshes itself, keys, files, dialogs; each page in light, in dark and on a phone."""

import threading
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.utils import timezone
from playwright.sync_api import Dialog, Page, expect

from evaluation.models import Endpoint
from labeling.models import Document
from serving.batches import jobs
from serving.deployments import gateway_client, services
from serving.models import (
    AlertRule,
    BatchRun,
    Deployment,
    DriftCheck,
    HostSample,
    Judgment,
    Package,
    ReviewItem,
    SamplePlan,
    TrafficComparison,
)
from serving.monitoring import alerts
from serving.monitoring.figures import count_marked, floor
from serving.review.sampling import draw
from serving.rollouts.watch import check_all
from tests.browser.accessibility import check
from tests.browser.conftest import PHONE, As, Watch
from tests.evaluation.factories import World, permitted
from tests.serving.batches.gateway import gateway
from tests.serving.captures.test_services import captured
from tests.serving.comparisons.test_labels import label, traffic
from tests.serving.confidence import rows as confidence
from tests.serving.factories import answering, approved_report, built
from tests.serving.monitoring.rows import logged
from tests.serving.packages.test_services import PARITY
from tests.serving.review import rows as review
from tests.serving.rollouts.rows import add_candidate, current, deployed, requests

pytestmark = pytest.mark.slow


def test_a_model_is_deployed_tried_and_stopped(
    world: World, logged_in: As, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.allow("422 POST /p/invoices/deploy/try/")
    report = approved_report(world)
    erik = logged_in(world.engineer)
    erik.goto(report.get_absolute_url())
    erik.get_by_role("link", name="Deploy").last.click()
    expect(erik.get_by_text("Nothing is deployed")).to_be_visible()
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
    # What the worker and ``manage.py serve`` do for the candidate.
    deployment = current(world)
    assert deployment.candidate is not None
    assert deployment.candidate.package is not None
    built(deployment.candidate.package)
    answering(deployment.candidate)
    services.finish_promotion(deployment)
    expect(stable.locator(".badge")).to_have_text("Answering")  # the page asks by itself
    erik.reload()
    answer = {
        "output": {"total": 12.5}, "model": "invoices@1", "request_id": "r-1",
        "confidence": {"total": 0.9, "line_items[0].unit_price_amount": 0.7},
        "evidence": {"total": [[0, 4]]}, "latency_ms": {"total": 5, "model": 4}, "usage": {"output_tokens": 3},
    }  # fmt: skip
    problem = {"code": "busy", "detail": "The queue is full."}
    monkeypatch.setattr(gateway_client, "send", lambda **_: httpx.Response(429, json=problem))
    erik.locator("#try textarea").fill("Total 12.50")
    send, error, wait = (
        erik.get_by_role("button", name="Send"), erik.get_by_text("The queue is full."),
        erik.get_by_text("Waiting for the answer"),
    )  # fmt: skip
    send.click()
    expect(error).to_be_visible()
    answered = threading.Event()

    def answer_later(**_: Any) -> httpx.Response:
        assert answered.wait(30)
        return httpx.Response(200, json=answer)

    monkeypatch.setattr(gateway_client, "send", answer_later)
    send.click()
    expect(wait).to_be_visible()
    expect(error).to_be_hidden()
    expect(send).to_be_disabled()
    answered.set()
    expect(wait).to_be_hidden()
    expect(erik.locator(".answer pre")).to_contain_text('"total": 12.5')
    expect(erik.locator("#try textarea")).to_have_value("Total 12.50")
    size = erik.viewport_size
    assert size
    erik.set_viewport_size(PHONE)
    assert erik.locator(".answer .table-wrap").evaluate("table => table.scrollWidth <= table.clientWidth")
    erik.set_viewport_size(size)
    erik.get_by_role("tab", name="curl").press("ArrowRight")
    expect(erik.get_by_role("tabpanel", name="Python")).to_contain_text("httpx.post")
    expect(erik.get_by_role("tabpanel", name="curl")).to_be_hidden()
    erik.locator("#packages > summary").click()
    erik.get_by_text("Build again").click()
    erik.locator("#packages").get_by_role("button", name="Build").click()
    expect(erik.locator("#package-2 .list-head .badge")).to_have_text("Queued")
    package = Package.objects.get(number=2)
    Package.objects.filter(pk=package.pk).update(variants=[{**row, "parity": PARITY} for row in package.variants])
    built(package)
    expect(erik.locator("#package-2 .list-head .badge")).to_have_text("Done")  # the page asks by itself
    check(erik, "deploy-answering")
    erik.once("dialog", lambda dialog: dialog.accept())
    erik.get_by_role("button", name="Stop serving").click()
    expect(erik.get_by_text("Nothing is deployed")).to_be_visible()


def test_a_canary_is_watched_until_it_is_aborted(world: World, logged_in: As) -> None:
    """Parts of the page that change arrive by themselves; they wait while someone uses them."""
    deployed(world)
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
    deployment = add_candidate(world, share=0.25)
    changes = erik.locator("#history tbody tr")
    before = changes.count()
    refresh(erik, 5)
    expect(changes).to_have_count(before)
    erik.evaluate("getSelection().removeAllRanges()")
    refresh(erik, 5)
    expect(changes).to_have_count(before + 1)
    now = timezone.now()
    requests(deployment, 60, candidate=True, at=now)
    requests(deployment, 180, candidate=False, failed=1, at=now)
    check_all(now + timedelta(seconds=1))
    erik.reload()
    section = erik.locator("#rollout")
    expect(section.get_by_role("row", name="canary 25%").first).to_contain_text("60")
    section.get_by_text("Plan", exact=True).click()
    check(erik, "deploy-rollout")
    erik.reload()
    canary = erik.get_by_role("button", name="Canary 50%")
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    erik.once("dialog", refuse)
    canary.click()
    assert asked[0].startswith("Send 50% of the requests to version 2? The candidate answered 60 of at least 200")
    assert current(world).share == 0.25
    erik.once("dialog", lambda dialog: dialog.accept())
    canary.click()
    expect(erik.locator(".release").last).to_contain_text("50% of the requests")
    requests(current(world), 20, candidate=True, failed=20, at=timezone.now())
    check_all(timezone.now() + timedelta(seconds=9))
    erik.clock.run_for(10_000)
    expect(section.locator(".badge").first).to_have_text("Aborted")
    expect(erik.locator(".release")).to_have_count(1)
    erik.context.close()  # its clock stands still


def refresh(page: Page, seconds: int) -> None:
    """Lets the page ask again, and waits for the response."""
    with page.expect_response(lambda response: "part=" in response.url):
        page.clock.run_for(seconds * 1_000)
    page.wait_for_load_state("networkidle")


def test_settings_a_batch_and_monitoring(world: World, logged_in: As, watch: Watch, settings: Any) -> None:
    watch.allow("422 POST /p/invoices/deploy/settings/sample/")
    deployment = confidence.deployed(world)
    assert deployment.stable is not None
    answering(deployment.stable)
    confidence.larger(world, price_in=1.0, price_out=4.0)
    for _ in range(12):
        confidence.request(deployment)
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/settings/")
    erik.get_by_text("Thresholds", exact=True).click()
    erik.get_by_text("Fields", exact=True).click()
    check(erik, "deploy-settings")
    below = erik.get_by_label("Answers below the threshold go to")
    expect(below).to_be_hidden()  # no larger model is selected
    erik.get_by_label("Larger model", exact=True).select_option(index=1)
    expect(below).to_be_visible()
    erik.get_by_label("Sampling rate").fill("200")
    erik.locator("#sample").get_by_role("button", name="Save").click()
    share = erik.get_by_label("Sampling rate")
    expect(share).to_be_focused()
    expect(share).to_be_in_viewport()
    erik.goto("/p/invoices/deploy/")
    erik.locator("#batches > summary").click()
    lines = b'{"id": "a", "text": "1"}\n{"id": "b"}\n'
    form = erik.locator("#batch-section")
    form.get_by_label("File").set_input_files({"name": "a.jsonl", "mimeType": "text/plain", "buffer": lines})
    form.get_by_role("button", name="Start").click()
    row = erik.locator("#batch-list tbody tr")
    expect(row).to_contain_text("Queued")
    with gateway() as server:
        settings.GATEWAY_URL = server.url
        jobs.run_batch(BatchRun.objects.get().pk)
    expect(row.locator(".badge")).to_have_text("Done")  # the page asks by itself
    expect(row).to_contain_text("Line 2: text must be a non-empty string.")
    check(erik, "deploy-batches")
    _monitor(erik, world, current(world))


def _monitor(page: Page, world: World, deployment: Deployment) -> None:
    assert deployment.stable is not None
    now, project = timezone.now(), world.project.pk
    for minute in range(50):
        at = now - timedelta(minutes=minute)
        logged(project, at, 3 + minute % 7, release=deployment.stable, total_ms=300.0 + 10 * (minute % 11))
        if minute % 9 == 4:
            logged(project, at, 1, release=deployment.stable, status=502, code="invalid_output", valid=False)
    HostSample.objects.create(
        host="gpu-1", minute=floor(now, 60), replicas=[],
        gpus=[{"name": "NVIDIA H100", "load": 0.62, "memory_bytes": 80_000_000_000, "used_bytes": 31_000_000_000}],
    )  # fmt: skip
    while count_marked(now):
        pass
    alerts.rules_of(world.project)
    AlertRule.objects.filter(metric="failures").update(state="firing", value=0.081, checked_at=now, since=now)
    finding = {
        "metric": "length", "kind": "number", "p": 1e-9, "adjusted": 1e-8, "effect": 0.4, "reference": 812.0,
        "live": 1540.0, "reference_count": 200, "live_count": 812, "category": "", "changed": True,
    }  # fmt: skip
    for back in range(3):
        day = now.date() - timedelta(days=back + 1)
        DriftCheck.objects.create(
            day=day, findings=[finding], changed=1, project=world.project, release=deployment.stable, live_count=812
        )
    page.goto("/p/invoices/deploy/monitoring/")
    figures = page.locator("#figures")
    figures.get_by_role("link", name="1 hour").click()
    expect(figures.locator(".line-chart")).to_have_count(8)
    expect(page.get_by_text("median 1,540 (812 in the evaluation)")).to_be_visible()
    first = page.locator(".figures dd").first
    before = int(first.inner_text().split()[0])
    check(page, "monitoring")
    logged(project, timezone.now(), 5, release=deployment.stable)
    count_marked(timezone.now())
    expect(first).to_contain_text(str(before + 5))  # the page reads itself again
    page.get_by_role("link", name="Change p95 latency").click()
    expect(page.get_by_role("heading", name="Alerts")).to_be_in_viewport()
    expect(page.get_by_role("form", name="p95 latency").get_by_label("Window (minutes)")).to_be_in_viewport()
    check(page, "alert-form")


def test_captured_requests_and_a_certificate(world: World, logged_in: As) -> None:
    endpoint = Endpoint.objects.create(
        project=world.project, name="Big", url="https://example.com/v1", model="big", price_in=2.0, price_out=10.0
    )
    permitted(world, endpoint)
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    check(erik, "capture-start")
    erik.locator("#deploy-endpoint").get_by_role("button", name="Start").click()
    expect(erik.get_by_text("/capture/invoices/v1")).to_be_visible()
    for number in range(3):
        captured(Deployment.objects.get(), f"Invoice {number}")
    erik.reload()
    check(erik, "captured")
    services.deploy(project=world.project, user=world.engineer, stage="shadow", report=approved_report(world))
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
    label(world, TrafficComparison.objects.get())
    erik.reload()
    erik.get_by_role("button", name="Issue certificate").click()
    expect(erik.locator(".badge").first).to_have_text("Non-inferior")
    check(erik, "certificate")


def test_review_by_keys(world: World, logged_in: As) -> None:
    deployment = review.deployed(world)
    SamplePlan.objects.create(deployment=deployment, share=1.0)
    for number in (36, 37, 38, 39):
        review.logged(deployment, number, days=1 / 24)
    review.logged(
        deployment, 35, days=1 / 24, status=502, code="invalid_output", valid=False, detail="total must be a number"
    )
    draw(deployment.pk, timezone.now())
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/review/")
    items = erik.locator("[data-item]")
    expect(items).to_have_count(5)
    check(erik, "review-queue")
    items.last.get_by_role("link").click()
    expect(erik.get_by_role("region", name="Output", exact=True)).to_be_visible()
    check(erik, "request")
    erik.go_back()
    erik.keyboard.press("j")
    expect(items.first).to_be_focused()
    erik.keyboard.press("t")
    erik.keyboard.press("Escape")
    erik.locator("#queue-tag").select_option("ambiguous")
    items.first.focus()
    erik.keyboard.press("w")  # the failed one
    expect(items).to_have_count(4)
    expect(items.first).to_be_focused()
    assert Document.objects.get(source="requests").tags == ["ambiguous"]
    for key in "jxjxr":
        erik.keyboard.press(key)
    expect(items).to_have_count(2)
    assert Judgment.objects.filter(right=True).count() == 2
    erik.keyboard.press("g")
    erik.keyboard.press("d")  # opens a section and dismisses nothing
    erik.wait_for_url("**/documents/")
    erik.goto("/p/invoices/deploy/review/")
    expect(items).to_have_count(2)
    erik.keyboard.press("j")
    erik.keyboard.press("d")
    expect(items).to_have_count(1)
    assert ReviewItem.objects.filter(status=ReviewItem.Status.DISMISSED).count() == 1
    erik.goto("/p/invoices/deploy/versions/")
    expect(erik.get_by_role("region", name="Versions")).to_be_visible()
    check(erik, "versions")
