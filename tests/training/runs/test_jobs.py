"""The training job with its real child process on the tiny model."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.db import connection

from labeling.datasets.queries import file_path
from labeling.models import DatasetVersion, Project
from slmstudio.runs.controls import cancel
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit
from slmstudio.stack.processes import command
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash, sha256_text
from training.child_processes import ChildFailed
from training.hyperparameters.definitions import Hyperparameters
from training.models import LengthReport, ModelVersion, TrainingEvent, TrainingRun
from training.runs import jobs as run_jobs
from training.runs.event_recorder import EventRecorder
from training.runs.jobs import run_training
from training.runs.services import start_training

pytestmark = pytest.mark.django_db(transaction=True)
QUICK = Hyperparameters(max_length=1024, epochs=3, batch_size=4)


@pytest.fixture
def queued(
    project: Project, dataset: DatasetVersion, lengths: LengthReport, people: dict[str, Any], queues: None
) -> Callable[[Hyperparameters], TrainingRun]:
    def make(hyperparameters: Hyperparameters) -> TrainingRun:
        return start_training(
            project=project,
            user=people["engineer"],
            dataset=dataset,
            base_model=lengths.base_model,
            hyperparameters=hyperparameters,
        )

    return make


@contextmanager
def concurrently(act: Callable[[], bool]) -> Iterator[None]:
    """Tries ``act`` again and again beside the block until it says that it has acted."""
    stop = threading.Event()

    def work() -> None:
        try:
            while not stop.is_set() and not act():
                time.sleep(0.05)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def children() -> list[psutil.Process]:
    """Trainers this process has started."""
    found = psutil.Process().children(recursive=True)
    return [child for child in found if "-m training.ml.train" in " ".join(command(child))]


@pytest.mark.slow
def test_run_with_a_killed_trainer_gives_a_model_version_and_every_point_once(
    queued: Callable[[Hyperparameters], TrainingRun],
) -> None:
    run = queued(QUICK)
    # What an interrupted attempt of the same run has left behind.
    TrainingEvent.objects.create(run=run, kind="metrics", step=900, data={"loss": 9.0})

    def kill_after_a_checkpoint() -> bool:
        if not TrainingEvent.objects.filter(run=run, kind="checkpoint").exists():
            return False
        for child in children():
            child.send_signal(signal.SIGKILL)
        return True

    with concurrently(kill_after_a_checkpoint):
        run_training(run.pk)
    run.refresh_from_db()
    if run.status != Status.DONE:  # the kill may come too late on a fast machine
        assert run.status == Status.QUEUED
        run_training(run.pk)
        run.refresh_from_db()
        assert run.facts["resumed_from"] >= 1
    assert (run.status, run.error) == (Status.DONE, "")
    assert run.progress_done == run.progress_total == run.facts["steps"] == QUICK.steps(run.facts["train_rows"])
    assert run.facts["seconds"] > 0
    assert run.facts["tokens"] > 0

    model = ModelVersion.objects.chosen().get(training_run=run)
    assert model.sha256 == folder_hash(local_path(model.folder_key))
    assert model.adapter_sha256 == folder_hash(local_path(model.adapter_key))
    files = {entry["path"]: entry for entry in model.files}
    assert files["model.safetensors"]["size"] > 0
    assert model.tokenizer_sha256 == files["tokenizer.json"]["sha256"]
    assert model.lineage["base_model_sha256"] == run.base_model.sha256
    assert model.lineage["dataset_sha256"] == run.dataset.sha256
    assert model.lineage["schema_sha256"] == run.dataset.schema_version.sha256
    spec_text = local_path(f"{run.folder_key}/spec.yaml").read_text()
    assert model.lineage["spec_sha256"] == sha256_text(spec_text)

    events = TrainingEvent.objects.filter(run=run)
    steps = list(events.filter(kind="metrics").order_by("step").values_list("step", flat=True))
    assert steps == list(range(1, run.progress_total + 1))
    assert events.filter(kind="validation").count() == events.filter(kind="samples").count() >= 3
    losses = [event.data["loss"] for event in events.filter(kind="metrics").order_by("step")]
    assert losses[-1] < losses[0]

    run_training(run.pk)  # delivered a second time
    assert events.filter(kind="metrics").count() == run.progress_total
    assert ModelVersion.objects.chosen().count() == 1


MORE_MEMORY = ". The run can be resumed when more memory is free. To use smaller settings, duplicate the run."


@pytest.mark.parametrize(
    ("kind", "error", "advice"),
    [
        (
            "diverged",
            "The loss is not a number after step 57.",
            "Duplicate the run with a lower learning rate.",
        ),
        ("memory", "Not enough memory. Try a smaller batch_size.", MORE_MEMORY),
        ("", "The process was killed, most likely because the machine ran out of memory.", MORE_MEMORY),
        ("", "The process exited with code 1.", ", and the run can be resumed from it."),
        ("disk", "The disk is full.", ", and the run can be resumed from it."),
    ],
)
def test_resume_is_suggested_where_it_helps(kind: str, error: str, advice: str) -> None:
    run = TrainingRun(checkpoint_step=50)
    ending = ChildExit(ok=False, error=error, died=not kind, last={"error": {"kind": kind}} if kind else {})
    with pytest.raises(ChildFailed) as caught:
        run_jobs._conclude(run, ending, EventRecorder(run))
    message = str(caught.value)
    assert message.startswith(f"{error} Its checkpoint at step 50 is kept")
    assert message.endswith(advice)
    assert "resumed" in message  # or the page says that it can be


def test_cancelled_and_deleted_runs_are_skipped(
    queued: Callable[[Hyperparameters], TrainingRun],
) -> None:
    run = queued(QUICK)
    cancel(run=run, user=run.created_by)
    run_training(run.pk)
    run.refresh_from_db()
    assert (run.status, run.started_at) == (Status.CANCELLED, None)
    run_training(10**9)


def test_changed_base_model_is_rejected_before_the_start(
    queued: Callable[[Hyperparameters], TrainingRun], tiny_folder: Path, tmp_path: Path
) -> None:
    run = queued(QUICK)
    run.spec = run.spec.replace(run.base_model.sha256, "f" * 64)
    run.save(update_fields=["spec"])
    run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.FAILED
    assert "have changed since" in run.error
    assert not local_path(f"{run.folder_key}/log.txt").exists()


def test_changed_dataset_is_rejected_before_the_start(queued: Callable[[Hyperparameters], TrainingRun]) -> None:
    run = queued(QUICK)
    path = file_path(run.dataset)
    path.chmod(0o644)
    with path.open("a") as file:
        file.write("{}\n")
    run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.FAILED
    assert "changed since it was frozen" in run.error


def test_missing_base_model_folder_is_an_error_message(queued: Callable[[Hyperparameters], TrainingRun]) -> None:
    run = queued(QUICK)
    run.spec = run.spec.replace(run.base_model.folder, "/nowhere/tiny")
    run.save(update_fields=["spec"])
    run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.FAILED
    assert "folder of base model tiny-random is missing" in run.error
    assert "/nowhere" not in run.error
