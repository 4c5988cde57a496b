"""Pre-label pages: an endpoint is added, tested and used; light and dark."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from evaluation.models import Endpoint, PrelabelRun
from evaluation.prelabels.jobs import run_prelabels
from evaluation.prelabels.services import start_prelabels
from labeling.models import Prediction
from tests.browser.accessibility import check
from tests.browser.conftest import Watch
from tests.evaluation import fake_openai as fakes
from tests.evaluation.fake_openai import Fake, error, says
from tests.labeling.desk import Desk, bring_in, invoice, make_desk

GOOD = '{"invoice_id":"A-1","date":"2026-01-14","vendor":"Acme","total_amount":1.5}'


@pytest.fixture
def work(transactional_db: None, queues: None, settings: Any) -> Desk:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    work = make_desk()
    bring_in(work.project, [invoice(number, gold=False) for number in range(1, 7)])
    return work


@pytest.fixture
def fake() -> Iterator[Fake]:
    with fakes.running() as server:
        server.replies = [says(GOOD)]
        yield server


@pytest.fixture
def page(work: Desk, new_page: Callable[[], Page], live_server: LiveServer) -> Page:
    client = Client()
    client.force_login(work.people["owner"])
    page = new_page()
    name = django_settings.SESSION_COOKIE_NAME
    page.context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": live_server.url}])
    return page


@pytest.mark.slow
def test_an_endpoint_is_added_and_tested(work: Desk, fake: Fake, page: Page) -> None:
    page.goto("/p/desk/prelabels/")
    check(page, "prelabels-1")
    page.get_by_role("link", name="Add endpoint").click()
    page.get_by_label("Name").fill("large")
    page.get_by_label("URL").fill(fake.url)
    page.get_by_label("Model", exact=True).fill("fake-1")
    check(page, "prelabels-2")
    page.get_by_role("button", name="Add endpoint").click()
    page.get_by_role("button", name="Test").click()
    expect(page.locator("#test")).to_contain_text("Valid")
    check(page, "prelabels-3")
    page.get_by_role("link", name="Pre-label documents").click()
    page.get_by_label("Maximum number of documents").fill("4")
    check(page, "prelabels-4")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    check(page, "prelabels-5")
    fake.replies = [says(GOOD), says("sorry"), error(400, "no"), says(GOOD)]
    Endpoint.objects.update(structured="free", logprobs=False, concurrency=1)
    run_prelabels(PrelabelRun.objects.get().pk)
    # The page asks for itself and finds that the run has ended.
    expect(page.locator("main").get_by_role("link", name="Label", exact=True)).to_be_visible()
    expect(page.get_by_text("2 of 4 documents")).to_be_visible()
    check(page, "prelabels-6")
    page.get_by_role("link", name="Not a JSON object").click()
    expect(page.locator("#items tbody tr")).to_have_count(1)
    page.go_back()
    expect(page.locator("#items tbody tr")).to_have_count(4)
    assert Prediction.objects.filter(value__isnull=False).count() == 2


def test_a_filtered_list_starts_a_run_and_shows_field_errors(work: Desk, fake: Fake, page: Page, watch: Watch) -> None:
    Endpoint.objects.create(project=work.project, name="large", url=fake.url, model="m")
    page.goto("/p/desk/documents/?state=new")
    page.get_by_role("link", name="Pre-label these").click()
    expect(page.get_by_text("documents in the list “state=new”")).to_be_visible()
    page.get_by_label("Maximum number of documents").fill("0")
    watch.allow("422 POST /p/desk/prelabels/new/")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("greater than or equal to 1")
    check(page, "prelabels-7")


def test_a_queued_run_is_cancelled(work: Desk, fake: Fake, page: Page) -> None:
    endpoint = Endpoint.objects.create(project=work.project, name="large", url=fake.url, model="m")
    start_prelabels(project=work.project, user=work.people["owner"], endpoint=endpoint)
    page.goto("/p/desk/prelabels/1/")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()
    page.goto("/p/desk/prelabels/")
    expect(page.get_by_role("cell", name="cancelled")).to_be_visible()
    check(page, "prelabels-8")
