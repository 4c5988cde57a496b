"""Choices on the page of an evaluation: matrix, decision rate, slices by metadata; each count opens its documents."""

import itertools
import re
from html import unescape
from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains

from evaluation.models import EvalRun
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
    for query in ("predicted=x", "where==", "where=shop={", "field=queue&gold=[&predicted=NaN"):
        assert client.get(f"{address}?{query}").status_code == 200, "a filter that is nonsense"


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
        kept = [query for query in re.findall(r'href="(\?[^"]*)#outputs"', page.text) if "outcome=" in query]
        assert all("field=" in query for query in kept), "another count is not narrowed by this one"
    for outcome, number in (("missing", missing), ("nonsense", 0)):
        page = client.get(f"{address}?outcome={outcome}", headers={"HX-Request": "true"})
        assert page.context["page"].paginator.count == number
