"""A file of documents on the page of batches, and the use of tokens with a budget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, ViewportSize, expect

from labeling.integrations import tokens
from serving.batches import jobs
from serving.models import BatchRun, Budget, TokenUsage
from tests.browser.accessibility import check
from tests.evaluation.factories import World, make_world
from tests.serving.batches.gateway import gateway
from tests.serving.rollouts.rows import deployed

pytestmark = pytest.mark.slow

As = Callable[[Any], Page]
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def test_a_batch_and_a_budget(world: World, logged_in: As, settings: Any) -> None:
    deployed(world)
    erik = logged_in(world.engineer)
    erik.goto("/p/invoices/deploy/")
    erik.locator("#batches > summary").click()
    lines = b'{"id": "a", "text": "1"}\n{"id": "b"}\n'
    form = erik.locator("#batch-section")
    form.get_by_label("File").set_input_files({"name": "a.jsonl", "mimeType": "text/plain", "buffer": lines})
    form.get_by_role("button", name="Start").click()
    row = erik.locator("#batch-list tbody tr")
    expect(row).to_contain_text("Queued")
    with gateway() as found:
        settings.GATEWAY_URL = found.url
        jobs.run_batch(BatchRun.objects.get().pk)
    expect(row.locator(".badge")).to_have_text("Done")  # the page asks by itself
    expect(row).to_contain_text("2 of 2")
    check(erik, "batches")
    erik.set_viewport_size(PHONE)
    erik.evaluate("scrollTo(0, 0)")
    check(erik, "batches-phone")
    with erik.expect_download() as download:
        row.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes().count(b"\n") == 2

    token, _ = tokens.create(project=world.project, user=world.owner, name="app", scopes=["extract"], days=None)
    TokenUsage.objects.create(
        project_id=world.project.pk, token_id=token.pk, day=timezone.now().date(), requests=90, answered=85,
        prompt_tokens=9_000, output_tokens=900,
    )  # fmt: skip
    olga = logged_in(world.owner)
    olga.goto("/p/invoices/deploy/monitoring/")
    olga.get_by_role("link", name="app", exact=True).click()
    olga.get_by_label("Requests per month").fill("100")
    check(olga, "budget")
    olga.get_by_role("button", name="Save").click()
    expect(olga.get_by_role("row", name="app")).to_contain_text("85 of 100 requests")
    check(olga, "usage")
    olga.set_viewport_size(PHONE)
    check(olga, "usage-phone")
    olga.get_by_role("link", name="app", exact=True).click()
    check(olga, "budget-phone")
    assert Budget.objects.get().requests_per_month == 100
