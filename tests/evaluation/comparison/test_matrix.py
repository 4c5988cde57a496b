"""Three to eight models on the same documents, every pair held against each other."""

from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains
from scipy.stats import binomtest

from evaluation.comparison.matrix import build_matrix, matrix, unbeaten
from evaluation.comparison.services import get_or_create_comparison
from evaluation.models import EvalRun
from labeling.models import DatasetVersion
from slmstudio.contract.json_text import dumps, loads
from slmstudio.errors import Refused
from tests.evaluation.comparison.test_services import freeze_again, freeze_with_iban, with_iban
from tests.evaluation.factories import World, evaluated, pretend, right
from tests.shared_rows import shared_fixture

PAGE = "/p/invoices/evaluation/compare/"


def documents(patterns: dict[str, int]) -> dict[int, str]:
    """A pattern for each document, from how many documents have it."""
    return dict(enumerate(pattern for pattern, count in patterns.items() for _ in range(count)))


def test_families_count_once_in_tests_and_intervals() -> None:
    rows = documents({"01": 8, "11": 32})
    alone, together = matrix(rows, 2), matrix(rows, 2, {key: key // 8 for key in rows})
    assert together.pairs[0, 1].fixed == alone.pairs[0, 1].fixed == 8
    assert alone.pairs[0, 1].p_value < 0.01 < 0.9 < together.pairs[0, 1].p_value
    assert together.right[0]["low"] < alone.right[0]["low"]


def test_rates_and_pairs_follow_from_the_patterns() -> None:
    table = matrix(documents({"111": 10, "011": 20, "001": 5, "100": 5}), 3)
    assert table.n == 40
    assert [value["k"] for value in table.right] == [15, 30, 35]
    assert (table.pairs[0, 1].fixed, table.pairs[0, 1].broken) == (20, 5)
    assert (table.pairs[1, 0].fixed, table.pairs[1, 0].broken) == (5, 20)
    assert (table.pairs[1, 2].fixed, table.pairs[1, 2].broken) == (5, 0)
    assert table.pairs[0, 1].p_value == pytest.approx(binomtest(5, 25).pvalue)
    smallest = min(pair.p_value for pair in table.pairs.values())
    assert min(pair.p_adjusted for pair in table.pairs.values()) == pytest.approx(3 * smallest), "over all pairs"
    with pytest.raises(ValueError, match="one character for each run"):
        matrix(documents({"01": 3}), 3)


def test_the_best_are_those_that_none_is_proven_to_beat() -> None:
    assert unbeaten(matrix(documents({"011": 30, "111": 10, "010": 1, "001": 2}), 3)) == [1, 2]
    assert unbeaten(matrix(documents({"000": 5}), 3)) == [0, 1, 2]
    assert matrix(documents({"000": 5}), 3).pairs[0, 1].reading == "same"
    empty = matrix(documents({}), 3)
    assert (empty.n, unbeaten(empty)) == (0, [])
    assert {pair.reading for pair in empty.pairs.values()} == {"unjudged"}
    assert [value["rate"] for value in empty.right] == [None] * 3


# -- of stored runs ----------------------------------------------------------------------------------------------------


@shared_fixture
def runs(world: World) -> list[EvalRun]:
    return [
        evaluated(world, pretend(1, spoil=0.6), tuned=False),
        evaluated(world, pretend(2, spoil=0.1)),
        evaluated(world, right),
    ]


@pytest.fixture
def three(world: World, runs: list[EvalRun], client: Client) -> list[EvalRun]:
    client.force_login(world.annotator)
    return runs


def test_every_pair_is_what_its_own_comparison_says(world: World, three: list[EvalRun]) -> None:
    table = build_matrix(project=world.project, runs=[three[2], three[0], three[1]])  # in the order that is asked for
    for (a, b), pair in table.pairwise.pairs.items():
        result = get_or_create_comparison(a=table.runs[a], b=table.runs[b]).result
        assert (pair.fixed, pair.broken) == (len(result["fixed"]), len(result["broken"]))
    assert [value["k"] for value in table.pairwise.right] == [run.scores["document_exact"]["k"] for run in table.runs]
    three[1].outputs.filter(pk=three[1].outputs.earliest("document_id").pk).delete()
    fewer = build_matrix(project=world.project, runs=three)
    assert (fewer.pairwise.n, len(fewer.notes)) == (11, 1), "documents of all runs"


def test_documents_with_several_golds_count_in_no_pair(world: World, three: list[EvalRun], client: Client) -> None:
    later = evaluated(world, right, dataset=DatasetVersion.objects.get(pk=freeze_again(world)))
    for row in later.outputs.all():
        row.gold = {**row.gold, "vendor": "Somebody else"}
        row.save(update_fields=["gold"])
    page = client.get(f"{PAGE}?runs=1,2,3,4")
    table = page.context["table"]
    assert (table.documents, table.pairwise.n, table.best) == (12, 0, [])
    [note] = table.notes
    assert note
    assertContains(page, "no verdict", count=12)
    assertContains(page, "?runs=1,2", msg_prefix="a pair may well be judged by itself")
    assertContains(client.get(f"{PAGE}?runs=1,4"), "No verdict: no document has the same gold in both runs.")
    exported = loads(client.get(f"{PAGE}comparison.json?runs=1,2,3,4").content.decode())
    assert (exported["documents"], exported["judged"], exported["best"]) == (12, 0, [])
    assert {row["reading"] for row in exported["pairs"]} == {"unjudged"}
    text = client.get(f"{PAGE}comparison.md?runs=1,2,3,4").content.decode()
    assert "| #1 | #4 | 0 | 0 | – | no verdict |" in text
    assert "No verdict on which is best." in text


def test_under_several_schemas_a_pair_is_still_what_its_own_comparison_says(world: World, three: list[EvalRun]) -> None:
    guess = pretend(3, spoil=0.3, invalid=0.0)

    def with_more(row: dict[str, Any]) -> dict[str, Any]:
        return {"raw": dumps({**loads(guess(row)["raw"]), "iban": "GB00"})}

    later = freeze_with_iban(world)
    runs = [*three, evaluated(world, with_more, dataset=later), evaluated(world, with_iban, dataset=later)]
    odd = runs[4].outputs.earliest("document_id")  # a name that an open schema lets pass, and that no gold has
    assert (odd.valid, odd.wrong_fields) == (True, ["iban"])
    odd.score = {**odd.score, "no_extra_keys": False}
    odd.save(update_fields=["score"])
    table = build_matrix(project=world.project, runs=runs)
    for (a, b), pair in table.pairwise.pairs.items():
        if {a, b} == {3, 4}:
            continue  # by themselves these two are held to the field that the others lack
        result = get_or_create_comparison(a=runs[a], b=runs[b]).result
        assert (pair.fixed, pair.broken) == (len(result["fixed"]), len(result["broken"])), (a, b)
    assert (table.pairwise.pairs[2, 4].fixed, table.pairwise.pairs[2, 4].broken) == (0, 1)


def test_runs_that_have_nothing_in_common_are_refused(
    world: World, three: list[EvalRun], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = evaluated(world, right, split="train")
    for runs, words in (
        ([three[0], three[1], elsewhere], "no documents in common"),
        (three[:2], "3 to 8"),
        ([three[0], three[1], three[0]], "only different"),
    ):
        with pytest.raises(Refused, match=words):
            build_matrix(project=world.project, runs=runs)
    page = client.get(f"{PAGE}?runs=1,2,3,4,5,6,7,8,9")
    assertContains(page, "3 to 8 evaluations", status_code=422)
    monkeypatch.setattr("evaluation.comparison.matrix.shared_fields", lambda runs: frozenset())
    with pytest.raises(Refused, match="no fields in common"):
        build_matrix(project=world.project, runs=three)
