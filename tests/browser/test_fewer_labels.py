"""The pages that find wrong labels, order the queue, show silver labels and draw learning curves."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from evaluation.models import LabelChallenge
from labeling.annotation import predictions
from labeling.datasets.freeze import freeze
from labeling.models import Document, Project, Study
from labeling.studies.services import run_study
from slmstudio.access import Role
from slmstudio.contract.json_text import dumps
from tests.browser.accessibility import check
from tests.labeling.message_desk import add_messages, make_project, member

pytestmark = pytest.mark.slow


@pytest.fixture
def project(transactional_db: None, queues: None) -> Project:
    made = make_project()
    add_messages(made, 30, labeled=True, wrong=(0, 7))
    add_messages(made, 12, labeled=False, prefix="n")
    return made


def test_suspect_labels_are_found_and_challenged(project: Project, logged_in: Callable[[Any], Page]) -> None:
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
    page.get_by_label("Challenge the first").fill("1")
    page.get_by_role("button", name="Send to adjudication").click()
    expect(page.get_by_text("1 label sent to adjudication.")).to_be_visible()
    assert LabelChallenge.objects.get().document.external_id in ("m00", "m07")
    check(page, "label-challenged")


def test_the_order_of_the_queue_is_set_and_shown(project: Project, logged_in: Callable[[Any], Page]) -> None:
    page = logged_in(member(project, Role.MANAGER))
    page.goto("/p/messages/progress/")
    page.get_by_role("link", name="queue order").click()
    page.get_by_role("link", name="New queue order").click()
    check(page, "queue-order-new")
    page.get_by_label("Order of unassigned documents").select_option("combined")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    run_study(Study.objects.get().pk)
    expect(page.get_by_role("heading", name="Next documents")).to_be_visible()
    check(page, "queue-order")
    page.goto("/p/messages/label/")
    expect(page.get_by_role("link", name="place 1")).to_be_visible()


def test_silver_labels_are_shown_with_their_version(project: Project, logged_in: Callable[[Any], Page]) -> None:
    keys = Document.objects.filter(project=project, external_id__in=["n00", "n01"]).values_list("pk", flat=True)
    given = [
        predictions.PredictionInput(pk, dumps({"queue": "billing"}), {"queue": sure})
        for pk, sure in zip(keys, (0.99, 0.5), strict=True)
    ]
    version = project.schema_version
    predictions.record(project=project, schema_version=version, proposals=given, model="large", source="api")
    page = logged_in(member(project, Role.ENGINEER))
    page.goto("/p/messages/datasets/")
    page.locator("summary", has_text="Silver labels").click()
    page.get_by_label("Silver labels", exact=True).select_option("confidence")
    check(page, "silver-form")
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_role("heading", name="Silver labels")).to_be_visible()
    check(page, "silver-dataset")


def test_a_learning_curve_is_measured_and_drawn(project: Project, logged_in: Callable[[Any], Page]) -> None:
    add_messages(project, 80, labeled=True, prefix="q", wrong=(3, 9, 12, 30))
    freeze(project=project, user=None, validation_share=0.3, holdout_share=0.1)
    page = logged_in(member(project, Role.ENGINEER))
    page.goto("/p/messages/evaluation/")
    page.get_by_role("link", name="Learning curves").click()
    page.get_by_role("link", name="New learning curve").click()
    check(page, "learning-curve-new")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("waiting for a worker")).to_be_visible()
    run_study(Study.objects.get().pk)
    expect(page.get_by_role("heading", name="With 100 more labels")).to_be_visible()
    check(page, "learning-curve")
    page.set_viewport_size({"width": 390, "height": 844})
    check(page, "learning-curve-phone")
