"""From a challenged label to re-scored evaluations, with three users; in light, dark and on a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from evaluation.models import EvalRun, LabelChallenge
from evaluation.runs import jobs as run_jobs
from labeling.models import Document
from slmstudio.contract.json_text import sha256
from tests.browser.accessibility import check
from tests.browser.conftest import Watch
from tests.evaluation.factories import World, evaluated, make_world
from tests.evaluation.gold_desk import first_id, reviewer, says_total
from tests.evaluation.label_issues.test_lookalikes import failed, relative

pytestmark = pytest.mark.slow

PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture
def world(transactional_db: None, queues: None, tmp_path: Path) -> World:
    return make_world(tmp_path / "small-base", documents=24, holdout=12)


def test_a_challenged_label_is_corrected_and_rescored(
    world: World, logged_in: Callable[[Any], Page], watch: Watch
) -> None:
    key = first_id(world)
    run = evaluated(world, says_total(world, key, "7.77"))
    document = Document.objects.get(project=world.project, external_id=key)
    engineer, rita = logged_in(world.engineer), logged_in(reviewer(world))

    engineer.goto(f"/p/invoices/evaluation/{run.number}/outputs/{document.pk}/")
    engineer.get_by_role("link", name="Challenge label").click()
    expect(engineer.get_by_label("Field", exact=True)).to_have_value("total_amount")
    engineer.get_by_label("Reason").fill("It says 7.77 at the bottom.")
    check(engineer, "gold-question")
    engineer.get_by_role("button", name="Send to adjudication").click()
    expect(engineer.get_by_text("It stays valid until a reviewer decides")).to_be_visible()
    check(engineer, "gold-questions")

    rita.goto("/p/invoices/review/?show=disputed")
    expect(rita.get_by_text("challenged by erik")).to_be_visible()
    rita.get_by_role("link", name=key).click()
    expect(rita.get_by_text("It says 7.77 at the bottom.")).to_be_visible()
    check(rita, "gold-dispute")
    rita.get_by_label("7.77").first.check()
    rita.get_by_role("button", name="Save decision").click()
    watch.allow("422 POST")  # the document does not say so, which the reviewer has to confirm
    rita.get_by_label("Confirm value").check()
    rita.get_by_role("button", name="Save decision").click()
    expect(rita.get_by_text("was adjudicated")).to_be_visible()

    engineer.reload()
    expect(engineer.get_by_text("Upheld", exact=True)).to_be_visible()
    assert LabelChallenge.objects.get().answer == "corrected"
    engineer.get_by_role("button", name="Freeze a new version with 1 correction").click()
    engineer.locator("#confirm-holdout").check()
    engineer.get_by_role("button", name="Re-score").click()
    made = EvalRun.objects.get(rescored_from=run)
    run_jobs.run_evaluation(made.pk)
    engineer.reload()
    expect(engineer.get_by_role("heading", name="Re-scored")).to_be_visible()
    expect(engineer.get_by_text("1 was a label error (100%)")).to_be_visible()
    check(engineer, "rescored")
    engineer.set_viewport_size(PHONE)
    check(engineer, "rescored-phone")
    engineer.goto("/p/invoices/evaluation/challenges/")
    check(engineer, "gold-questions-phone")


def test_lookalikes_are_queued(world: World, logged_in: Callable[[Any], Page]) -> None:
    key = failed(world).external_id
    run = evaluated(world, says_total(world, key, "7.77"), split="validation")
    for number in range(3):
        like = relative(failed(world).text, number)
        Document.objects.create(project=world.project, external_id=f"like-{number}", text=like, sha256=sha256(like))
    page = logged_in(world.engineer)
    page.goto(f"{run.get_absolute_url()}?field=total_amount")
    page.get_by_role("link", name="Queue lookalikes").click()
    expect(page.get_by_text("1 document fails: total_amount wrong")).to_be_visible()
    check(page, "lookalikes")
    page.get_by_role("button", name="Find and queue").click()
    expect(page.get_by_role("link", name="like-1")).to_be_visible()
    check(page, "lookalikes-queued")
    page.set_viewport_size(PHONE)
    check(page, "lookalikes-queued-phone")
    assert Document.objects.filter(assigned_to=world.annotator).count() == 3
