"""The pages of benchmarks: what is missing, starting one, following it, and the models side by side."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from evaluation.models import Benchmark
from slmstudio.runs.models import Status
from tests.evaluation.benchmark_desk import answered, finished, started
from tests.evaluation.factories import World, broken, right

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
