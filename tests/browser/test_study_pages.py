"""Studies, silver labels and pre-labels: their pages ask for their own progress; light, dark and on a phone."""

from typing import Any

import pytest
from playwright.sync_api import expect

from evaluation.models import Endpoint, PrelabelRun
from evaluation.prelabels.jobs import run_prelabels
from labeling.annotation import predictions
from labeling.datasets.freeze import freeze
from labeling.models import Project, Study
from labeling.studies.services import run_study
from slmstudio.access import Role
from tests.browser.accessibility import check
from tests.browser.conftest import As
from tests.evaluation import fake_openai
from tests.evaluation.fake_openai import error, says
from tests.labeling.desk import bring_in, invoice, make_desk
from tests.labeling.message_desk import add_messages, make_project, member

pytestmark = pytest.mark.slow
GOOD = '{"invoice_id":"A-1","date":"2026-01-14","vendor":"Acme","total_amount":1.5}'


@pytest.fixture
def project(transactional_db: None, queues: None) -> Project:
    project = make_project()
    add_messages(project, 110, labeled=True, wrong=(0, 7, 33, 39, 62, 90))
    add_messages(project, 12, labeled=False, prefix="n")
    return project


def test_studies(project: Project, logged_in: As) -> None:
    freeze(project=project, user=None, validation_share=0.3, holdout_share=0.1)
    page = logged_in(member(project, Role.ENGINEER))
    page.goto("/p/messages/evaluation/challenges/")
    page.get_by_role("link", name="Label checks").click()
    check(page, "studies")
    page.get_by_role("link", name="New label check").click()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    run_study(Study.objects.get().pk)
    expect(page.get_by_role("heading", name="Suspect labels")).to_be_visible()
    check(page, "label-check")
    page.goto("/p/messages/evaluation/")
    page.get_by_role("link", name="Learning curves").click()
    page.get_by_role("link", name="New learning curve").click()
    check(page, "learning-curve-new")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    run_study(Study.objects.latest("pk").pk)
    expect(page.get_by_role("heading", name="With 100 more labels")).to_be_visible()
    check(page, "learning-curve")
    document = project.documents.get(external_id="n00")
    silver = predictions.PredictionInput(document.pk, '{"queue": "billing"}', {"queue": 0.99})
    predictions.record(
        project=project, schema_version=project.schema_version, proposals=[silver], model="large", source="api"
    )
    page.goto("/p/messages/datasets/")
    page.locator("summary", has_text="Silver labels").click()
    page.get_by_label("Silver labels", exact=True).select_option("confidence")
    check(page, "silver-form")


def test_the_order_of_the_queue_is_set_and_shown(project: Project, logged_in: As) -> None:
    page = logged_in(member(project, Role.MANAGER))
    page.goto("/p/messages/progress/")
    page.get_by_role("link", name="queue order").click()
    page.get_by_role("link", name="New queue order").click()
    page.get_by_label("Order of unassigned documents").select_option("combined")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    run_study(Study.objects.get().pk)
    expect(page.get_by_role("heading", name="Next documents")).to_be_visible()
    check(page, "queue-order")
    page.goto("/p/messages/label/")
    expect(page.get_by_role("link", name="place 1")).to_be_visible()


def test_prelabels(transactional_db: None, queues: None, logged_in: As, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1"]
    work = make_desk()
    bring_in(work.project, [invoice(number, gold=False) for number in range(1, 7)])
    page = logged_in(work.people["owner"])
    with fake_openai.running() as server:
        server.replies = [says(GOOD)]
        page.goto("/p/desk/prelabels/")
        page.get_by_role("link", name="Add endpoint").click()
        check(page, "endpoint-new")
        page.get_by_label("Name").fill("large")
        page.get_by_label("URL").fill(server.url)
        page.get_by_role("textbox", name="Model", exact=True).fill("fake-1")
        page.get_by_role("button", name="Add endpoint").click()
        page.get_by_role("button", name="Test").click()
        expect(page.locator("#test")).to_contain_text("Valid")
        page.get_by_role("link", name="Pre-label documents").click()
        page.get_by_label("Maximum number of documents").fill("4")
        check(page, "prelabels-new")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_text("waiting for a worker")).to_be_visible()
        server.replies = [says(GOOD), says("sorry"), error(400, "no"), says(GOOD)]
        Endpoint.objects.update(structured="free", logprobs=False, concurrency=1)
        run_prelabels(PrelabelRun.objects.get().pk)
    # The page asks for itself and finds that the run has ended.
    expect(page.locator("main").get_by_role("link", name="Label", exact=True)).to_be_visible()
    check(page, "prelabels")
    page.get_by_role("link", name="Not a JSON object").click()
    expect(page.locator("#items tbody tr")).to_have_count(1)
    page.go_back()
    expect(page.locator("#items tbody tr")).to_have_count(4)
