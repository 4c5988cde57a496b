"""A comparison as JSON and as Markdown."""

import json

import pytest
from django.test import Client

from evaluation.comparison.report import comparison_markdown, report
from evaluation.comparison.services import get_or_create_comparison
from evaluation.models import EvalRun
from slmstudio.contract.json_text import loads
from tests.evaluation.factories import World, evaluated, pretend, right
from tests.shared_rows import shared_fixture

JSON, MARKDOWN = "/p/invoices/evaluation/compare/comparison.json", "/p/invoices/evaluation/compare/comparison.md"


@shared_fixture
def runs(world: World) -> tuple[EvalRun, EvalRun]:
    return evaluated(world, pretend(1, spoil=0.5, invalid=0.2), tuned=False), evaluated(world, pretend(2, spoil=0.2))


@pytest.fixture
def pair(world: World, runs: tuple[EvalRun, EvalRun], client: Client) -> tuple[EvalRun, EvalRun]:
    client.force_login(world.annotator)
    return runs


def test_the_json_says_what_became_of_every_document(client: Client, pair: tuple[EvalRun, EvalRun]) -> None:
    answer = client.get(f"{JSON}?runs=1,2")
    exported = json.loads(answer.content)

    assert answer["Content-Disposition"] == 'attachment; filename="invoices-comparison-1-2.json"'
    assert (exported["project"], exported["a"]["number"], exported["b"]["number"], exported["documents"]) == (
        "invoices",
        1,
        2,
        12,
    )
    assert len(exported["cases"]) == 12
    rows = {row.document.external_id: row for row in pair[0].outputs.select_related("document")}
    for case in exported["cases"]:
        assert (case["state"] in ("broken", "still_right")) is rows[case["id"]].exact
        wrong = {name for name, state in case["fields"].items() if state in ("fixed", "still_wrong")}
        assert wrong == set(rows[case["id"]].wrong_fields)
    counted = {state: sum(case["state"] == state for case in exported["cases"]) for state in exported["counts"]}
    assert counted == exported["counts"]


def test_hostile_names_stay_names(pair: tuple[EvalRun, EvalRun], world: World) -> None:
    hostile = report(
        project=world.project, comparison=get_or_create_comparison(a=pair[1], b=pair[0]), a=pair[1], b=pair[0]
    )
    hostile["b"] = {**hostile["b"], "model": "<script>alert(1)</script> | [x](javascript:1)\n# head"}
    hostile["cases"][0] = {"id": "a|b\n- c <img>", "state": "broken", "fields": {"x`|y": "broken"}, "tags": []}
    text = comparison_markdown(hostile)

    assert "<script>" not in text
    assert "<img>" not in text
    assert "\n# head" not in text
    assert r"a\|b - c \<img\>" in text
    assert r"`x'\|y`" in text


def test_several_runs_are_exported_too(world: World, client: Client, pair: tuple[EvalRun, EvalRun]) -> None:
    evaluated(world, right)
    exported = loads(client.get(f"{JSON}?runs=1,2,3").content.decode())
    assert [(row["a"], row["b"]) for row in exported["pairs"]] == [(1, 2), (1, 3), (2, 3)]
    text = client.get(f"{MARKDOWN}?runs=1,2,3").content.decode()
    assert text.startswith("# 3 evaluations of invoices")
    assert "| #1 | #3 |" in text
    for address in (JSON, MARKDOWN):
        answer = client.get(f"{address}?runs=1,1")
        assert (answer.status_code, answer["Content-Type"]) == (422, "text/plain; charset=utf-8")
        assert client.get(f"{address}?runs=1,99").status_code == 404
