"""The training job with its real child process on the tiny model."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from django.db import connection

from labeling.datasets.queries import file_path
from slmstudio.runs.controls import cancel
from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit
from slmstudio.stack.processes import command
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash, sha256_text
from tests.training.fakes import start_run
from training.child_processes import ChildFailed
from training.hyperparameters.definitions import Hyperparameters
from training.models import LengthReport, ModelVersion, TrainingEvent, TrainingRun
from training.runs import jobs as run_jobs
from training.runs.event_recorder import EventRecorder
from training.runs.jobs import run_training

pytestmark = pytest.mark.django_db(transaction=True)


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
    running = psutil.Process().children(recursive=True)
    return [child for child in running if "-m training.ml.train" in " ".join(command(child))]


@pytest.mark.slow
def test_run_with_a_killed_trainer_gives_a_model_version_and_every_point_once(
    lengths: LengthReport, queues: None
) -> None:
    quick: dict[str, Any] = {"max_length": 1024, "epochs": 3, "batch_size": 4}
    run = start_run(lengths, **quick)
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
    steps_to_take = Hyperparameters(**quick).steps(run.facts["train_rows"])
    assert run.progress_done == run.progress_total == run.facts["steps"] == steps_to_take
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


def test_resume_is_suggested_where_it_helps() -> None:
    for kind, error, advice in (
        ("diverged", "The loss is not a number after step 57.", "Duplicate the run with a lower learning rate."),
        ("memory", "Not enough memory. Try a smaller batch_size.", MORE_MEMORY),
        ("", "The process was killed, most likely because the machine ran out of memory.", MORE_MEMORY),
        ("disk", "The disk is full.", ", and the run can be resumed from it."),
    ):
        run = TrainingRun(checkpoint_step=50)
        ending = ChildExit(ok=False, error=error, died=not kind, last={"error": {"kind": kind}} if kind else {})
        with pytest.raises(ChildFailed) as caught:
            run_jobs._conclude(run, ending, EventRecorder(run))
        message = str(caught.value)
        assert message.startswith(f"{error} Its checkpoint at step 50 is kept")
        assert message.endswith(advice)


def test_cancelled_and_deleted_runs_are_skipped(run: TrainingRun) -> None:
    cancel(run=run, user=run.created_by)
    run_training(run.pk)
    run.refresh_from_db()
    assert (run.status, run.started_at) == (Status.CANCELLED, None)
    run_training(10**9)


def test_changed_or_missing_inputs_are_rejected_before_the_start(lengths: LengthReport, queues: None) -> None:
    model, dataset_file = lengths.base_model, file_path(lengths.dataset)

    def error_of(old: str = "", new: str = "") -> str:
        run = start_run(lengths)
        run.spec = run.spec.replace(old, new)
        run.save(update_fields=["spec"])
        run_training(run.pk)
        run.refresh_from_db()
        assert run.status == Status.FAILED
        assert not local_path(f"{run.folder_key}/log.txt").exists()
        return run.error

    assert "have changed since" in error_of(model.sha256, "f" * 64)
    missing = error_of(model.folder, "/nowhere/tiny")
    assert "folder of base model tiny-random is missing" in missing
    assert "/nowhere" not in missing
    dataset_file.chmod(0o644)
    with dataset_file.open("a") as file:
        file.write("{}\n")
    assert "changed since it was frozen" in error_of()
