"""Choices on the page of an evaluation: matrix, decision rate, slices by metadata; each count opens its documents."""

import itertools
import re
from html import unescape
from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains

from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import summary
from labeling.datasets import freeze
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.projects.services import create_project
from slmstudio.contract.json_text import dumps
from tests.evaluation.factories import World, evaluated

WORDS = ["kettle", "anchor", "violin", "ladder", "candle", "saddle", "mirror", "basket", "hammer", "pillow"]
QUEUES = ["billing", "technical", "sales"]


def confused(row: dict[str, Any]) -> dict[str, Any]:
    """Billing goes to sales, sales to nowhere; a reason is made up for everybody."""
    queue = {"billing": "sales", "sales": "nowhere"}.get(row["gold"]["queue"], row["gold"]["queue"])
    return {"raw": "no" if row["id"] == "t0" else dumps({"queue": queue, "reason": "Because."})}


@pytest.fixture
def routing(world: World) -> EvalRun:
    members = {world.engineer: "engineer"}
    project = create_project(
        owner=world.owner, name="Routing", slug="routing", template="ticket-routing", members=members
    )
    rows = []
    for index in range(12):
        words = " ".join(f"{WORDS[(index * 3 + step) % 10]}{index}{step}" for step in range(30))
        data = {"id": f"t{index}", "text": words, "gold": {"queue": QUEUES[index % 3]}}
        rows.append(ParsedRow(index + 1, {**data, "shop": f"S{index % 2}", "size": index % 3}))
    for part, held_out in ((rows[:10], True), (rows[10:], False)):
        result = import_rows(project=project, rows=part, source="test", as_holdout=held_out)
        assert result.rejected == 0, result.rejects
    world.project = project
    world.dataset = freeze.freeze(project=project, user=world.owner, validation_share=0)
    return evaluated(world, confused, tuned=False, user=world.owner)


def test_choices_and_slices_are_in_the_figures(routing: EvalRun) -> None:
    figures = routing.scores["classes"]["queue"]
    assert figures["matrix"] == {
        "billing": {"": 1, "sales": 3},
        "sales": {"": 3},
        "technical": {"technical": 3},
    }
    assert (figures["decided"]["k"], figures["right"]["k"], figures["right"]["n"]) == (6, 3, 10)
    assert (routing.scores["field_exact"]["k"], routing.scores["field_exact"]["n"]) == (3, 10)
    assert routing.scores["free"]["reason"] == {"n": 0, "anls": None}
    slices = routing.facts["slices"]
    assert {key: list(values) for key, values in slices.items()} == {"shop": ["S0", "S1"], "size": ["0", "1", "2"]}
    assert slices["size"]["1"]["document_exact"]["k"] == 3


def test_every_count_opens_as_many_documents(routing: EvalRun, world: World, client: Client) -> None:
    client.force_login(world.owner)
    address = routing.get_absolute_url()
    page = client.get(address)
    assertContains(page, "Classes of <code>queue</code>")
    taken = re.findall(r'href="(\?[^"]*predicted=[^"]*)#outputs">(\d+) ([\w ]+)</a>', page.text)
    assert sorted((count, name) for _, count, name in taken) == [
        ("1", "no decision"),
        ("3", "no decision"),
        ("3", "sales"),
    ]
    placed = re.findall(r'href="(\?where=[^"]*)#outputs">\w+</a></th>.*?(\d+) of (\d+)</td>', page.text)
    assert sorted(n for _, _, n in placed) == ["3", "3", "4", "5", "5"]
    for link, count in [(link, count) for link, count, _ in taken] + [(link, n) for link, _, n in placed]:
        shown = client.get(address + unescape(link))
        assertContains(shown, f'<small class="text-body-secondary tabular">{count}</small>')


def cells(page: Any) -> list[tuple[str, str]]:
    """(link, count) of the confusion matrix."""
    return re.findall(r'<a class="text-reset" href="(\?[^"]*)#outputs">(\d+)</a>', page.text)


