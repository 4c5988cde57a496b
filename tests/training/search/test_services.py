"""Searches over runs that only report: trials, pruning, budget, what is kept."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from labeling.models import DatasetVersion, Study
from labeling.studies import services
from slmstudio.errors import Refused
from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from tests.training.search.fake_runs import end, evaluate, make_model
from training.hyperparameters.validation import problems
from training.models import BaseModel, LengthReport, ModelExport, ModelVersion, TrainingEvent, TrainingRun
from training.runs.curves import spec_of
from training.search import study as search_study
from training.search.study import Trial, best_trial, trials_of

Start = Callable[..., Study]


def trial_run(search: Study, number: int) -> TrainingRun:
    return TrainingRun.objects.get(number=trial_of(search, number).run or 0)


def trial_of(search: Study, number: int) -> Trial:
    search.refresh_from_db()
    return trials_of(search)[0][number - 1]


def states(search: Study) -> list[str]:
    search.refresh_from_db()
    return [trial["state"] for trial in search.trials]


def complete(search: Study, number: int, value: float) -> None:
    """A trial that reaches its end."""
    run = trial_run(search, number)
    evaluate(run, value, value, value, value)
    end(run)
    services.advance(search.pk)


def test_first_trial_is_an_ordinary_run_near_the_preset(start_search: Start, lengths: LengthReport) -> None:
    search = start_search()
    run = trial_run(search, 1)
    assert (search.status, run.status, run.tags) == (Status.RUNNING, Status.QUEUED, ["search 1"])
    spec = spec_of(run)
    assert spec is not None
    assert (spec.learning_rate, spec.epochs, spec.lora.r, spec.lora.alpha, spec.batch_size) == (1e-3, 3, 8, 16, 2)
    assert spec.sample_documents == 2
    steps = 3 * -(-14 // 2)
    assert spec.eval_every == -(-steps // 4)


def test_a_search_over_an_encoder_is_around_its_preset(dataset: DatasetVersion, tiny_encoder_model: BaseModel) -> None:
    space = search_study.default_space(dataset, tiny_encoder_model)
    spec = search_study.SearchSpec(dataset=dataset.number, base_model=tiny_encoder_model.slug, **space)
    first = search_study.preset_parameters(spec, dataset, tiny_encoder_model)
    tried = search_study.hyperparameters_of(spec, dataset, tiny_encoder_model, first)
    assert (tried.method, tried.learning_rate, tried.epochs, tried.max_length) == ("full", 1e-4, 10, 256)
    assert spec.learning_rate_low < tried.learning_rate < spec.learning_rate_high
    assert problems(tried, tiny_encoder_model.context, encoder=True) == {}


def test_next_trial_starts_when_one_ends_and_the_last_ends_the_search(start_search: Start) -> None:
    search = start_search(trials=3)
    for number, value in ((1, 0.5), (2, 0.9), (3, 0.7)):
        assert states(search)[number - 1 :] == ["running"]
        complete(search, number, value)
    search.refresh_from_db()
    assert search.status == Status.DONE
    best = best_trial(trials_of(search)[0])
    assert best is not None
    assert (best.number, best.value) == (2, 0.9)


def test_as_many_trials_at_the_same_time_as_allowed(start_search: Start) -> None:
    search = start_search(parallel=3)
    services.advance(search.pk)
    assert states(search) == ["running"] * 3
    complete(search, 2, 0.5)
    assert states(search) == ["running", "complete", "running", "running"]


@pytest.mark.parametrize(
    ("first", "value", "total", "is_pruned"),
    [(0.8, 0.4, 100, True), (0.5, 0.9, 100, False), (0.8, 0.4, 50, False)],
    ids=["worse", "better", "worse at its end"],
)
def test_worse_trial_is_pruned_at_its_evaluation(
    start_search: Start, first: float, value: float, total: int, is_pruned: bool
) -> None:
    search = start_search()
    complete(search, 1, first)
    run = trial_run(search, 2)
    evaluate(run, value, total=total)
    services.advance(search.pk)
    run.refresh_from_db()
    assert run.cancel_requested == is_pruned
    if is_pruned:
        end(run, Status.CANCELLED)
        services.advance(search.pk)
        assert states(search) == ["complete", "pruned", "running"]


def test_trial_that_ends_without_a_value_does_not_end_the_search(start_search: Start) -> None:
    search = start_search()
    for number, status in ((1, Status.FAILED), (2, Status.CANCELLED)):
        end(trial_run(search, number), status, error="The disk is full.")
        services.advance(search.pk)
    assert states(search) == ["failed", "cancelled", "running"]
    run = trial_run(search, 3)
    evaluate(run, 0.5, 0.8, 0.7)
    end(run, facts={"best_step": 2})
    services.advance(search.pk)
    assert trial_of(search, 3).value == 0.8, "that of the weights that were kept"


def test_budget_ends_the_search_and_cancels_what_runs(start_search: Start) -> None:
    search = start_search(parallel=2)
    first, second = trial_run(search, 1), trial_run(search, 2)
    evaluate(first, 0.6)
    now = timezone.now()
    end(first, started_at=now - timedelta(hours=2), finished_at=now)
    services.advance(search.pk)
    second.refresh_from_db()
    search.refresh_from_db()
    assert second.status == Status.CANCELLED
    assert (search.status, states(search)) == (Status.DONE, ["complete", "cancelled"])
    assert "budget" in search.result["outcome"]


def test_used_up_quota_ends_the_search(start_search: Start, settings: Any) -> None:
    search = start_search()
    run = trial_run(search, 1)
    now = timezone.now()
    settings.PROJECT_GPU_HOURS = 0.5
    evaluate(run, 0.6)
    end(run, started_at=now - timedelta(minutes=40), finished_at=now)
    services.advance(search.pk)
    search.refresh_from_db()
    assert (search.status, states(search)) == (Status.DONE, ["complete"])
    assert "GPU hours" in search.result["outcome"]
    with pytest.raises(Refused) as caught:
        start_search()
    assert caught.value.code == "quota"


def test_stop_cancels_the_runs_and_keeps_the_best(start_search: Start, people: dict[str, Any]) -> None:
    search = start_search()
    complete(search, 1, 0.6)
    run = trial_run(search, 2)
    evaluate(run, 0.7)
    assert services.cancel(study=search, user=people["engineer"])
    run.refresh_from_db()
    assert run.cancel_requested
    assert search.status == Status.RUNNING  # until its run has saved a checkpoint
    end(run, Status.CANCELLED)
    services.advance(search.pk)
    search.refresh_from_db()
    assert (search.status, states(search)) == (Status.CANCELLED, ["complete", "cancelled"])


def test_only_the_best_models_stay(
    start_search: Start, people: dict[str, Any], django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    """Of four complete trials two keep their weights, and a third, whose export is running; a pruned one ends empty."""
    search = start_search(trials=5, keep=2)
    for number, value in ((1, 0.5), (2, 0.9), (3, 0.7), (4, 0.6)):
        make_model(trial_run(search, number))
        complete(search, number, value)
    assert ModelVersion.objects.with_weights().count() == 4  # until the search has ended
    export_of = ModelVersion.objects.get(training_run=trial_run(search, 4))
    ModelExport.objects.create(
        model_version=export_of, kind="f16", status=Status.RUNNING, created_by=people["engineer"]
    )
    last = trial_run(search, 5)
    evaluate(last, 0.1)
    checkpoint = local_path(f"{last.folder_key}/state/checkpoint-00000001/weights.safetensors")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_bytes(b"weights")
    services.advance(search.pk)
    with django_capture_on_commit_callbacks(execute=True):
        end(last, Status.CANCELLED, checkpoint_step=1)
        services.advance(search.pk)
    search.refresh_from_db()
    assert (search.status, states(search)) == (Status.DONE, [*["complete"] * 4, "pruned"])
    kept = ModelVersion.objects.with_weights().order_by("number").values_list("number", flat=True)
    assert list(kept) == [2, 3, 4]
    on_disk = [local_path(version.folder_key).exists() for version in ModelVersion.objects.order_by("number")]
    assert on_disk == [False, True, True, True]
    assert trial_of(search, 1).value == 0.5
    last.refresh_from_db()
    assert (last.checkpoint_step, checkpoint.exists()) == (0, False)


def test_rejected_trials_end_the_search(start_search: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    search = start_search(trials=50)

    def rejected(**_: Any) -> TrainingRun:
        raise Refused("The run needs 90 GB.", field="batch_size", code="does_not_fit")

    monkeypatch.setattr(search_study, "start_training", rejected)
    end(trial_run(search, 1), Status.FAILED)
    services.advance(search.pk)
    search.refresh_from_db()
    assert (search.status, states(search)) == (Status.FAILED, ["failed"] * 6)
    assert "90 GB" in search.error


def test_end_and_evaluation_of_a_run_advance_its_search(
    start_search: Start, django_capture_on_commit_callbacks: Any
) -> None:
    search = start_search()
    run = trial_run(search, 1)
    evaluate(run, 0.5)
    with django_capture_on_commit_callbacks(execute=True):
        services.on_run_changed(run)
    assert trial_of(search, 1).values == [0.5]
    run.refresh_from_db()
    with django_capture_on_commit_callbacks(execute=True):
        assert run.finish()
    assert states(search) == ["complete", "running"]


def test_repeated_evaluations_of_a_resumed_run_count_once(start_search: Start) -> None:
    search = start_search()
    run = trial_run(search, 1)
    evaluate(run, 0.5, 0.6)
    services.advance(search.pk)
    TrainingEvent.objects.filter(run=run, step=2).delete()  # resumed from the checkpoint before
    services.advance(search.pk)
    assert trial_of(search, 1).values == [0.5, 0.6]
    evaluate(run, 0.6, 0.7)
    services.advance(search.pk)
    assert trial_of(search, 1).values == [0.5, 0.6, 0.7]


def test_what_cannot_run_is_rejected(start_search: Start, lengths: LengthReport) -> None:
    for changes, field in (
        ({"dataset": 99}, "dataset"),
        ({"base_model": "nothing"}, "base_model"),
        ({"method": ("qlora",)}, "method"),
        ({"hours": 0}, "hours"),
        ({"learning_rate_low": 1e-2, "learning_rate_high": 1e-3}, "form"),
        ({"lora_r": ()}, "lora_r"),
        ({"batch": (8, 8)}, "form"),
    ):
        with pytest.raises(Refused) as caught:
            start_search(**changes)
        assert field in caught.value.errors, changes
    LengthReport.objects.all().delete()
    with pytest.raises(Refused) as caught:
        start_search()
    assert caught.value.code == "lengths_unknown"
    assert not Study.objects.exists()
    assert not TrainingRun.objects.exists()


def test_resumed_search_goes_on_with_the_next_trial(start_search: Start, people: dict[str, Any]) -> None:
    search = start_search(trials=2)
    services.cancel(study=search, user=people["engineer"])
    assert (search.status, states(search)) == (Status.CANCELLED, ["cancelled"])
    services.resume(study=search, user=people["engineer"])
    assert states(search) == ["cancelled", "running"]
    complete(search, 2, 0.5)
    search.refresh_from_db()
    assert (search.status, search.result["best"]) == (Status.DONE, 2)
