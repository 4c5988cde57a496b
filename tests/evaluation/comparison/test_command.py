"""``manage.py compare A B``: its output, and the codes it ends with."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from evaluation.management.commands.compare import EXIT_NOT_JUDGED, REGRESSION
from evaluation.models import EvalRun
from evaluation.regression_suite.services import pin
from evaluation.runs.services import start_evaluation
from labeling.models import DatasetVersion
from labeling.projects.services import create_project
from tests.evaluation.comparison.test_services import freeze_again
from tests.evaluation.factories import World, broken, documents_by_id, evaluated, pretend, right

NOTHING = "No document has the same gold in both runs, so there is no verdict."


def compare(*args: Any, **options: Any) -> tuple[str, str, int]:
    """What is written to standard output and to standard error, and the code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    try:
        call_command("compare", *args, stdout=out, stderr=err, **options)
    except SystemExit as end:
        code = int(end.code or 0)
    return out.getvalue(), err.getvalue(), code


def one_wrong(row: dict[str, Any]) -> dict[str, Any]:
    """Gold, but for the document whose id comes first."""
    return broken(row) if row["id"].endswith("1") else right(row)


def change_gold(run: EvalRun, most: int) -> None:
    """The first documents of this evaluation were scored against another vendor."""
    for row in run.outputs.order_by("document_id")[:most]:
        row.gold = {**row.gold, "vendor": "Somebody else"}
        row.save(update_fields=["gold"])


def test_where_every_document_has_two_golds_nothing_is_judged_and_that_is_no_pass(world: World) -> None:
    evaluated(world, right, tuned=False)
    b = evaluated(world, broken, dataset=DatasetVersion.objects.get(pk=freeze_again(world)))
    change_gold(b, 12)
    for arguments in (["1", "2"], ["1", "2", "--any"]):
        _, err, code = compare(*arguments, fail_on_regression=True)
        assert code == EXIT_NOT_JUDGED == 1
        assert err.startswith("Note: 12 documents have different gold")
        assert f"Evaluation 2 against 1: {NOTHING}" in err
    evaluated(world, right)
    assert compare("1", "3", fail_on_regression=True)[2] == 0
    assert compare("1", "2", "3", fail_on_regression=True)[2] == EXIT_NOT_JUDGED, "nor of several"
    out, err, code = compare("1", "2")
    assert (code, NOTHING in err) == (0, True)
    assert "**No verdict: no document has the same gold in both runs.**" in out
    assert "No regression is proven" not in out
    comparison = json.loads(compare("1", "2", format="json")[0])
    assert (comparison["documents"], comparison["judged"]) == (12, 0)
    row = b.outputs.select_related("document").earliest("document_id")
    pin(project=world.project, document=row.document, user=world.engineer)
    assert compare("1", "2", fail_on_regression=True)[2] == REGRESSION, "a pin needs no comparison"


def test_one_broken_document_is_enough_if_pinned_or_asked_for(world: World) -> None:
    evaluated(world, pretend(1, spoil=0.9), tuned=False)
    b = evaluated(world, one_wrong)
    evaluated(world, right)
    assert compare("1", "2", fail_on_regression=True)[2] == compare("3", "2", fail_on_regression=True)[2] == 0
    _, err, code = compare("3", "2", "--any", fail_on_regression=True)
    assert (code, "regressed: " in err) == (REGRESSION, True)
    wrong = b.outputs.filter(exact=False).select_related("document").earliest("document_id")
    document = documents_by_id(world.project)[wrong.document.external_id]
    pin(project=world.project, document=document, user=world.engineer)
    _, err, code = compare("1", "2", fail_on_regression=True)
    assert code == REGRESSION
    assert f"1 pinned document wrong: {wrong.document.external_id}" in err


def test_the_exit_code_says_whether_it_is_a_regression(world: World, tmp_path: Path) -> None:
    evaluated(world, right, tuned=False)
    evaluated(world, right)
    evaluated(world, broken)
    out, err, code = compare("1", "2", fail_on_regression=True)
    assert out.startswith("# Evaluation 2 (model v1, constrained) compared with evaluation 1")
    assert (err, code) == ("", 0)
    out, err, code = compare("1", "3")
    assert ("**B is a regression.**" in out, code) == (True, 0)
    assert "Evaluation 3 against 1: Fewer outputs are schema-valid" in err
    assert compare("1", "3", fail_on_regression=True)[2] == REGRESSION
    out, err, code = compare("1", "2", "3", fail_on_regression=True)
    assert (out.startswith("# 3 evaluations of invoices"), code) == (True, REGRESSION)
    assert ("Evaluation 3 against 1" in err, "Evaluation 2 against" in err) == (True, False)
    path = tmp_path / "comparison.json"
    out, _, _ = compare("1", "2", format="json", output=path)
    written = json.loads(path.read_text())
    assert (out, written["documents"], written["regressions"]) == ("", 12, [])
    with pytest.raises(CommandError, match="Cannot write"):
        compare("1", "2", output=tmp_path)
    for numbers in (["1"], ["1", "1"], [str(number) for number in range(1, 10)], ["1", "9" * 20]):
        with pytest.raises(CommandError, match="two to 8") as refused:
            compare(*numbers, project="invoices")
        assert refused.value.returncode == 2


def test_what_cannot_be_compared_is_an_error_in_words(world: World) -> None:
    evaluated(world, right)
    with pytest.raises(CommandError, match="No project has evaluations 1, 9"):
        compare("1", "9")
    with pytest.raises(CommandError, match="no evaluation 9"):
        compare("1", "9", project="invoices")
    with pytest.raises(CommandError, match="Project 'nowhere' not found"):
        compare("1", "2", project="nowhere")
    start_evaluation(project=world.project, user=world.engineer, dataset=world.dataset, model=world.base_model)
    with pytest.raises(CommandError, match="Evaluation 2 is not finished"):
        compare("1", "2")
    evaluated(world, right, split="train")
    with pytest.raises(CommandError, match="no documents in common"):
        compare("1", "3")


def test_the_project_is_named_where_numbers_are_not_enough(world: World) -> None:
    other = create_project(owner=world.owner, name="Other", slug="other", template="invoice")
    evaluated(world, right, tuned=False)
    evaluated(world, right)
    assert compare("1", "2")[2] == 0  # the only project with both
    runs: Any = EvalRun.objects.all()
    runs.update(project=other)
    evaluated(world, right, tuned=False)
    evaluated(world, broken)
    with pytest.raises(CommandError, match="invoices, other"):
        compare("1", "2")
    assert "12 documents" in compare("1", "2", project="other")[0]
    assert compare("1", "2", project="invoices", fail_on_regression=True)[2] == REGRESSION
