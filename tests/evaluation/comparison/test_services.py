"""Comparisons of two eval runs."""

from typing import Any

import pytest

from evaluation.comparison.regressions import regressions
from evaluation.comparison.services import get_or_create_comparison
from evaluation.models import Comparison, EvalRun
from evaluation.runs.services import start_evaluation
from labeling.datasets.freeze import freeze
from labeling.models import DatasetVersion, Document
from labeling.projects.services import create_project, save_contract
from slmstudio.contract.json_text import dumps, loads
from slmstudio.errors import Refused
from tests.evaluation.factories import World, broken, evaluated, right


def only_even(row: dict[str, Any]) -> dict[str, Any]:
    return right(row) if int(row["id"][-1]) % 2 == 0 else broken(row)


def only_odd(row: dict[str, Any]) -> dict[str, Any]:
    return right(row) if int(row["id"][-1]) % 2 else broken(row)


def test_every_document_is_in_the_state_it_is_in(world: World) -> None:
    a, b = evaluated(world, only_even, tuned=False), evaluated(world, only_odd)
    result = get_or_create_comparison(a=a, b=b).result
    ids = set(a.outputs.values_list("document__external_id", flat=True))
    assert set(result["broken"]) == {name for name in ids if int(name[-1]) % 2 == 0}
    assert set(result["fixed"]) == {name for name in ids if int(name[-1]) % 2}
    assert (result["counts"]["still_wrong"], result["counts"]["still_right"], result["n"]) == (0, 0, 12)
    assert get_or_create_comparison(a=b, b=a).result["fixed"] == result["broken"]
    made = get_or_create_comparison(a=a, b=b)
    assert Comparison.objects.count() == 2, "each is made once"
    Comparison.objects.filter(pk=made.pk).update(result={"n": 12, "broken": []})  # as an earlier version kept it
    again = get_or_create_comparison(a=a, b=b)
    assert (again.pk, again.result) == (made.pk, result)


def test_itself_an_unfinished_run_and_another_projects_run_are_refused(world: World) -> None:
    done = evaluated(world, right)
    with pytest.raises(Refused, match="two different"):
        get_or_create_comparison(a=done, b=done)
    waiting = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, model=world.base_model
    )
    with pytest.raises(Refused, match=f"Evaluation {waiting.number} is not finished"):
        get_or_create_comparison(a=done, b=waiting)
    other = evaluated(world, right)
    other.project = create_project(owner=world.owner, name="Other", slug="other", template="invoice")
    with pytest.raises(Refused, match="different projects"):
        get_or_create_comparison(a=done, b=other)


def test_changed_gold_is_noted_and_can_be_filtered(world: World) -> None:
    a, b = evaluated(world, right, tuned=False), evaluated(world, right)
    assert get_or_create_comparison(a=a, b=b).result["notes"] == []
    later = DatasetVersion.objects.get(pk=freeze_again(world))
    c = evaluated(world, right, dataset=later)
    row = c.outputs.select_related("document").earliest("document_id")
    row.gold = {**row.gold, "vendor": "Somebody else"}
    row.save(update_fields=["gold"])
    result = get_or_create_comparison(a=a, b=c).result
    [note] = result["notes"]
    assert note.startswith("1 document has different gold labels in dataset v2 and dataset v1")
    place = result["cases"]["gold"].index("1")
    assert result["cases"]["keys"][place] == row.document.external_id
    assert result["judged"]["n"] == 11, "the verdict rests on the others"
    assert "judged" not in get_or_create_comparison(a=a, b=b).result


def test_a_field_that_only_one_schema_has_breaks_nothing(world: World) -> None:
    a = evaluated(world, right)
    b = evaluated(world, with_iban, dataset=freeze_with_iban(world))
    assert b.scores["document_exact"]["k"] == 0, "by its own schema it has all wrong"
    result = get_or_create_comparison(a=a, b=b).result
    assert (result["counts"]["still_right"], result["counts"]["broken"]) == (12, 0)
    assert "iban" not in {row["field"] for row in result["fields"]}
    assert any("only one schema has them: iban (B)" in note for note in result["notes"])
    assert regressions(result) == []


def test_gold_is_another_only_in_fields_that_both_schemas_have(world: World) -> None:
    a, later = evaluated(world, right, tuned=False), freeze_with_iban(world)
    bad, b = evaluated(world, broken, dataset=later), evaluated(world, with_iban, dataset=later)
    for run in (bad, b):
        complete_labels(run)
    result = get_or_create_comparison(a=a, b=bad).result
    assert ("judged" in result, result["cases"]["gold"]) == (False, "")
    assert not any("different gold" in note for note in result["notes"])
    assert any(reason.startswith("Fewer outputs are schema-valid") for reason in regressions(result))
    row = b.outputs.select_related("document").earliest("document_id")
    row.gold = {**row.gold, "vendor": "Somebody else"}
    row.save(update_fields=["gold"])
    result = get_or_create_comparison(a=a, b=b).result
    assert result["judged"]["n"] == 11
    assert result["cases"]["keys"][result["cases"]["gold"].index("1")] == row.document.external_id


def with_iban(row: dict[str, Any]) -> dict[str, Any]:
    """Gold, and an account that gold does not have."""
    return {"raw": dumps({**row["gold"], "iban": "GB00"})}


def complete_labels(run: EvalRun) -> None:
    """What the labels would say, had somebody added the new field to all of them."""
    for row in run.outputs.all():
        row.gold = {**row.gold, "iban": "GB00"}
        row.save(update_fields=["gold"])


def freeze_with_iban(world: World) -> DatasetVersion:
    """A second version of the same documents and labels, under a schema with one field more."""
    schema = loads(world.project.schema_version.schema_text)
    schema["properties"]["iban"] = {"type": ["string", "null"]}
    contract = world.project.contract
    save_contract(
        project=world.project,
        user=world.owner,
        instruction=contract.instruction,
        schema_text=dumps(schema),
        constraints=contract.constraints,
    )
    return freeze(project=world.project, user=world.engineer, validation_share=0.1)


def freeze_again(world: World) -> int:
    """A second version of the same documents, with the schema of another number."""
    document = Document.objects.filter(project=world.project, holdout=False).earliest("pk")
    document.tags = [*document.tags, "poor_scan"]
    document.save(update_fields=["tags"])
    return freeze(project=world.project, user=world.engineer, validation_share=0.1).pk
