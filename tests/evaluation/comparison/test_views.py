"""The page that holds two evaluations against each other."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains

from evaluation.comparison.document_filter import LETTERS, STATES
from evaluation.models import Endpoint, EvalRun
from evaluation.regression_suite.services import pin
from labeling.models import Contract, Document
from tests.evaluation.encoders import make_encoder
from tests.evaluation.factories import World, documents_by_id, evaluated, pretend, right
from tests.shared_rows import shared_fixture

PAGE = "/p/invoices/evaluation/compare/"


@shared_fixture
def runs(world: World) -> tuple[EvalRun, EvalRun]:
    return evaluated(world, pretend(1, spoil=0.5), tuned=False), evaluated(world, pretend(2, spoil=0.2))


@pytest.fixture
def pair(world: World, runs: tuple[EvalRun, EvalRun], client: Client) -> tuple[EvalRun, EvalRun]:
    client.force_login(world.annotator)  # everybody in the project reads everything
    return runs


def test_documents_are_listed_broken_first_and_filtered(
    client: Client, pair: tuple[EvalRun, EvalRun], django_assert_max_num_queries: Any
) -> None:
    client.get(f"{PAGE}?runs=1,2")
    with django_assert_max_num_queries(13):
        page = client.get(f"{PAGE}?runs=1,2")
    cases = page.context["result"]["cases"]
    assert [case["state"] for case in page.context["cases"]] == sorted(
        (case["state"] for case in page.context["cases"]), key=list(STATES).index
    )
    second = client.get(f"{PAGE}?runs=1,2&page=2")
    assert [case["key"] for case in [*page.context["cases"], *second.context["cases"]]] == cases["keys"]
    for state in STATES:
        page = client.get(f"{PAGE}?runs=1,2&state={state}", headers={"HX-Request": "true"})
        assert [case["key"] for case in page.context["cases"]] == [
            key for key, letter in zip(cases["keys"], cases["state"], strict=True) if letter == LETTERS[state]
        ]
        assertNotContains(page, "<html")
    for name in ("state", "field", "error", "in", "tag", "slice", "gold"):
        page = client.get(f"{PAGE}?runs=1,2&{name}=%00")
        assert page.context["page"].paginator.count == 12, "a NUL is passed over"


def test_two_models_of_an_encoder_are_compared_without_tokens(world: World, client: Client) -> None:
    make_encoder(world)
    for seed in (1, 2):
        evaluated(world, pretend(seed, spoil=0.2))
    client.force_login(world.annotator)
    assertNotContains(client.get(f"{PAGE}?runs=1,2"), "Output tokens per document")


def test_a_metadata_slice_narrows_the_list(world: World, client: Client) -> None:
    client.force_login(world.engineer)
    for number, document in enumerate(Document.objects.filter(project=world.project)):
        document.metadata = {"supplier": "ACME & Sons" if number % 2 else "Bolt"}
        document.save(update_fields=["metadata"])
    evaluated(world, pretend(1, spoil=0.5), tuned=False)
    evaluated(world, pretend(2, spoil=0.2))
    page = client.get(PAGE, {"runs": "1,2", "slice": "metadata.supplier=ACME & Sons"})
    assert page.context["page"].paginator.count == 6
    assert all(case["document"].pk % 2 == page.context["cases"][0]["document"].pk % 2 for case in page.context["cases"])
    assertContains(page, "supplier: ACME &amp; Sons")


def test_anything_but_runs_is_answered_with_what_to_do(
    world: World, client: Client, pair: tuple[EvalRun, EvalRun]
) -> None:
    for query in ("", "?runs=1", "?runs=1,1", "?runs=a,b", "?runs=1,-2"):
        assertContains(client.get(PAGE + query), "Select two evaluations", status_code=422)
    assert client.get(f"{PAGE}?runs=1,99").status_code == 404
    evaluated(world, right, split="train")
    assertContains(client.get(f"{PAGE}?runs=1,3"), "no documents in common", status_code=422)


# -- what is said about the two ----------------------------------------------------------------------------------------


def test_pinned_documents_are_listed_with_broken_ones(
    world: World, client: Client, pair: tuple[EvalRun, EvalRun]
) -> None:
    assertNotContains(client.get(f"{PAGE}?runs=1,2"), "verdict-suite")
    documents = documents_by_id(world.project)
    fixed = client.get(f"{PAGE}?runs=1,2").context["result"]["fixed"]
    assert fixed, "the seed is chosen so"
    pin(project=world.project, document=documents[fixed[0]], user=world.engineer)
    assertContains(client.get(f"{PAGE}?runs=1,2"), "1 of 1 pinned document correct.")
    swapped = client.get(f"{PAGE}?runs=2,1")
    assertContains(swapped, f"1 pinned document wrong: {fixed[0]}.")
    assert swapped.context["suite"]["newly"] == [fixed[0]]


def test_production_model_is_shown_with_its_cost(world: World, client: Client, pair: tuple[EvalRun, EvalRun]) -> None:
    assert client.get(f"{PAGE}?runs=1,2").context["today"] is None
    Contract.objects.filter(project=world.project).update(
        constraints={"hardware_price_per_hour": "3.6", "currency": "EUR"}
    )
    large = evaluated(world, right, tuned=False)
    endpoint = Endpoint.objects.create(project=world.project, name="today", url="http://127.0.0.1/v1", model="large")
    rows: Any = EvalRun.objects.filter(pk=large.pk)
    rows.update(endpoint=endpoint, base_model=None, facts={**large.facts, "price_in": 2.0, "price_out": 8.0})
    page = client.get(f"{PAGE}?runs=1,2")
    assert page.context["today"] == large
    assertContains(page, "Current production model")
    cost = next(line for line in page.context["lines"] if line.title == "Cost per 1,000 documents")
    assert all(value.startswith("€") for value in cost.values)
    assert len(cost.values) == 3
    other = client.get(f"{PAGE}?runs=3,2")  # the large model itself is held against the small one
    assert other.context["today"] is None
