"""Which documents judge in a benchmark: labelled by people, never held out, unlike the examples, the same each time."""

from typing import Any

import pytest
from django.db import connection

from evaluation.benchmarks.services import available_documents, sample_documents
from evaluation.inference.backend import ModelUnavailable
from evaluation.models import Benchmark, EvalRun
from evaluation.runs import run_documents
from labeling.datasets import freeze
from labeling.datasets import queries as dataset_queries
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import DatasetItem, Document, Split
from slmstudio.errors import Refused
from tests.evaluation.benchmark_desk import started
from tests.evaluation.factories import World


def split_of(world: World, keys: list[int]) -> list[str]:
    items = dict(DatasetItem.objects.filter(dataset=world.dataset).values_list("document_id", "split"))
    return [items[key] for key in keys]


def rewrite_items(**changes: Any) -> None:
    """Frozen items are kept by a trigger; a test may say otherwise."""
    table = DatasetItem._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        DatasetItem.objects.filter(**changes.pop("where")).update(**changes)
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def test_validation_comes_first_and_the_hold_out_never(wide: World) -> None:
    drawn = sample_documents(wide.dataset, count=20, seed=17)
    splits = split_of(wide, drawn.documents)
    validation = wide.dataset.items.filter(split=Split.VALIDATION).count()
    assert splits == ["validation"] * validation + ["train"] * (20 - validation)
    assert len(set(drawn.documents)) == 20
    first = drawn.documents[0]
    Document.objects.filter(pk=first).update(holdout=True)
    assert first not in sample_documents(wide.dataset, count=20, seed=17).documents, "held out since"


def test_the_examples_are_those_of_every_base_evaluation_and_do_not_judge(wide: World) -> None:
    made = started(wide)
    run = made.runs.get()
    shown = [example["text"] for example in run_documents.few_shot_examples(run)]
    others = EvalRun(dataset=wide.dataset, split=Split.HOLDOUT)
    assert shown == [row["text"] for row in run_documents.few_shot_examples(others)]
    assert len(shown) == 2
    assert not set(shown) & set(Document.objects.filter(pk__in=made.documents).values_list("text", flat=True))


def test_a_dataset_whose_file_has_gone_is_refused(wide: World) -> None:
    dataset_queries.file_path(wide.dataset).unlink()
    with pytest.raises(Refused, match=r"The file of dataset v1 is missing .* Freeze a new version"):
        started(wide)


def test_holdout_example_is_not_used(wide: World) -> None:
    run = started(wide).runs.get()
    Document.objects.filter(pk=run.benchmark.examples[0]).update(holdout=True)
    with pytest.raises(Refused, match="A few-shot example of dataset v1 is in the hold-out now"):
        started(wide)
    with pytest.raises(ModelUnavailable, match="is in the hold-out now"):
        run_documents.few_shot_examples(run)


def test_prelabeled_and_generated_gold_is_excluded(wide: World) -> None:
    keys = list(wide.dataset.items.exclude(split=Split.HOLDOUT).order_by("pk").values_list("pk", flat=True))
    rewrite_items(where={"pk__in": keys[:4]}, origin="prelabelled")
    rewrite_items(where={"pk__in": keys[4:6]}, origin="synthetic")
    spoilt = set(DatasetItem.objects.filter(pk__in=keys[:6]).values_list("document_id", flat=True))
    assert not set(sample_documents(wide.dataset, count=24, seed=17).documents) & spoilt
    assert available_documents(wide.project).not_by_people == 6


def test_what_a_candidate_was_trained_on_does_not_judge(wide: World) -> None:
    """The tuned model saw the training split of the only dataset: only validation is left."""
    with pytest.raises(Refused) as refused:
        started(wide, wide.base_model, wide.version)
    assert refused.value.field == "documents"
    assert "that no candidate was trained on" in refused.value.message
    assert not Benchmark.objects.exists()


def test_near_duplicates_judge_once(wide: World) -> None:
    twin = Document.objects.get(pk=sample_documents(wide.dataset, count=20, seed=17).documents[-1])
    gold = wide.dataset.items.get(document=twin).revision.value
    rows = [ParsedRow(n, {"id": f"twin-{n}", "text": f"{twin.text}\nCopy {n}", "gold": gold}) for n in range(6)]
    assert import_rows(project=wide.project, rows=rows, source="test").imported == 6
    dataset = freeze.freeze(project=wide.project, user=wide.engineer)
    family = {twin.pk, *Document.objects.filter(external_id__startswith="twin-").values_list("pk", flat=True)}
    drawn = sample_documents(dataset, count=50, seed=17).documents
    assert len(set(drawn) & family) <= 1
    assert len(drawn) > 20


def test_too_few_documents_are_refused_with_how_many_there_are(world: World) -> None:
    """12 outside the hold-out, two of them examples."""
    assert (available_documents(world.project).count, available_documents(world.project).missing) == (10, 10)
    with pytest.raises(Refused, match=r"dataset v1 has \d+ labeled documents outside the hold-out"):
        started(world)
