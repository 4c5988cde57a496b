"""The table of runs by keyboard, and the pages of a search."""

import pytest
from playwright.sync_api import Page, expect

from labeling.models import Study
from labeling.studies import services
from slmstudio.runs.models import Status
from tests.browser.accessibility import check
from tests.browser.conftest import Watch
from tests.browser.test_training_pages import desk as desk
from tests.browser.test_training_pages import engineer as engineer
from tests.browser.test_training_pages import run_of
from tests.labeling.desk import Desk
from tests.training.estimates.machines import SMOLLM, machine
from tests.training.search.fake_runs import end, evaluate
from training.models import BaseModel, TrainingRun
from training.search.study import SEARCH, best_trial, trials_of

pytestmark = pytest.mark.slow

PHONE, WINDOW = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def phone(page: Page, name: str) -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    check(page, name)
    page.set_viewport_size(WINDOW)  # type: ignore[arg-type]


def test_the_table_of_runs(desk: Desk, engineer: Page) -> None:
    for epochs in (3.0, 2.0, 5.0):
        run_of(desk, 8, 2, epochs=epochs)
    TrainingRun.objects.filter(number=2).update(tags=["baseline"], notes="Longer texts first.", name="steady")
    page = engineer
    page.set_viewport_size(WINDOW)  # type: ignore[arg-type]
    page.goto("/p/desk/training/")
    page.get_by_role("link", name="Epochs").click()
    expect(page.locator("#runs tbody tr a.row-link")).to_have_text(["run 3", "run 1", "steady"])
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Epochs")
    page.locator(".columns-menu summary").click()
    page.get_by_label("Best field accuracy").check()
    page.get_by_label("Notes", exact=True).check()
    page.get_by_label("Scheduler").check()
    check(page, "run-columns")
    page.get_by_role("button", name="Show columns").click()
    expect(page.get_by_role("cell", name="Longer texts first.")).to_be_visible()
    page.wait_for_load_state()

    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("[data-count]")).to_have_text("2")
    check(page, "run-table")
    phone(page, "run-table-phone")
    page.locator("#selection-tags").fill("good")
    page.get_by_role("button", name="Add tag").click()
    expect(page.locator("#runs .tag", has_text="good")).to_have_count(2)
    page.locator("#tick-3").check()
    page.get_by_role("button", name="Archive").click()
    expect(page.locator("#runs tbody tr")).to_have_count(2)
    page.wait_for_load_state()
    page.locator("#archived").check()
    expect(page.locator("#runs tbody tr")).to_have_count(1)
    page.locator("#tick-3").check()
    page.get_by_role("button", name="Restore").click()
    page.goto("/p/desk/training/?tag=baseline")
    expect(page.locator("#runs tbody tr")).to_have_count(1)


#: types into a field once the form was requested
ONCE_SENT = """([field, value]) => document.addEventListener("htmx:beforeSend", () => {
    document.querySelector(field).value = value;
}, { once: true })"""


def searched(desk: Desk) -> Study:
    """A search with nine trials: complete, pruned, failed, and one that runs."""
    spec = {"base_model": BaseModel.objects.get().slug, "hours": 2.0, "trials": 12, "method": ["lora", "full"]}
    search = services.start(project=desk.project, user=desk.people["engineer"], kind=SEARCH, spec=spec)
    for number in range(1, 9):
        run = TrainingRun.objects.get(number=number)
        rate = search.trials[number - 1]["parameters"]["learning_rate"]
        value = 0.5 + 0.1 * (number % 4) + 40 * min(rate, 2e-3 - min(rate, 2e-3))
        evaluate(run, value / 2)
        services.advance(search.pk)
        search.refresh_from_db()
        if number == 5:
            end(run, Status.FAILED, error="The disk is full. Free some space.")
        elif search.trials[number - 1]["prune_requested"]:
            end(run, Status.CANCELLED)
        else:
            evaluate(run, value * 0.8, value * 0.9, value, total=50)
            end(run)
        services.advance(search.pk)
        search.refresh_from_db()
    return search


def test_a_search(desk: Desk, engineer: Page) -> None:
    best = best_trial(trials_of(searched(desk))[0])
    assert best is not None
    page = engineer
    page.set_viewport_size(WINDOW)  # type: ignore[arg-type]
    page.goto("/p/desk/studies/search/1/")
    expect(page.locator("svg.parallel polyline")).to_have_count(7)
    check(page, "search")
    phone(page, "search-phone")
    page.get_by_role("link", name="Field accuracy").click()
    expect(page.locator("tbody tr").first).to_contain_text("Best")
    page.get_by_role("link", name="Use these values", exact=True).first.click()
    expect(page.locator("[name=learning_rate]")).to_have_value(f"{best.parameters['learning_rate']:g}")
    page.goto("/p/desk/studies/")
    check(page, "studies")
    phone(page, "studies-phone")
    page.goto("/p/desk/studies/search/new/")
    check(page, "search-new")
    phone(page, "search-new-phone")
    page.goto("/p/desk/studies/search/1/")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".page-head .badge")).to_contain_text("Cancelled")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".page-head .badge")).to_contain_text("Running")


def test_values_to_try_follow_the_base_model(
    desk: Desk, engineer: Page, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slmstudio.workers.live_workers.hardware_of", lambda queue: machine(16))
    small = BaseModel.objects.get()
    BaseModel.objects.update(shape=SMOLLM, context=8192)
    BaseModel.objects.create(
        slug="large", name="Large", source=small.source, location="large", parameters=9_000_000_000, context=2048
    )
    page = engineer
    page.goto("/p/desk/studies/search/new/")
    page.get_by_label("Base model").select_option(small.slug)
    full, lora = page.get_by_label("Full fine-tuning"), page.get_by_label("LoRA adapter")
    expect(full).to_be_checked()
    page.get_by_label("Batch sizes").fill("2, 4")
    page.get_by_label("Base model").select_option("large")
    expect(lora).to_be_checked()
    expect(full).not_to_be_checked()
    expect(page.get_by_label("Batch sizes")).to_have_value("2, 4")
    page.evaluate(ONCE_SENT, ["[name=batch]", "8"])  # typed while the response is on its way
    page.get_by_label("Base model").select_option(small.slug)
    expect(full).to_be_checked()
    expect(page.get_by_label("Batch sizes")).to_have_value("8")
    check(page, "search-follows")
    watch.allow("422 POST /p/desk/studies/search/new/")
    page.get_by_label("Budget (hours)").fill("0")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert").first).to_be_visible()
    assert not Study.objects.exists()
