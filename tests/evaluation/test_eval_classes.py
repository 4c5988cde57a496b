"""Choices on the page of an evaluation: matrix, decision rate, slices by metadata; each count opens its documents."""

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client
from pytest_django.asserts import assertContains, assertNotContains

from evaluation.models import EvalOutput, EvalRun
from labeling.rows import ParsedRow
from labeling.services import freezing
from labeling.services.importing import import_rows
from labeling.services.projects import create_project
from slmstudio.contract.jsontext import dumps
from tests.evaluation.factories import World, evaluated, right

WORDS = ["kettle", "anchor", "violin", "ladder", "candle", "saddle", "mirror", "basket", "hammer", "pillow"]
QUEUES = ["billing", "technical", "sales"]


def confused(row: dict[str, Any]) -> dict[str, Any]:
    """Billing goes to sales, sales to nowhere; a reason is made up for everybody."""
    queue = {"billing": "sales", "sales": "nowhere"}.get(row["gold"]["queue"], row["gold"]["queue"])
    return {"raw": "no" if row["id"] == "t0" else dumps({"queue": queue, "reason": "Because."})}


@pytest.fixture
def routing(world: World) -> EvalRun:
    project = create_project(owner=world.owner, name="Routing", slug="routing", template="ticket-routing")
    rows = []
    for index in range(12):
        words = " ".join(f"{WORDS[(index * 3 + step) % 10]}{index}{step}" for step in range(30))
        data = {"id": f"t{index}", "text": words, "gold": {"queue": QUEUES[index % 3]}}
        rows.append(ParsedRow(index + 1, {**data, "shop": f"S{index % 2}", "size": index % 3}))
    for part, held_out in ((rows[:10], True), (rows[10:], False)):
        result = import_rows(project=project, rows=part, source="test", as_holdout=held_out)
        assert result.rejected == 0, result.rejects
    world.project = project
    world.dataset = freezing.freeze(project=project, user=world.owner, validation_share=0)
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
    assertContains(page, "Choices in <code>queue</code>")
    taken = re.findall(r'href="(\?[^"]*said=[^"]*)#outputs">(\d+) ([\w ]+)</a>', page.text)
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


def test_what_is_amiss_with_the_whole_opens_its_documents(routing: EvalRun, world: World, client: Client) -> None:
    client.force_login(world.owner)
    address = routing.get_absolute_url()
    page = client.get(address)
    links = re.findall(r'href="(\?state=(\w+))#outputs">the others?</a>', page.text)
    assert [state for _, state in links] == ["no_json", "lacks", "more"]
    for link, _ in links:
        assertContains(client.get(address + link), '<small class="text-body-secondary tabular">1</small>')
    run = evaluated(world, lambda row: {"raw": dumps({"queue": "billing", "team": "x"})}, tuned=False, user=world.owner)
    outputs = EvalOutput.objects.filter(eval_run=run)
    found = {state: outputs.in_state(state).count() for state in ("no_json", "lacks", "more", "rules", "made_up")}
    assert found == {"no_json": 0, "lacks": 0, "more": 10, "rules": 0, "made_up": 0}


def test_what_is_made_up_and_what_breaks_a_rule_opens_its_documents(world: World, client: Client) -> None:
    def invented(row: dict[str, Any]) -> dict[str, Any]:
        return {
            "raw": dumps({**row["gold"], "vendor": "Nobody at all Ltd", "date": "2026-02-01", "due_date": "2026-01-01"})
        }

    run = evaluated(world, invented)
    outputs = EvalOutput.objects.filter(eval_run=run)
    assert outputs.in_state("made_up").count() == run.scores["hallucinated"]["k"] == 12
    assert outputs.in_state("rules").count() == 12
    assert (run.scores["invariants_hold"]["k"], run.scores["invariants_hold"]["n"]) == (0, 12)
    client.force_login(world.engineer)
    assertContains(client.get(run.get_absolute_url()), "?state=made_up#outputs")


def test_invoices_have_no_choices_to_show(world: World, client: Client) -> None:
    run = evaluated(world, right)
    client.force_login(world.engineer)
    page = client.get(run.get_absolute_url())
    assertNotContains(page, "Choices in")
    assertContains(page, "Beside the headline")
    assertContains(page, "CORD, as Donut has it")


def test_a_filter_that_is_nonsense_finds_nothing_or_everything(routing: EvalRun, world: World, client: Client) -> None:
    client.force_login(world.owner)
    for query in (
        "said=x",
        "where=x",
        "where==",
        "where=shop={",
        "field=queue&gold=[&said=NaN",
        "gold=true&field=queue",
    ):
        assert client.get(f"{routing.get_absolute_url()}?{query}").status_code == 200
