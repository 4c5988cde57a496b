"""The pages of benchmarks: what is missing, starting one, following it, and the models side by side."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from evaluation.models import Benchmark
from labeling.models import Contract
from slmstudio.runs.models import Status
from tests.evaluation.benchmark_desk import answered, finished, started
from tests.evaluation.factories import World, broken, pretend, right

LIST, NEW, ONE = "/p/invoices/benchmark/", "/p/invoices/benchmark/new/", "/p/invoices/benchmark/1/"
HTMX = {"HX-Request": "true"}
ORDER = {"models": ["small-base"], "documents": 20, "modes": ["constrained", "free"]}


@pytest.fixture
def engineer(wide: World, client: Client) -> Client:
    client.force_login(wide.engineer)
    return client


def test_too_few_labels_say_how_many_are_missing(world: World, client: Client) -> None:
    client.force_login(world.engineer)
    for address in (LIST, NEW):
        page = client.get(address)
        assert page.context["stock"].missing == 10
        assertContains(page, "/p/invoices/label/")
        assertNotContains(page, 'name="models"')


def test_the_navigation_leads_there_by_its_key(wide: World, engineer: Client) -> None:
    assertContains(engineer.get("/p/invoices/"), f'href="{LIST}" data-go="m" title="Benchmark (g m)"')
    assertContains(engineer.get(LIST), "No benchmarks yet")


def test_the_form_tells_each_model_and_ticks_what_is_here(wide: World, engineer: Client) -> None:
    page = engineer.get(NEW)
    assertContains(page, "10 M parameters")
    assertContains(page, 'value="small-base" id="model-small-base" checked')
    assertContains(page, 'value="version-1"')
    assertContains(engineer.get(f"{NEW}?models=version-1"), 'value="version-1" id="model-version-1" checked')


def test_sending_it_starts_one_and_leads_to_its_page(wide: World, engineer: Client) -> None:
    assertRedirects(engineer.post(NEW, ORDER), ONE)
    made = Benchmark.objects.get()
    assert (made.created_by, len(made.documents), made.modes) == (wide.engineer, 20, ["constrained", "free"])
    assert [run.mode for run in made.runs.order_by("number")] == ["constrained", "free"]


def test_bad_orders_come_back_with_the_reason(wide: World, engineer: Client) -> None:
    for changes, said in (
        ({"models": []}, "Select at least one model."),
        ({"models": ["nobody"]}, "Select models from the list."),
        ({"documents": 51}, "less than or equal to 50"),
        ({"documents": 31}, "dataset v1 has 30 labeled documents outside the hold-out"),
        ({"modes": []}, "Select at least one decoding mode."),
    ):
        answer = engineer.post(NEW, {**ORDER, **changes}, headers=HTMX)
        assertContains(answer, said, status_code=422)
        assertNotContains(answer, "<html", status_code=422)
    assert not Benchmark.objects.exists()


def test_everybody_in_the_project_reads_and_those_who_run_start(wide: World, client: Client) -> None:
    answered(started(wide).runs.get(), right)
    for who, may in ((wide.engineer, True), (wide.owner, True), (wide.manager, False), (wide.annotator, False)):
        client.force_login(who)
        page = client.get(ONE)
        assert ("Fine-tune Small base 10M" in page.text) is may, who
        assert (client.get(NEW).status_code == 200) is may
        assert (client.post(f"{ONE}cancel/").status_code == 302) is may
    client.force_login(wide.stranger)
    assert client.get(ONE).status_code == 404


def test_it_polls_the_progress_and_takes_the_table_along_where_an_evaluation_moved(
    wide: World, engineer: Client
) -> None:
    made = started(wide, modes=["constrained", "free"])
    first, _ = made.runs.order_by("number")
    part = engineer.get(ONE, {"seen": "queued queued"}, headers=HTMX)
    assertContains(part, "0 of 40")
    assertContains(part, 'id="progress-bar"')
    assertNotContains(part, "<table")
    answered(first, right)
    part = engineer.get(ONE, {"seen": "queued queued"}, headers=HTMX)
    assertContains(
        part, '<section id="models" class="card card-table" aria-labelledby="model-table" hx-swap-oob="true">'
    )
    assertContains(part, 'name="seen" value="done queued"')
    page = engineer.get(ONE)
    spoken = re.findall(r'id="([^"]*)"[^>]*aria-live', page.text)
    assert spoken == ["messages", "progress-words"], "the table is not read out every two seconds"


def test_a_single_model_is_no_winner(wide: World, engineer: Client) -> None:
    answered(started(wide).runs.get(), right)
    page = engineer.get(ONE)
    assertContains(page, "Measured (single model)")
    assertContains(page, "the only model measured; 100% field accuracy")
    assertNotContains(page, "bi-check-circle-fill outcome-right")
    assertNotContains(page, "<small>recommended</small>")
    assertContains(page, "Fine-tune Small base 10M")


def test_intervals_are_those_of_documents(wide: World, engineer: Client) -> None:
    """Wilson's interval of 80 right fields of 80 begins at 95%; 20 documents prove no such thing: they prove 83.2%
    where all have as many fields, and less where some have more."""
    run = answered(started(wide).runs.get(), right)
    assert run.scores["field_exact"]["low"] > 0.95
    low = run.facts["bounds"]["field_exact"]["low"]
    assert 0.75 < low < 0.833
    shown = f"100%, 95% interval {100 * low:.1f}% to 100%"
    assertContains(engineer.get(ONE), shown)
    run.facts = {}  # as one that was measured before they were kept
    run.save()
    assertContains(engineer.get(ONE), shown)


def test_it_polls_while_it_is_live_and_can_be_cancelled(wide: World, engineer: Client) -> None:
    made = started(wide)
    page = engineer.get(ONE)
    assertContains(page, 'hx-trigger="every 2s"')
    assertContains(page, f'action="{ONE}cancel/"')
    part = engineer.get(ONE, headers=HTMX)
    assertNotContains(part, "<html")
    assertContains(engineer.get(LIST, headers=HTMX), "0 of 20")
    engineer.post(f"{ONE}cancel/")
    made.refresh_from_db()
    assert made.status == Status.CANCELLED
    assert engineer.get(ONE, headers=HTMX)["HX-Refresh"] == "true"
    assertContains(engineer.get(ONE), "Cancelled.")


def test_models_stand_side_by_side_with_the_recommendation_on_top(
    wide: World, engineer: Client, tmp_path: Path
) -> None:
    Contract.objects.update(constraints={"latency_p95_ms": 800, "hardware_price_per_hour": "3.6", "currency": "EUR"})
    wide.project.contract.refresh_from_db()
    finished(wide, tmp_path, broken, pretend(3, spoil=0.3), latency_ms=500)
    page = engineer.get(ONE)
    assertContains(page, "Larger base 20M, constrained: best field accuracy within 16 GB and 800 ms")
    assertContains(page, "significant (better on")
    assertContains(page, "/p/invoices/training/new/?base_model=larger-base&amp;dataset=1")
    for number in (1, 2, 3, 4):
        assertContains(page, f'href="/p/invoices/evaluation/{number}/"')
    for number in (1, 2, 4):
        assertContains(page, f"/p/invoices/evaluation/compare/?runs=3,{number}")
    assertContains(page, "€0.50")
    assertContains(page, "812 MB")
    assertContains(page, "<code>invoice_id</code>")
    assertContains(page, "/p/invoices/evaluation/1/?error=format#outputs")
    assertContains(page, "not used")
    assertContains(engineer.get(LIST), "best field accuracy within")


def test_exceeded_and_unknown_constraints_are_listed(wide: World, engineer: Client) -> None:
    Contract.objects.update(constraints={"latency_p95_ms": 200})
    wide.project.contract.refresh_from_db()
    answered(started(wide).runs.get(), right)
    page = engineer.get(ONE)
    assertContains(page, "Small base 10M is not within 16 GB and 200 ms, so no model is recommended.")
    assertContains(page, "No recommendation")
    assertContains(page, "the contract has no price per hour of the hardware")
    assertNotContains(page, "Fine-tune Small base 10M")


def test_one_that_failed_stands_there_with_its_reason(wide: World, engineer: Client) -> None:
    run = started(wide).runs.get()
    run.fail("The machine ran out of <memory>.")
    assertContains(engineer.get(ONE), "The machine ran out of &lt;memory&gt;.")


def test_its_evaluations_say_where_they_belong(wide: World, engineer: Client) -> None:
    answered(started(wide).runs.get(), right)
    page = engineer.get("/p/invoices/evaluation/1/")
    assertContains(page, f'in <a href="{ONE}">benchmark 1</a>, 20 documents of')
    assertNotContains(page, "Create gate report")
    assertContains(engineer.get("/p/invoices/evaluation/?split=benchmark"), "evaluation/1/")
    assertNotContains(engineer.get("/p/invoices/"), "evaluation 1, benchmark")


@pytest.mark.slow
def test_more_models_and_benchmarks_take_no_more_queries(
    wide: World, engineer: Client, tmp_path: Path, django_assert_max_num_queries: Any
) -> None:
    finished(wide, tmp_path, broken, right)
    for _ in range(4):
        answered(started(wide).runs.get(), right)
    with django_assert_max_num_queries(9):
        assertContains(engineer.get(ONE), "Larger base 20M")
    with django_assert_max_num_queries(12):
        assertContains(engineer.get(LIST), "Larger base 20M")
    with django_assert_max_num_queries(9):
        engineer.get(LIST, headers=HTMX)
