"""Comparisons of two eval runs."""

from typing import Any

import pytest

from evaluation.models import Comparison
from evaluation.services.comparisons import compare_runs
from evaluation.services.evals import Refused, start_evaluation
from labeling.services.projects import create_project
from tests.evaluation.factories import World, broken, evaluated, right


def only_even(row: dict[str, Any]) -> dict[str, Any]:
    return right(row) if int(row["id"][-1]) % 2 == 0 else broken(row)


def only_odd(row: dict[str, Any]) -> dict[str, Any]:
    return right(row) if int(row["id"][-1]) % 2 else broken(row)


def test_every_document_is_in_the_state_it_is_in(world: World) -> None:
    a, b = evaluated(world, only_even, tuned=False), evaluated(world, only_odd)
    result = compare_runs(a=a, b=b).result
    ids = set(a.outputs.values_list("document__external_id", flat=True))
    assert set(result["broken"]) == {name for name in ids if int(name[-1]) % 2 == 0}
    assert set(result["fixed"]) == {name for name in ids if int(name[-1]) % 2}
    assert (result["still_wrong"], result["still_right"], result["n"]) == ([], [], 12)


def test_a_comparison_is_made_once(world: World) -> None:
    a, b = evaluated(world, right, tuned=False), evaluated(world, broken)
    assert compare_runs(a=a, b=b).pk == compare_runs(a=a, b=b).pk
    assert compare_runs(a=b, b=a).result["fixed"] == compare_runs(a=a, b=b).result["broken"]
    assert Comparison.objects.count() == 2


def test_runs_on_different_splits_have_nothing_in_common(world: World) -> None:
    a, b = evaluated(world, right), evaluated(world, right, split="train")
    with pytest.raises(Refused, match="no document in common"):
        compare_runs(a=a, b=b)
    assert not Comparison.objects.exists()


def test_itself_an_unfinished_run_and_another_projects_run_are_refused(world: World) -> None:
    done = evaluated(world, right)
    with pytest.raises(Refused, match="two different"):
        compare_runs(a=done, b=done)
    waiting = start_evaluation(
        project=world.project, user=world.engineer, dataset=world.dataset, base_model=world.base_model
    )
    with pytest.raises(Refused, match=f"Evaluation {waiting.number} is not done"):
        compare_runs(a=done, b=waiting)
    other = evaluated(world, right)
    other.project = create_project(owner=world.owner, name="Other", slug="other", template="invoice")
    with pytest.raises(Refused, match="different projects"):
        compare_runs(a=done, b=other)
