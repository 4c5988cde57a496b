"""A benchmark from its start to what it says: one eval run for each model and mode, and no look at the hold-out."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.benchmarks import services as benchmark_services
from evaluation.benchmarks.services import cancel
from evaluation.gates.services import create_report
from evaluation.inference.spec import EvalSpec
from evaluation.models import AuditEntry, EvalOutput, EvalRun
from evaluation.runs import services as run_services
from evaluation.runs import summary
from evaluation.runs.jobs import run_evaluation
from labeling.datasets.freeze import freeze
from labeling.imports.bulk_copy import import_rows
from labeling.imports.rows import ParsedRow
from labeling.models import Document, DocumentScore
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from tests.evaluation.benchmark_desk import MODES, another_model, answered, finished, started
from tests.evaluation.factories import World, pretend, right, write_spec
from training.base_models import preparation
from training.models import BaseModel


def test_every_model_is_asked_in_every_mode_about_the_same_documents(wide: World, tmp_path: Path) -> None:
    made = finished(wide, tmp_path, pretend(1, spoil=0.8), right)
    runs = list(made.runs.order_by("number"))
    assert [(run.base_model.slug, run.mode) for run in runs] == [
        ("small-base", "constrained"), ("small-base", "free"), ("larger-base", "constrained"), ("larger-base", "free"),
    ]  # fmt: skip
    for run in runs:
        assert set(EvalOutput.objects.filter(eval_run=run).values_list("document_id", flat=True)) == set(made.documents)
        assert run.scores["documents"] == 20
    assert made.status == Status.DONE
    assert made.progress_done == made.progress_total == 80
    assert AuditEntry.objects.filter(about="benchmark 1", action="started").exists()


def test_it_recommends_with_its_reason_once_all_have_ended(wide: World, tmp_path: Path) -> None:
    made = started(wide, wide.base_model, another_model(tmp_path))
    small, large = made.runs.order_by("number")
    answered(small, pretend(1, spoil=0.8))
    made.refresh_from_db()
    assert (made.status, made.result) == (Status.RUNNING, {})
    answered(large, right)
    made.refresh_from_db()
    assert (made.status, made.result["run"], made.result["separable"]) == (Status.DONE, large.number, True)
    assert "Larger base 20M, constrained: best field accuracy" in made.result["sentence"]
    [pair] = made.result["pairs"]
    assert (pair["documents"], pair["p_adjusted"] < 0.05) == (20, True)


def test_what_resembles_what_a_candidate_learned_does_not_judge_it(
    wide: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = wide.dataset.items.filter(split="train").select_related("document", "revision").latest("document_id")
    row = ParsedRow(1, {"id": "copy", "text": f"{learned.document.text}\ncopy", "gold": learned.revision.value})
    assert import_rows(project=wide.project, rows=[row], source="test").rejected == 0
    newer = freeze(project=wide.project, user=wide.engineer, validation_share=0.1)
    copy = Document.objects.get(external_id="copy").pk

    def judging() -> list[int]:
        return benchmark_services.sample_documents(newer, count=40, seed=1, seen=[wide.dataset]).documents

    assert copy not in judging()
    monkeypatch.setattr(benchmark_services, "_MAX_TRAINING_TEXTS", 0)
    assert copy in judging(), "it is the likeness alone that keeps it out"


def test_benchmark_is_no_holdout_evaluation_and_has_no_gate_report(wide: World) -> None:
    made = started(wide)
    run = made.runs.get()
    spec = EvalSpec.from_yaml(write_spec(run).read_text())
    assert (len(spec.documents.ids), spec.documents.split, len(spec.examples)) == (20, "benchmark", 2)
    run = answered(run, right)
    assert run.split == "benchmark"
    assert summary.recompute_summary(run) == run.scores
    assert not EvalRun.objects.on_holdout().exists()
    assert not DocumentScore.objects.exists()
    with pytest.raises(Refused, match="not on the hold-out"):
        create_report(eval_run=run, baseline=None, user=wide.engineer)


def test_one_that_fails_leaves_the_others_standing(wide: World, tmp_path: Path) -> None:
    made = started(wide, wide.base_model, another_model(tmp_path))
    first, second = made.runs.order_by("number")
    first.fail("The machine ran out of memory.")
    run_services.evaluation_ended.call(first)
    answered(second, right)
    made.refresh_from_db()
    assert (made.status, made.result["run"]) == (Status.DONE, second.number)


def test_one_that_cannot_be_ended_fails(wide: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = started(wide), started(wide)
    for made in (first, second):
        made.runs.get().fail("The machine ran out of memory.")
    conclude = benchmark_services._conclude

    def breaks(row: Any, runs: list[EvalRun]) -> None:
        if row.pk == first.pk:
            raise KeyError("field_exact")
        conclude(row, runs)

    monkeypatch.setattr(benchmark_services, "_conclude", breaks)
    benchmark_services.advance_all()
    for made in (first, second):
        made.refresh_from_db()
        assert made.status == Status.FAILED
    assert second.error == "No model was measured: The machine ran out of memory."
    assert first.error.startswith("Unexpected error (KeyError: 'field_exact').")


def test_a_cancelled_one_stops_what_waits_and_keeps_what_was_measured(wide: World) -> None:
    made = started(wide, modes=MODES)
    first, second = made.runs.order_by("number")
    answered(first, right)
    made.refresh_from_db()
    assert cancel(run=made, user=wide.engineer)
    made.refresh_from_db()
    second.refresh_from_db()
    assert (made.status, second.status) == (Status.CANCELLED, Status.CANCELLED)
    assert made.result["run"] == first.number
    assert not cancel(run=made, user=wide.engineer)


def test_a_model_that_is_not_prepared_is_prepared_by_the_job(wide: World, monkeypatch: pytest.MonkeyPatch) -> None:
    BaseModel.objects.update(folder="", sha256="")
    wide.base_model.refresh_from_db()
    with pytest.raises(Refused, match="not prepared"):
        run_services.start_evaluation(
            project=wide.project, user=wide.engineer, dataset=wide.dataset, model=wide.base_model
        )
    asked = []

    def prepare(*, base_model: BaseModel, run: Any, download: bool) -> BaseModel:
        asked.append((base_model.slug, run.number, download))
        raise Refused("The package is not installed.", field="base_model")

    monkeypatch.setattr(preparation, "prepare", prepare)
    made = started(wide)
    run_evaluation(made.runs.get().pk)
    assert asked == [("small-base", 1, False)]
    made.refresh_from_db()
    assert made.error == "No model was measured: The package is not installed."


def test_orders_that_make_no_sense_are_refused(wide: World) -> None:
    for changes, field in (
        ({"modes": ["constrained", "guessing"]}, "modes"),
        ({"modes": []}, "modes"),
        ({"candidates": []}, "models"),
        ({"candidates": [wide.base_model, wide.base_model]}, "models"),
    ):
        order: dict[str, Any] = {"candidates": [wide.base_model], "modes": ["free"], "documents": 20, **changes}
        with pytest.raises(Refused) as refused:
            benchmark_services.start_benchmark(project=wide.project, user=wide.engineer, **order)
        assert refused.value.field == field
    hub = BaseModel.objects.create(slug="far", name="Far", source=BaseModel.Source.HUB, location="some/far")
    with pytest.raises(Refused, match="Far is not on this machine") as refused:
        started(wide, wide.base_model, hub)
    assert refused.value.field == "models"
    assert not EvalRun.objects.exists()
