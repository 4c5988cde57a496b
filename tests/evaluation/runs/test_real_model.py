"""The job of an evaluation: what it checks before it starts, and one whole run with a real child process."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import django_rq
import pytest
import yaml
from django.db import OperationalError

from evaluation.inference import local
from evaluation.models import EvalOutput, EvalRun
from evaluation.runs import jobs as run_jobs
from evaluation.runs import outputs, resources, run_documents, summary, tasks
from evaluation.runs.jobs import run_evaluation
from evaluation.runs.resource_jobs import run_measurement
from evaluation.runs.resources import start_measurement
from evaluation.runs.services import start_evaluation
from labeling.datasets import queries as dataset_queries
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit
from slmstudio.storage import artifacts
from slmstudio.storage.hashing import folder_hash, sha256_file
from tests.evaluation.factories import World, evaluated, right, write_spec
from training.base_models.preparation import prepare
from training.base_models.services import register_tiny
from training.models import ModelVersion, TrainingRun


def started(world: World, **changes: Any) -> EvalRun:
    return start_evaluation(
        project=world.project,
        user=world.engineer,
        dataset=world.dataset,
        **{"split": "holdout", "model": world.base_model, "confirm_holdout": True, **changes},
    )


def test_what_changed_or_failed_since_the_order_is_refused_before_anything_starts(world: World) -> None:
    def error_of(run: EvalRun) -> str:
        run_evaluation(run.pk)
        run.refresh_from_db()
        assert run.status == Status.FAILED
        assert not artifacts.local_path(f"{run.folder_key}/log.txt").exists(), "no child was started"
        return run.error

    cancelled, run, behind = started(world), started(world, model=world.training_run), started(world)
    cancelled.cancel()
    run_evaluation(cancelled.pk)
    cancelled.refresh_from_db()
    assert (cancelled.status, cancelled.started_at) == (Status.CANCELLED, None)
    weights = artifacts.local_path(world.version.folder_key) / "model.safetensors"
    weights.write_bytes(b"others")
    assert error_of(run).startswith("The files of model v1 have changed: their hash is ")
    assert run.model_version == world.version
    path = artifacts.local_path(world.dataset.artifact_key)
    path.write_text(path.read_text() + "\n")
    changed = "The file of dataset v1 has changed since it was frozen. Freeze a new version."
    assert error_of(behind) == changed
    tuned = started(world, model=world.training_run)
    TrainingRun.objects.update(status=Status.FAILED, error="The disk is full.")
    assert error_of(tuned).endswith(": The disk is full.")


def test_a_run_behind_a_live_training_steps_back_in_the_queue(
    world: World, queues: None, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    monkeypatch.setattr(run_jobs, "REQUEUE_DELAY_SECONDS", 0)
    run = started(world, model=world.training_run)
    TrainingRun.objects.update(status=Status.RUNNING)
    with django_capture_on_commit_callbacks(execute=True):
        run_evaluation(run.pk)
    again = EvalRun.objects.get(pk=run.pk)
    assert (again.status, again.job_id == run.job_id) == (Status.QUEUED, False)
    [job] = django_rq.get_queue("gpu").jobs
    assert (job.id, job.func_name, job.args) == (str(again.job_id), "evaluation.runs.jobs.run_evaluation", [run.pk])


def test_a_job_delivered_again_or_for_nothing_changes_nothing(world: World) -> None:
    done = evaluated(world, right)
    before = EvalRun.objects.values().get(pk=done.pk)
    run_evaluation(done.pk)
    run_evaluation(987_654)
    assert EvalRun.objects.values().get(pk=done.pk) == before


def test_a_base_model_is_shown_the_schema_and_two_training_examples(world: World) -> None:
    run = started(world)
    run.claim()
    path = write_spec(run)
    spec = yaml.safe_load(path.read_text())
    assert run.spec == path.read_text()
    assert (spec["include_schema"], len(spec["examples"]), spec["mode"]) == (True, 2, "constrained")
    training = {row["text"] for row in dataset_queries.rows(world.dataset, "train")}
    assert {example["text"] for example in spec["examples"]} <= training
    assert spec["examples"] == yaml.safe_load(write_spec(run).read_text())["examples"], "drawn by the seed"
    assert tasks.describe_setup(run)["Prompt"] == "instruction and schema, 2 few-shot examples (chat template)"


def test_a_tuned_model_is_shown_the_instruction_alone(world: World) -> None:
    run = started(world, model=world.training_run)
    run.claim()
    tasks.resolve_model_version(run)
    spec = yaml.safe_load(write_spec(run).read_text())
    assert (spec["include_schema"], spec["examples"]) == (False, [])
    assert spec["contract"]["instruction"] == world.dataset.instruction


def test_no_document_that_is_judged_is_shown_with_its_answer(world: World) -> None:
    for judged, shown in (("holdout", "train"), ("validation", "train"), ("train", "validation")):
        run = started(world, model=world.base_model, split=judged)
        examples = {example["text"] for example in run_documents.few_shot_examples(run)}
        assert examples
        assert examples <= {row["text"] for row in dataset_queries.rows(world.dataset, shown)}
        assert not examples & {row["text"] for row in dataset_queries.rows(world.dataset, judged)}


def test_a_run_that_starts_again_forgets_the_outputs_of_its_first_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(world)
    rows = list(dataset_queries.rows(world.dataset, "holdout"))
    run.claim()
    store = outputs.OutputWriter(run)
    store.add({"id": rows[0]["id"], "raw": "of the first attempt"})
    store.flush()
    EvalRun.objects.filter(pk=run.pk).update(status=Status.QUEUED)

    def child(run: EvalRun, argv: list[str], *, on_event: Any, log: Any, **more: Any) -> ChildExit:
        for row in rows:
            on_event({"event": "output", "id": row["id"], "raw": "of the second"})
        artifacts.write_text(run.outputs_key, "")
        return ChildExit(ok=True)

    monkeypatch.setattr(local, "supervise", child)
    run_evaluation(run.pk)
    assert EvalRun.objects.get(pk=run.pk).status == Status.DONE
    assert set(EvalOutput.objects.filter(eval_run=run).values_list("raw", flat=True)) == {"of the second"}


def test_the_heart_beats_and_the_database_may_be_away_while_a_run_is_summed_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, beats, finish = started(world), [], outputs.complete

    def child(run: EvalRun, argv: list[str], *, on_event: Any, log: Any, **more: Any) -> ChildExit:
        for row in dataset_queries.rows(world.dataset, "holdout"):
            on_event({"event": "output", "id": row["id"], **right(row)})
        artifacts.write_text(run.outputs_key, "")
        return ChildExit(ok=True)

    @contextmanager
    def beating(run: EvalRun) -> Iterator[None]:
        beats.append("on")
        yield
        beats.append("off")

    def away_once(*parts: Any, **more: Any) -> None:
        beats.append("summing up")
        if beats.count("summing up") == 1:
            raise OperationalError("away")
        finish(*parts, **more)

    def again(do: Any) -> Any:
        try:
            return do()
        except OperationalError:
            return do()

    monkeypatch.setattr(local, "supervise", child)
    monkeypatch.setattr(local, "keep_alive", beating)
    monkeypatch.setattr(run_jobs, "keep_alive", beating)
    monkeypatch.setattr(run_jobs, "with_retries", again)
    monkeypatch.setattr(outputs, "complete", away_once)
    run_evaluation(run.pk)
    assert EvalRun.objects.get(pk=run.pk).status == Status.DONE
    assert beats == ["on", "off", "on", "summing up", "summing up", "off"]


@pytest.mark.slow
def test_a_real_model_is_evaluated_from_the_files_to_the_figures_and_measured_again(
    small_world: World, forked_children: None
) -> None:
    tiny = prepare(base_model=register_tiny())
    folder = artifacts.local_path(small_world.version.folder_key)
    shutil.copytree(tiny.folder, folder, dirs_exist_ok=True)
    ModelVersion.objects.filter(pk=small_world.version.pk).update(
        sha256=folder_hash(folder), tokenizer_sha256=sha256_file(folder / "tokenizer.json")
    )
    run = started(small_world, model=small_world.training_run)
    run_evaluation(run.pk)
    run.refresh_from_db()
    assert (run.status, run.error) == (Status.DONE, "")
    rows = list(EvalOutput.objects.filter(eval_run=run).with_documents())
    assert {row.document.external_id for row in rows} == {
        row["id"] for row in dataset_queries.rows(small_world.dataset, "holdout")
    }
    assert {row.finish_reason for row in rows} <= {"stop", "length"}
    assert run.outputs_sha256 == sha256_file(artifacts.local_path(run.outputs_key))
    assert outputs.rows_match_file(run)
    assert summary.recompute_summary(run) == run.scores
    assert run.scores["documents"] == run.progress_done == 4
    assert 0 < run.latency["p50"] <= run.latency["p95"] <= run.latency["p99"]
    assert run.facts["device"]
    assert run.facts["peak_memory_bytes"] > 0
    assert run.facts["docs_per_second"] > 0
    assert artifacts.local_path(f"{run.folder_key}/spec.yaml").read_text() == run.spec

    row = start_measurement(run=run, user=small_world.engineer)
    run_measurement(row.pk)
    row.refresh_from_db()
    assert (row.status, row.error, row.progress_done) == (Status.DONE, "", run.progress_total)
    assert [request["document"] for request in row.requests] == sorted(output.document_id for output in rows)
    assert row.facts["peak_memory_bytes"] > 0
    assert row.facts["docs_per_second"] > 0
    assert not artifacts.local_path(f"{row.folder_key}/outputs.jsonl").exists()
    assert row.sha256 == resources.requests_hash(row.requests)
