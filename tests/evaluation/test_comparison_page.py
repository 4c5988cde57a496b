"""The page that holds two evaluations against each other."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains, assertRedirects

from evaluation.models import EvalRun
from tests.evaluation.factories import World, broken, evaluated, pretend, right

PAGE = "/p/invoices/evaluation/compare/"


@pytest.fixture
def pair(world: World, client: Client) -> tuple[EvalRun, EvalRun]:
    client.force_login(world.annotator)  # everybody in the project reads everything
    return evaluated(world, pretend(1, spoil=0.5), tuned=False), evaluated(world, pretend(2, spoil=0.2))


def test_broken_documents_come_first(client: Client, pair: tuple[EvalRun, EvalRun]) -> None:
    page = client.get(f"{PAGE}?runs=1,2")
    result = page.context["result"]
    wanted = [*result["broken"], *result["fixed"], *result["still_wrong"], *result["still_right"]]
    assert len(wanted) == 12
    second = client.get(f"{PAGE}?runs=1,2&page=2")
    assert [case["key"] for case in [*page.context["cases"], *second.context["cases"]]] == wanted


@pytest.mark.parametrize("state", ["broken", "fixed", "still_wrong", "still_right"])
def test_each_state_is_a_filter(client: Client, pair: tuple[EvalRun, EvalRun], state: str) -> None:
    page = client.get(f"{PAGE}?runs=1,2&state={state}", headers={"HX-Request": "true"})
    assert [case["key"] for case in page.context["cases"]] == page.context["result"][state]
    assertNotContains(page, "<html")


def test_a_field_narrows_the_list_to_what_it_did(client: Client, pair: tuple[EvalRun, EvalRun]) -> None:
    page = client.get(f"{PAGE}?runs=1,2&field=vendor&state=fixed")
    [vendor] = [row for row in page.context["result"]["fields"] if row["field"] == "vendor"]
    assert vendor["fixed"], "the seed is chosen so"
    assert [case["key"] for case in page.context["cases"]] == vendor["fixed"]


def test_a_tag_narrows_the_list_to_its_slice(client: Client, pair: tuple[EvalRun, EvalRun]) -> None:
    tag = next(iter(pair[1].scores["slices"]))
    page = client.get(f"{PAGE}?runs=1,2&tag={tag}")
    assert page.context["page"].paginator.count == pair[1].scores["slices"][tag]["documents"]


@pytest.mark.parametrize("name", ["state", "field", "tag"])
def test_a_nul_in_a_filter_is_passed_over(client: Client, pair: tuple[EvalRun, EvalRun], name: str) -> None:
    page = client.get(f"{PAGE}?runs=1,2&{name}=%00")
    assert page.context["page"].paginator.count == 12


def test_differing_characters_are_marked_in_both_outputs(world: World, client: Client) -> None:
    client.force_login(world.manager)

    def wrong_vendor(row: dict[str, Any]) -> dict[str, Any]:
        return {"raw": '{"vendor":"Zzz"}'}

    evaluated(world, wrong_vendor, tuned=False)
    evaluated(world, broken)
    page = client.get(f"{PAGE}?runs=1,2")
    assertContains(page, '<mark class="diff">')
    assertContains(page, "no valid output")


def test_two_ticked_boxes_lead_to_the_same_address(client: Client, pair: tuple[EvalRun, EvalRun]) -> None:
    assertRedirects(client.get(f"{PAGE}?runs=1&runs=2"), f"{PAGE}?runs=1,2")


@pytest.mark.parametrize("query", ["", "?runs=1", "?runs=1,2,3", "?runs=1,1", "?runs=a,b", "?runs=1,-2"])
def test_anything_but_two_runs_is_answered_with_what_to_do(
    client: Client, pair: tuple[EvalRun, EvalRun], query: str
) -> None:
    assertContains(client.get(PAGE + query), "Choose two evaluations", status_code=422)


def test_an_unknown_run_is_not_found(client: Client, pair: tuple[EvalRun, EvalRun]) -> None:
    assert client.get(f"{PAGE}?runs=1,99").status_code == 404


def test_runs_without_a_common_document_say_so(world: World, client: Client) -> None:
    client.force_login(world.engineer)
    evaluated(world, right)
    evaluated(world, right, split="train")
    assertContains(client.get(f"{PAGE}?runs=1,2"), "no document in common", status_code=422)


def test_the_page_takes_a_fixed_number_of_queries(
    client: Client, pair: tuple[EvalRun, EvalRun], django_assert_max_num_queries: Any
) -> None:
    client.get(f"{PAGE}?runs=1,2")
    with django_assert_max_num_queries(9):
        client.get(f"{PAGE}?runs=1,2")