def test_a_choice_where_gold_has_none_opens_its_documents(routing: EvalRun, world: World, client: Client) -> None:
    for name, said, error in (("t1", "sales", "extra"), ("t4", "nowhere", "format")):
        row = EvalOutput.objects.get(eval_run=routing, document__external_id=name)
        changes = {"gold": None, "output": said, "outcome": "extra", "error": error}
        row.score["fields"] = [{**field, **changes} for field in row.score["fields"]]
        row.wrong_fields, row.exact = ["queue"], False
        row.save()
    rows = EvalOutput.objects.filter(eval_run=routing)
    routing.scores = summary.summarize_outputs(routing.dataset.schema_version.compiled, rows)
    routing.save(update_fields=["scores"])
    assert routing.scores["classes"]["queue"]["matrix"][""] == {"": 1, "sales": 1}
    assert rows.confused_as("queue", "(none)", "sales").get().document.external_id == "t1"
    assert rows.confused_as("queue", "(none)", "(none)").get().document.external_id == "t4"
    client.force_login(world.owner)
    address = routing.get_absolute_url()
    found = cells(client.get(address))
    assert sorted(count for _, count in found) == ["1", "1", "1", "1", "3", "3"]
    for link, count in found:
        assertContains(
            client.get(address + unescape(link)), f'<small class="text-body-secondary tabular">{count}</small>'
        )


def test_what_is_amiss_with_the_whole_opens_its_documents(routing: EvalRun, world: World, client: Client) -> None:
    client.force_login(world.owner)
    address = routing.get_absolute_url()
    page = client.get(address)
    links = re.findall(r'href="(\?state=(\w+))#outputs">view failing</a>', page.text)
    assert [state for _, state in links] == ["no_json", "missing_required", "extra_keys"]
    for link, _ in links:
        assertContains(client.get(address + link), '<small class="text-body-secondary tabular">1</small>')
    run = evaluated(world, lambda row: {"raw": dumps({"queue": "billing", "team": "x"})}, tuned=False, user=world.owner)
    rows = EvalOutput.objects.filter(eval_run=run)
    found = {
        state: rows.in_state(state).count()
        for state in ("no_json", "missing_required", "extra_keys", "rules", "hallucinated")
    }
    assert found == {"no_json": 0, "missing_required": 0, "extra_keys": 10, "rules": 0, "hallucinated": 0}


def test_a_count_of_what_went_wrong_opens_the_documents_where_it_did(world: World, client: Client) -> None:
    client.force_login(world.engineer)
    turn = itertools.count()

    def say(row: dict[str, Any]) -> dict[str, Any]:
        return {"raw": dumps({**row["gold"], "vendor": None if next(turn) % 2 else "Nobody at all Ltd"})}

    run = evaluated(world, say)
    fields = [field for row in run.outputs.all() for field in row.score["fields"] if field["field"] == "vendor"]
    missing = sum(field["outcome"] == "missing" for field in fields)
    address = run.get_absolute_url()
    links = re.findall(r'href="(\?field=vendor[^"]*)#outputs">(\d+) ([\w ]+)</a>', client.get(address).text)
    assert 0 < missing < sum(int(number) for _, number, _ in links)
    assert ("false negative", str(missing)) in [(words, number) for _, number, words in links]
    for link, number, words in links:
        page = client.get(address + unescape(link))
        assert page.context["page"].paginator.count == int(number)
        assertContains(page, f'<span class="tag">{words}</span>')
        kept = [one for one in re.findall(r'href="(\?[^"]*)#outputs"', page.text) if "outcome=" in one]
        assert all("field=" in one for one in kept), "another count is not narrowed by this one"
    for outcome, number in (("missing", missing), ("nonsense", 0)):
        page = client.get(f"{address}?outcome={outcome}", headers={"HX-Request": "true"})
        assert page.context["page"].paginator.count == number


def test_hallucinated_and_invariant_counts_link_to_documents(world: World, client: Client) -> None:
    def invented(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "raw": dumps({**row["gold"], "vendor": "Nobody at all Ltd", "date": "2026-02-01", "due_date": "2026-01-01"})
        }

    run = evaluated(world, invented)
    rows = EvalOutput.objects.filter(eval_run=run)
    assert rows.in_state("hallucinated").count() == run.scores["hallucinated"]["k"] == 12
    assert rows.in_state("rules").count() == 12
    assert (run.scores["invariants_hold"]["k"], run.scores["invariants_hold"]["n"]) == (0, 12)
    client.force_login(world.engineer)
    assertContains(client.get(run.get_absolute_url()), "?state=hallucinated#outputs")


def test_a_filter_that_is_nonsense_finds_nothing_or_everything(routing: EvalRun, world: World, client: Client) -> None:
    client.force_login(world.owner)
    for query in (
        "predicted=x",
        "where=x",
        "where==",
        "where=shop={",
        "field=queue&gold=[&predicted=NaN",
        "gold=true&field=queue",
    ):
        assert client.get(f"{routing.get_absolute_url()}?{query}").status_code == 200
