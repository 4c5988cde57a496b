"""Classical models as candidates of a benchmark, from the form to the gate report."""

import pytest

from evaluation.benchmarks import results
from evaluation.classical import services as classical
from evaluation.gates.holdout.membership import training_overlap
from evaluation.gates.services import create_report
from evaluation.inference.model_columns import ClassicalKind
from evaluation.models import ClassicalModel, EvalRun
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.services import start_evaluation
from labeling.models import Split
from serving.packages.services import request_package
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage import artifacts
from tests.evaluation.benchmark_desk import MODES, answered, started
from tests.evaluation.factories import World, right

KINDS = (ClassicalKind.TFIDF, ClassicalKind.EMBEDDINGS, ClassicalKind.RULES)


def kind_of(world: World) -> ClassicalKind:
    """The simplest kind that the schema of the world allows."""
    return classical.kinds(world.dataset.schema_version)[0]


def test_one_evaluation_for_each_classical_model_whatever_the_modes(wide: World) -> None:
    made = started(wide, wide.base_model, kind_of(wide), modes=MODES)
    assert [(run.backend.kind, run.mode) for run in made.runs.order_by("number")] == [
        ("classical", "constrained"), ("base model", "constrained"), ("base model", "free"),
    ]  # fmt: skip
    with pytest.raises(Refused, match="only once"):
        started(wide, kind_of(wide), kind_of(wide))


def test_it_never_learns_from_documents_of_the_benchmark(wide: World) -> None:
    made = started(wide, kind_of(wide))
    model = ClassicalModel.objects.get()
    training = set(wide.dataset.items.filter(split=Split.TRAIN).values_list("document_id", flat=True))
    assert set(made.documents) & training <= set(model.excluded) < training


def test_the_same_model_is_found_again(wide: World) -> None:
    order = {"project": wide.project, "user": wide.engineer, "dataset": wide.dataset, "kind": kind_of(wide)}
    first, again = classical.get_or_create(**order), classical.get_or_create(**order)
    fewer = classical.get_or_create(**order, labels=12)
    assert (first, first.number, fewer.number) == (again, 1, 2)
    with pytest.raises(Refused) as refused:
        classical.get_or_create(**order, labels=1000)
    assert refused.value.field == "labels"
    others = set(KINDS) - set(classical.kinds(wide.dataset.schema_version))
    with pytest.raises(Refused):
        classical.get_or_create(**{**order, "kind": others.pop()})


@pytest.mark.slow
def test_from_the_benchmark_to_a_gate_report(wide: World) -> None:
    """Trains and predicts in real child processes."""
    made = started(wide, wide.base_model, kind_of(wide))
    run, base = made.runs.order_by("number")
    answered(base, right)
    run_evaluation(run.pk)
    run.refresh_from_db()
    made.refresh_from_db()
    assert (run.status, run.error, made.status) == (Status.DONE, "", Status.DONE)
    model = ClassicalModel.objects.get()
    assert model.facts["labels"] == classical.training_documents(wide.dataset, without=model.excluded)
    assert len(model.sha256) == len(model.facts["labels_sha256"]) == 64
    base.refresh_from_db()
    rows = {row["run"].number: row for row in results.rows(made, [base, run])}
    assert (rows[run.number]["labels"], rows[base.number]["labels"]) == (model.facts["labels"], 2)
    assert rows[run.number]["verdict"]["status"] in ("PASS", "FAIL", "NOT PROVEN")
    assert made.result["fine_tuning"]
    assert run.latency["p50"] < 2000
    assert run.scores["schema_valid"]["k"] == 20

    holdout = start_evaluation(
        project=wide.project, user=wide.engineer, dataset=wide.dataset, model=model, split=Split.HOLDOUT,
        confirm_holdout=True,
    )  # fmt: skip
    trained = artifacts.local_path(model.folder_key).stat().st_mtime
    run_evaluation(holdout.pk)
    holdout = EvalRun.objects.with_model().get(pk=holdout.pk)
    assert (holdout.status, holdout.error) == (Status.DONE, "")
    assert artifacts.local_path(model.folder_key).stat().st_mtime == trained
    assert training_overlap(holdout) == []
    report = create_report(eval_run=holdout, baseline=None, user=wide.engineer)
    assert (report.holdout_number, report.manifest["model"]) == (1, model.sha256)
    assert report.provenance["classical"]["labels_sha256"] == model.facts["labels_sha256"]
    package = request_package(run=holdout, user=wide.owner)
    assert (package.engine, [variant.key for variant in package.all_variants]) == ("sklearn", ["sklearn"])
