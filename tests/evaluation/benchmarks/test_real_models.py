"""A benchmark whose job really runs the packaged model."""

from pathlib import Path

import pytest

from evaluation.benchmarks import results
from evaluation.models import EvalOutput
from evaluation.runs import summary
from evaluation.runs.jobs import run_evaluation
from slmstudio.runs.models import Status
from slmstudio.storage.hashing import folder_hash
from tests.evaluation.benchmark_desk import started
from tests.evaluation.factories import World
from tests.training.ml_data import smollm2

pytestmark = [pytest.mark.real_model, pytest.mark.slow]


def test_a_real_model_is_measured_on_the_documents_of_a_benchmark(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("evaluation.benchmarks.services.MIN_DOCUMENTS", 3)
    folder = smollm2()
    model = world.base_model
    model.folder, model.sha256 = str(folder), folder_hash(folder)
    model.save()
    made = started(world, documents=3)
    run = made.runs.get()
    run_evaluation(run.pk)
    run.refresh_from_db()
    made.refresh_from_db()
    assert (run.status, run.error, made.status) == (Status.DONE, "", Status.DONE)
    assert set(EvalOutput.objects.filter(eval_run=run).values_list("document_id", flat=True)) == set(made.documents)
    assert run.scores["schema_valid"]["k"] == 3, "held to the schema, every answer fits it"
    assert run.facts["peak_memory_bytes"] > 100_000_000
    assert results.cost_of(run, {"hardware_price_per_hour": 1}).per_thousand
    assert summary.recompute_summary(run) == run.scores
    assert made.result["sentence"]
