"""Warnings about a dataset version before it is used: an old schema, and splits that are too small."""

from typing import Any

from labeling.datasets.freeze import freeze
from labeling.datasets.queries import FEW, OF_SEARCH, OF_TRAINING, dataset_warnings
from labeling.models import Split
from tests.labeling.desk import Desk, bring_in, invoice
from tests.labeling.label_desk import change_schema


def frozen(desk: Desk, documents: int) -> Any:
    bring_in(desk.project, [invoice(number) for number in range(documents)])
    return freeze(project=desk.project, user=desk.people["engineer"], validation_share=0.2)


def test_a_dataset_of_the_current_schema_with_enough_documents_has_none(desk: Desk) -> None:
    dataset = frozen(desk, 60)
    assert dataset_warnings(dataset, OF_TRAINING) == []
    change_schema(desk.project, desk.people["engineer"], note={"type": "string"})
    [warning] = dataset_warnings(dataset, OF_TRAINING)
    assert "v1" in warning
    assert "v2" in warning


def test_each_small_split_has_a_warning(desk: Desk) -> None:
    dataset = frozen(desk, 12)
    splits = dataset.counts["splits"]
    warnings = dataset_warnings(dataset, OF_TRAINING)
    assert [warning.split()[0] for warning in warnings] == [str(splits["train"]), str(splits["validation"])]
    assert len(dataset_warnings(dataset, {Split.HOLDOUT: FEW})) == 1


def test_forms_of_runs_show_them(desk: Desk) -> None:
    dataset = frozen(desk, 12)
    change_schema(desk.project, desk.people["engineer"], note={"type": "string"})
    engineer = desk.as_("engineer")
    page = engineer.get(desk.url("training/new/"))
    assert page.context["dataset_warnings"] == dataset_warnings(dataset, OF_TRAINING)
    assert page.content.decode().count('class="alert alert-warning') == 3
    search = engineer.get(desk.url("studies/search/new/"))
    assert search.context["dataset_warnings"] == dataset_warnings(dataset, OF_SEARCH)
    prompts = engineer.get(desk.url("studies/prompt/new/"))
    assert len(prompts.context["dataset_warnings"]) == 2
    for split in (Split.VALIDATION, Split.HOLDOUT):
        query = f"?part=price&dataset={dataset.number}&split={split.value}"
        part = engineer.get(desk.url(f"evaluation/new/{query}"), headers={"HX-Request": "true"})
        assert part.content.decode().count('class="alert alert-warning') == 2
