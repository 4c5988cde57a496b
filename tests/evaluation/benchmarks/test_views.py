"""The pages of benchmarks: what is missing, starting one, following it, and the models side by side."""

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from evaluation.models import Benchmark
from slmstudio.runs.models import Status
from tests.evaluation.benchmark_desk import started
from tests.evaluation.factories import World
from training.models import BaseModel, ModelDownload

LIST, NEW, ONE = "/p/invoices/benchmark/", "/p/invoices/benchmark/new/", "/p/invoices/benchmark/1/"
HTMX = {"HX-Request": "true"}
ORDER = {"models": ["small-base"], "documents": 20, "modes": ["constrained", "free"]}


@pytest.fixture
def engineer(wide: World, client: Client) -> Client:
    client.force_login(wide.engineer)
    return client


def test_sending_it_starts_one_and_leads_to_its_page(wide: World, engineer: Client) -> None:
    assertRedirects(engineer.post(NEW, ORDER), ONE)
    made = Benchmark.objects.get()
    assert (made.created_by, len(made.documents), made.modes) == (wide.engineer, 20, ["constrained", "free"])
    assert [run.mode for run in made.runs.order_by("number")] == ["constrained", "free"]


def test_a_base_model_that_could_not_be_prepared_is_not_offered(wide: World, engineer: Client) -> None:
    broken = BaseModel.objects.create(slug="broken", name="Broken", source="folder", location="/m/broken")
    assert "broken" in engineer.get(NEW).context["form"].selected
    ModelDownload.objects.create(base_model=broken, status=Status.FAILED, error="No language model.")
    form = engineer.get(NEW).context["form"]
    assert "broken" not in {*form.by_key, *form.selected}


def test_bad_orders_come_back_with_the_reason(wide: World, engineer: Client) -> None:
    for changes, said in (
        ({"models": []}, "Select at least one model."),
        ({"documents": 31}, "dataset v1 has 30 labeled documents outside the hold-out"),
        ({"modes": []}, "Select at least one decoding mode."),
    ):
        answer = engineer.post(NEW, {**ORDER, **changes}, headers=HTMX)
        assertContains(answer, said, status_code=422)
        assertNotContains(answer, "<html", status_code=422)
    assert not Benchmark.objects.exists()


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
