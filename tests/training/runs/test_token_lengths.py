"""Length reports: requested once, measured again when outdated, counted like the trainer."""

from typing import Any

import django_rq
import pytest

from labeling.models import DatasetVersion, Split
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from training.models import BaseModel, LengthReport
from training.runs.jobs import measure_lengths as job
from training.runs.services import measure_lengths
from training.runs.token_length_views import lengths_context


def test_repeated_request_is_one_report_and_one_job(
    dataset: DatasetVersion, tiny_base_model: BaseModel, people: dict[str, Any], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks() as queued:
        first = measure_lengths(dataset=dataset, base_model=tiny_base_model, user=people["engineer"])
        second = measure_lengths(dataset=dataset, base_model=tiny_base_model, user=people["engineer"])
    assert first.pk == second.pk
    assert first.status == Status.QUEUED
    assert len(queued) == 1


def test_only_a_failed_or_outdated_report_is_measured_again(lengths: LengthReport, people: dict[str, Any]) -> None:
    def again() -> LengthReport:
        return measure_lengths(dataset=lengths.dataset, base_model=lengths.base_model, user=people["engineer"])

    assert (again().pk, again().status) == (lengths.pk, Status.DONE)
    for changes in ({"status": Status.FAILED, "error": "no"}, {"status": Status.DONE, "model_sha256": "0" * 64}):
        LengthReport.objects.update(**changes)
        before = LengthReport.objects.get().job_id
        report = again()
        assert (report.pk, report.status, report.error) == (lengths.pk, Status.QUEUED, "")
        assert report.job_id != before


def test_dataset_without_training_documents_is_not_measured(
    dataset: DatasetVersion, tiny_base_model: BaseModel, people: dict[str, Any]
) -> None:
    dataset.counts["splits"]["train"] = 0
    with pytest.raises(Refused) as caught:
        measure_lengths(dataset=dataset, base_model=tiny_base_model, user=people["engineer"])
    assert caught.value.field == "dataset"
    assert not LengthReport.objects.exists()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_job_counts_every_row_with_the_model_tokenizer(
    dataset: DatasetVersion, tiny_base_model: BaseModel, people: dict[str, Any], queues: None
) -> None:
    report = measure_lengths(dataset=dataset, base_model=tiny_base_model, user=people["engineer"])
    assert [queued.args for queued in django_rq.get_queue("default").jobs] == [[report.pk]]
    job(report.pk)
    report.refresh_from_db()
    assert (report.status, report.error) == (Status.DONE, "")
    assert report.is_current
    assert len(report.lengths) == 20
    assert len(report.totals(Split.TRAIN)) == dataset.counts["splits"]["train"]
    assert report.longest == max(tokens for _, tokens in report.totals())
    assert all(prompt > completion > 0 for _, _, prompt, completion in report.lengths)
    [summary] = lengths_context(dataset)["reports"]
    assert dataset.instruction in summary["sample"]["prompt"] != dataset.instruction
    assert summary["sample"]["completion"].startswith('{"')
    measured = report.finished_at
    job(report.pk)  # delivered twice
    report.refresh_from_db()
    assert report.finished_at == measured


@pytest.mark.django_db(transaction=True)
def test_unpreparable_model_fails_the_report(dataset: DatasetVersion, people: dict[str, Any], queues: None) -> None:
    gone = BaseModel.objects.create(slug="gone", name="Gone", source=BaseModel.Source.FOLDER, location="/nowhere/x")
    report = measure_lengths(dataset=dataset, base_model=gone, user=people["engineer"])
    job(report.pk)
    report.refresh_from_db()
    assert report.status == Status.FAILED
    assert report.error.startswith("Gone cannot be prepared.")
