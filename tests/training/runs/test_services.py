"""Start of a training run: checks by field and code, and the queued spec."""

from dataclasses import replace
from typing import Any

import django_rq
import pytest

from labeling.datasets.queries import file_path
from labeling.models import DatasetVersion, Project, Split
from labeling.projects.services import create_project
from slmstudio.access import Role
from slmstudio.errors import Refused
from slmstudio.runs.controls import cancel
from slmstudio.runs.models import Status
from training.estimates.estimate import Estimate
from training.hyperparameters.dataset_defaults import default_hyperparameters
from training.hyperparameters.definitions import Hyperparameters
from training.models import BaseModel, LengthReport, TrainingRun
from training.runs.services import start_training
from training.spec import RunSpec


@pytest.fixture
def start(project: Project, people: dict[str, Any], dataset: DatasetVersion, tiny_base_model: BaseModel) -> Any:
    def call(**changes: Any) -> TrainingRun:
        order = {
            "project": project,
            "user": people["engineer"],
            "dataset": dataset,
            "base_model": tiny_base_model,
            "hyperparameters": Hyperparameters(max_length=320),
        }
        return start_training(**{**order, **changes})

    return call


def refusal(start: Any, **changes: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        start(**changes)
    assert not TrainingRun.objects.exists()
    return caught.value


def test_run_stores_all_its_inputs(start: Any, lengths: LengthReport, dataset: DatasetVersion) -> None:
    run = start(hyperparameters=Hyperparameters(max_length=320, learning_rate=2e-4, seed=5), name="first")
    spec = RunSpec.from_yaml(run.spec)
    assert (run.number, run.status, run.name) == (1, Status.QUEUED, "first")
    assert (spec.learning_rate, spec.seed, spec.max_length) == (2e-4, 5, 320)
    assert spec.base_model.sha256 == lengths.base_model.sha256
    assert (spec.dataset.path, spec.dataset.sha256) == (str(file_path(dataset)), dataset.sha256)
    assert spec.contract.instruction == dataset.instruction
    assert spec.contract.schema_sha256 == dataset.schema_version.sha256
    assert list(spec.contract.schema["properties"]) == ["company", "date", "address", "total"]
    assert spec.prompt == "chat"
    assert spec.output_dir.endswith(f"training/{run.pk}")
    assert start().number == 2


@pytest.mark.django_db(transaction=True)
def test_job_is_queued_after_commit_with_the_run_id(start: Any, lengths: LengthReport, queues: None) -> None:
    run = start()
    queue = django_rq.get_queue("gpu")
    [job] = queue.jobs
    assert (job.id, job.func_name, job.args) == (str(run.job_id), "training.runs.jobs.run_training", [run.pk])


def test_documents_over_the_limit_are_listed_split_or_left_out(start: Any, lengths: LengthReport) -> None:
    listed = refusal(start, hyperparameters=Hyperparameters(max_length=256, too_long="refuse"))
    assert listed.field == "max_length"
    long_id = next(row_id for row_id, _, prompt, _ in lengths.lengths if prompt == 280)
    assert long_id in listed.message
    assert "320" in listed.message  # what to set it to
    every = refusal(start, hyperparameters=Hyperparameters(max_length=64, too_long="leave_out"))
    assert every.field == "max_length"
    for too_long in ("windows", "leave_out"):
        run = start(hyperparameters=Hyperparameters(max_length=256, too_long=too_long))
        assert RunSpec.from_yaml(run.spec).too_long == too_long


def test_early_stopping_needs_validation_documents(start: Any, lengths: LengthReport, dataset: DatasetVersion) -> None:
    dataset.counts["splits"]["validation"] = 0
    refused = refusal(start, dataset=dataset, hyperparameters=Hyperparameters(max_length=320, early_stopping=3))
    assert (refused.field, refused.code) == ("early_stopping", "no_validation_documents")
    assert start(dataset=dataset).number == 1


def test_early_stopping_needs_a_kept_validation_document(start: Any, lengths: LengthReport) -> None:
    watched = [row for row in lengths.lengths if row[1] == Split.VALIDATION]
    for row in watched:
        row[2] = 280
    lengths.save(update_fields=["lengths"])
    hyperparameters = Hyperparameters(max_length=256, too_long="leave_out", early_stopping=3)
    refused = refusal(start, hyperparameters=hyperparameters)
    assert refused.field == "early_stopping"
    assert "set the sequence length to 320" in refused.message
    watched[0][2] = 200
    lengths.save(update_fields=["lengths"])
    assert start(hyperparameters=hyperparameters).number == 1


def test_long_hold_out_document_is_ignored(start: Any, lengths: LengthReport) -> None:
    next(row for row in lengths.lengths if row[1] == Split.HOLDOUT)[2] = 5000
    lengths.save(update_fields=["lengths"])
    assert start().number == 1


def test_lengths_of_the_model_must_be_known(start: Any, lengths: LengthReport) -> None:
    LengthReport.objects.update(model_sha256="0" * 64)
    assert refusal(start).code == "lengths_unknown"
    lengths.delete()
    refused = refusal(start)
    assert (refused.field, refused.code) == ("dataset", "lengths_unknown")


def test_empty_training_split_is_rejected(start: Any, lengths: LengthReport, dataset: DatasetVersion) -> None:
    dataset.counts["splits"]["train"] = 0
    refused = refusal(start, dataset=dataset)
    assert (refused.field, refused.code) == ("dataset", "no_training_documents")


def test_unprepared_or_missing_model_is_rejected(start: Any, lengths: LengthReport, tiny_base_model: BaseModel) -> None:
    bare = BaseModel.objects.create(slug="bare", name="Bare", source=BaseModel.Source.FOLDER, location="/nowhere")
    unprepared = refusal(start, base_model=bare)
    assert (unprepared.field, unprepared.code) == ("base_model", "not_prepared")
    tiny_base_model.folder = "/nowhere/at/all"
    missing = refusal(start, base_model=tiny_base_model)
    assert (missing.field, missing.code) == ("base_model", "folder_missing")


def test_dataset_of_another_project_is_rejected(start: Any, lengths: LengthReport, people: dict[str, Any]) -> None:
    members = {people["engineer"]: Role.ENGINEER}
    other = create_project(owner=people["owner"], name="Other", slug="other", template="receipt", members=members)
    assert refusal(start, project=other).field == "dataset"


def test_all_invalid_hyperparameters_are_reported(start: Any, lengths: LengthReport) -> None:
    invalid = replace(Hyperparameters(), learning_rate=7.0, epochs=0.0, method="qlora", max_length=4096)
    refused = refusal(start, hyperparameters=invalid)
    assert set(refused.errors) == {"learning_rate", "epochs", "method", "max_length"}
    assert "2,048" in refused.errors["max_length"]  # the context of the model


def test_default_hyperparameters_fit_any_lengths(
    start: Any, lengths: LengthReport, dataset: DatasetVersion, tiny_base_model: BaseModel
) -> None:
    lengths.lengths[0][2] = 1400
    lengths.longest = 1420
    lengths.save(update_fields=["lengths", "longest"])
    hyperparameters = default_hyperparameters(dataset=dataset, base_model=tiny_base_model)
    assert hyperparameters.max_length == 1472
    assert start(hyperparameters=hyperparameters).number == 1


def test_queued_run_is_cancelled_once(start: Any, lengths: LengthReport) -> None:
    run = start()
    assert cancel(run=run, user=run.created_by)
    run.refresh_from_db()
    assert run.status == Status.CANCELLED
    assert not cancel(run=run, user=run.created_by)
    assert not run.claim()


def test_estimate_is_stored_with_the_run(start: Any, lengths: LengthReport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "training.runs.services.estimate_for",
        lambda **order: Estimate(memory_bytes=7 << 20, steps=12, largest_part="weights"),
    )
    run = start()
    run.refresh_from_db()
    assert (run.estimate["memory_bytes"], run.estimate["steps"]) == (7 << 20, 12)


def test_unfit_run_is_rejected_at_the_setting_to_change(
    start: Any, lengths: LengthReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_much = Estimate(memory_bytes=1 << 40, problems={"batch_size": "It takes 1 TB. Set the batch size to 1."})
    monkeypatch.setattr("training.runs.services.estimate_for", lambda **order: too_much)
    refused = refusal(start)
    assert (refused.field, refused.message) == ("batch_size", "It takes 1 TB. Set the batch size to 1.")
