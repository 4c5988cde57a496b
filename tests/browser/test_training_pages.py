"""Training pages: curves of a long run, overlays, the form with its estimate, the table of runs, searches."""

import re
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from labeling.datasets.freeze import freeze
from labeling.datasets.queries import rows
from labeling.models import Study
from labeling.studies import services
from slmstudio.runs.models import Status
from slmstudio.workers.hardware import Hardware
from tests.browser.accessibility import check
from tests.browser.conftest import As
from tests.labeling.desk import Desk, bring_in, invoice, make_desk
from tests.training.search.fake_runs import end, evaluate
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel, LengthReport, TrainingEvent, TrainingRun
from training.runs.services import start_training
from training.search.study import SEARCH, best_trial, trials_of

pytestmark = pytest.mark.slow

STEPS, LOOKS = 2000, 100  # more points than are drawn


@pytest.fixture
def desk(transactional_db: None, tiny_base_model: BaseModel, queues: None, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A project with a frozen dataset whose lengths are known, and a machine."""
    desk = make_desk()
    bring_in(desk.project, [invoice(n) for n in range(20)])
    dataset = freeze(project=desk.project, user=desk.people["engineer"], validation_share=0.2)
    tiny_base_model.shape = {
        "layers": 30, "hidden": 576, "intermediate": 1536, "heads": 9, "kv_heads": 3, "head_dim": 64,
        "vocabulary": 49152, "tied": True, "parameters": 134_515_008, "context": 8192, "window": None,
    }  # fmt: skip
    tiny_base_model.save()
    lengths = [[row["id"], row["split"], 300, 60] for row in rows(dataset)]
    LengthReport.objects.create(
        dataset=dataset, base_model=tiny_base_model, status=Status.DONE, lengths=lengths, longest=360,
        model_sha256=tiny_base_model.sha256,
    )  # fmt: skip
    monkeypatch.setattr("slmstudio.workers.live_workers.hardware_of", lambda queue: box(16 * 2**30))
    return desk


def box(memory: int) -> Hardware:
    return Hardware("box", "a processor", 2, memory, memory, (), bf16=False)


@pytest.fixture
def engineer(logged_in: As, desk: Desk) -> Page:
    return logged_in(desk.people["engineer"])


def run_of(desk: Desk, steps: int, looks: int, **changes: Any) -> TrainingRun:
    """A run with this many points, as a worker would have left them."""
    run = start_training(
        project=desk.project, user=desk.people["engineer"], dataset=desk.project.datasets.get(),
        base_model=BaseModel.objects.get(), hyperparameters=replace(Hyperparameters(), **changes),
    )  # fmt: skip
    began, events = timezone.now() - timedelta(hours=1), []
    every = steps // looks
    for step in range(1, steps + 1):
        loss: float | None = 4 / (1 + step / 200) + (step % 7) / 50
        shared = {"run": run, "step": step, "created_at": began + timedelta(seconds=step)}
        values = {
            "loss": None if 900 < step < 950 else loss, "epoch": step / 500, "learning_rate": 1e-3 * (1 - step / steps),
            "grad_norm": 1 + step % 5 / 5, "tokens_per_second": 180 + step % 9, "memory_bytes": 10**9 + step * 10**5,
            "tokens": step * 1500,
        }  # fmt: skip
        events.append(TrainingEvent(kind="metrics", data=values, **shared))
        if step % every == 0:
            date = "correct" if step > steps / 2 else "wrong"
            outcomes = {"vendor": "correct", "date": date, "total_amount": "missing"}
            sample = {"id": "x", "raw": "{}", "valid": True, "correct": 1, "fields": 3, "outcomes": outcomes}
            events.append(TrainingEvent(kind="validation", data={"loss": loss, "epoch": step / 500}, **shared))
            data = {"field_exact": 0.5, "schema_valid": 1.0, "epoch": step / 500, "rows": [sample] * 50}
            events.append(TrainingEvent(kind="samples", data=data, **shared))
            kept = {"path": "state", "bytes": 10**6, "sha256": "a" * 64}
            events.append(TrainingEvent(kind="checkpoint", data=kept, **shared))
    for second in range(0, steps, 20):
        usage = {
            "seconds": float(second), "cpu": 1.7, "machine_cpu": 1.9, "cores": 2, "memory_bytes": 10**9,
            "machine_memory_bytes": 6 * 10**9, "machine_memory_total": 16 * 10**9,
        }  # fmt: skip
        moment = began + timedelta(seconds=second)
        point = TrainingEvent(run=run, kind="system", key=str(second), step=1 + second, created_at=moment, data=usage)
        events.append(point)
    TrainingEvent.objects.bulk_create(events)
    ended = {"status": Status.DONE, "progress_done": steps, "progress_total": steps, "attempts": 1}
    TrainingRun.objects.filter(pk=run.pk).update(**ended, started_at=began, finished_at=timezone.now())
    return run


def test_curves_of_a_run_and_an_overlay(desk: Desk, engineer: Page) -> None:
    run_of(desk, STEPS, LOOKS, early_stopping=3)
    run_of(desk, 40, 4, learning_rate=3e-4)
    page = engineer
    began = time.monotonic()
    page.goto("/p/desk/training/1/")
    expect(page.locator(".curves canvas")).to_have_count(6)  # two of the system: the machine has no GPU
    expect(page.locator("[data-chart=gpu]")).to_be_hidden()
    assert time.monotonic() - began < 30, "the curves of 2,000 points and 100 looks take too long"
    redraw = """() => { const began = performance.now(); document.querySelector("[data-smooth]").click();
        document.querySelector("canvas").getBoundingClientRect(); return performance.now() - began }"""
    redrawn = min(page.evaluate(redraw) for _ in range(3))  # an odd number: each toggles it
    assert redrawn < 1500, redrawn
    fields = page.locator("[data-chart=fields]")
    expect(fields.locator(".chart-key")).to_have_text(
        [re.compile("^date 100%"), re.compile("^vendor"), re.compile("^total")]
    )
    fields.get_by_role("button", name="date").click()
    expect(fields.get_by_role("button", name="date")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("s")
    expect(page.locator("[data-smooth]")).not_to_be_checked()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Toggle smoothing")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Memory").click()
    expect(page.locator("[data-chart=second] .chart-key b")).to_have_text("1.2 GB")
    page.locator("#against-run").select_option("2")
    expect(page.locator("#against")).to_contain_text("0.0003")
    check(page, "run")

    page.get_by_role("link", name="Compare curves").click()
    page.wait_for_url("**/overlay/?runs=1,2")
    expect(page.locator(".curves canvas")).to_have_count(7)
    expect(page.locator("#finals tbody tr")).to_have_count(2)
    page.locator("[data-across]").select_option("tokens")
    expect(page.locator(".curves canvas")).to_have_count(7)  # looks and samples find their tokens among the points
    page.locator("[data-across]").select_option("time")
    page.get_by_role("button", name="2", exact=True).click()
    expect(page.locator("[data-chart=loss] .chart-key")).to_have_count(1)
    page.keyboard.press("2")
    expect(page.locator("[data-chart=loss] .chart-key")).to_have_count(2)
    check(page, "overlay")


def test_the_form_follows_the_recommended_method(desk: Desk, engineer: Page) -> None:
    page = engineer
    LengthReport.objects.update(status=Status.RUNNING)
    page.goto("/p/desk/training/new/")
    checked, rate = page.locator("[name=method]:checked"), page.locator("[name=learning_rate]")
    expect(checked).to_have_value("lora")
    LengthReport.objects.update(status=Status.DONE)  # they arrive while the form is open
    expect(checked).to_have_value("full")
    expect(rate).to_have_value("0.0003")
    expect(page.locator("#estimate")).to_contain_text("It fits.")
    page.locator("[name=method][value=lora]").check()
    expect(rate).to_have_value("0.001")
    expect(page.locator("[name=proposed]")).to_have_value("")
    page.get_by_role("button", name="Use full fine-tuning").click()
    expect(rate).to_have_value("0.0003")


def test_the_form_of_an_encoder_has_its_preset_and_heads(
    desk: Desk, engineer: Page, tiny_encoder_model: BaseModel
) -> None:
    dataset, page = desk.project.datasets.get(), engineer
    LengthReport.objects.create(
        dataset=dataset, base_model=tiny_encoder_model, status=Status.DONE, longest=200,
        lengths=[[row["id"], row["split"], 200, 0] for row in rows(dataset)], model_sha256=tiny_encoder_model.sha256,
    )  # fmt: skip
    page.goto("/p/desk/training/new/")
    page.locator("#id_base_model").select_option("tiny-encoder")
    expect(page.locator("[name=learning_rate]")).to_have_value("0.0001")
    expect(page.locator("[name=max_length]")).to_have_value("256")
    expect(page.locator("[name=method][value=qlora]")).to_be_disabled()
    expect(page.locator("#estimate")).to_contain_text("It fits.")
    page.get_by_label("vendor", exact=True).check()
    check(page, "form of an encoder")
    page.get_by_role("button", name="Start run").click()
    page.wait_for_url("**/training/1/")
    expect(page.locator("#heads tr", has_text="vendor")).to_contain_text("None: left out")
    check(page, "run of an encoder")
    page.goto("/p/desk/training/new/?base_model=tiny-encoder")
    page.locator("#id_base_model").select_option("tiny-random")
    expect(page.locator("#heads-title")).to_be_hidden()
    expect(page.locator("[name=learning_rate]")).to_have_value("0.0003")


def test_the_form_shows_an_estimate(desk: Desk, engineer: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    run_of(desk, 8, 2)
    # room for two documents at once, which is what the form proposes, and not for three
    monkeypatch.setattr("slmstudio.workers.live_workers.hardware_of", lambda queue: box(3_300_000_000))
    page = engineer
    page.goto("/p/desk/training/new/")
    expect(page.locator("#estimate")).to_contain_text("It fits.")
    page.locator("details.folded summary").click()
    page.locator("[name=device_batch]").fill("128")
    page.locator("[name=effective_batch]").fill("128")
    expect(page.locator("#estimate")).to_contain_text("Does not fit.")
    page.locator("[data-apply]").first.click()
    expect(page.locator("#estimate")).to_contain_text("It fits.")
    check(page, "new-run")
    rate = page.locator("[name=learning_rate]").input_value()
    page.evaluate(
        """() => document.addEventListener("htmx:beforeOnLoad", () => {
          document.querySelector("#new-run [name=name]").value = "typed while the response came";
        }, { once: true })"""
    )
    page.locator("[name=method][value=full]").check()
    expect(page.locator("[name=learning_rate]")).not_to_have_value(rate)
    expect(page.locator("#new-run [name=name]")).to_have_value("typed while the response came")
    expect(page.locator("[name=method][value=full]")).to_be_checked()


def test_the_table_of_runs(desk: Desk, engineer: Page) -> None:
    for epochs in (3.0, 2.0, 5.0):
        run_of(desk, 8, 2, epochs=epochs)
    TrainingRun.objects.filter(number=2).update(
        notes="Longer texts first.", name="steady", status=Status.RUNNING, heartbeat_at=timezone.now()
    )
    page = engineer
    page.goto("/p/desk/training/")
    page.get_by_role("link", name="Epochs").click()
    expect(page.locator("#runs tbody tr a.row-link")).to_have_text(["run 3", "run 1", "steady"])
    page.locator(".columns-menu summary").click()
    page.get_by_label("Notes", exact=True).check()
    page.get_by_role("button", name="Show columns").click()
    expect(page.get_by_role("cell", name="Longer texts first.")).to_be_visible()
    page.wait_for_load_state()
    for key in "jxjx":
        page.keyboard.press(key)
    expect(page.locator("[data-count]")).to_have_text("2")
    with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
        pass  # the list refreshes itself, and the ticks stay
    expect(page.locator("[data-count]")).to_have_text("2")
    check(page, "run-table")


def searched(desk: Desk) -> Study:
    """A search with nine trials: complete, pruned, failed, and one that runs."""
    spec = {"base_model": BaseModel.objects.get().slug, "hours": 2.0, "trials": 12, "method": ["lora", "full"]}
    search = services.start(project=desk.project, user=desk.people["engineer"], kind=SEARCH, spec=spec)
    for number in range(1, 9):
        run = TrainingRun.objects.get(number=number)
        value = 0.5 + 0.05 * number
        evaluate(run, value / 2)
        services.advance(search.pk)
        search.refresh_from_db()
        if number == 5:
            end(run, Status.FAILED, error="The disk is full. Free some space.")
        elif search.trials[number - 1]["prune_requested"]:
            end(run, Status.CANCELLED)
        else:
            evaluate(run, value * 0.8, value, total=50)
            end(run)
        services.advance(search.pk)
        search.refresh_from_db()
    return search


def test_a_search(desk: Desk, engineer: Page) -> None:
    best = best_trial(trials_of(searched(desk))[0])
    assert best is not None
    page = engineer
    page.goto("/p/desk/studies/search/1/")
    expect(page.locator("svg.parallel polyline")).to_have_count(7)
    page.get_by_role("link", name="Field accuracy").click()
    expect(page.locator("tbody tr").first).to_contain_text("Best")
    check(page, "search")
    page.get_by_role("link", name="Use these values", exact=True).first.click()
    expect(page.locator("[name=learning_rate]")).to_have_value(f"{best.parameters['learning_rate']:g}")
    page.goto("/p/desk/studies/search/new/")
    check(page, "search-new")
