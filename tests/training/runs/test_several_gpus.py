"""A run on several GPUs: accelerate's launcher, and workers with too few GPUs."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import django_rq
import pytest

from slmstudio.runs.models import Status
from slmstudio.runs.supervisor import ChildExit
from slmstudio.stack.supervisor import EXIT_WITH_PARENT
from slmstudio.workers import gpu_reservations, live_workers
from slmstudio.workers.hardware import Gpu, Hardware, this_machine
from tests.training.fakes import attempts
from training.base_models.catalog import CATALOG
from training.models import BaseModel, TrainingRun
from training.runs import jobs as run_jobs
from training.runs.event_recorder import EventRecorder
from training.runs.services import resume
from training.spec import RunSpec

pytestmark = pytest.mark.django_db(transaction=True)
CARDS = (Gpu(0, "GPU-a", "L4", 24 << 30, 0), Gpu(1, "GPU-b", "L4", 24 << 30, 0))


def on_cards(run: TrainingRun, count: int) -> None:
    run.spec = replace(RunSpec.from_yaml(run.spec), devices=count).to_yaml()
    run.save(update_fields=["spec"])


def test_child_sees_its_reserved_gpus(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(run_jobs, "TRAINER", "tests.training.fake_trainer")
    monkeypatch.setattr(gpu_reservations, "this_machine", lambda: replace(this_machine(), gpus=CARDS))
    with gpu_reservations.reserve_gpus(wait=lambda: False) as other:
        run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.DONE
    assert [attempt["CUDA_VISIBLE_DEVICES"] for attempt in attempts(run)] == ["GPU-b"]
    assert other.env["CUDA_VISIBLE_DEVICES"] == "GPU-a"


def test_command_line_for_several_gpus_uses_the_launcher(run: TrainingRun) -> None:
    spec = replace(RunSpec.from_yaml(run.spec), devices=2)
    words = run_jobs.trainer_command(spec, Path("spec.yaml"))
    at = words.index("accelerate.commands.accelerate_cli")
    assert words[at + 1] == "launch"
    assert "--multi_gpu" in words
    assert words[words.index("--num_processes") + 1] == "2"
    assert words[-3:] == ["-m", "training.ml.train", "spec.yaml"]
    assert words[:2] == [sys.executable, str(EXIT_WITH_PARENT)]


def test_run_needing_more_gpus_than_any_worker_waits_and_then_fails(
    run: TrainingRun, people: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is restarted is waited for; then a person decides."""
    on_cards(run, 4)
    run.checkpoint_step = 7
    run.save(update_fields=["checkpoint_step"])
    queue = django_rq.get_queue("gpu")
    queue.empty()
    behind = queue.enqueue("training.runs.jobs.run_training", 0)
    monkeypatch.setattr(run_jobs, "REQUEUE_SECONDS", 0.0)
    monkeypatch.setattr(
        run_jobs, "verify_inputs", lambda spec: pytest.fail("gigabytes are hashed before it is known who trains")
    )
    run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert (run.status, run.stage) == (Status.QUEUED, "waiting for a worker with 4 GPUs")
    assert (run.attempts, run.attempts_since_restart) == (0, 0)
    assert list(queue.job_ids) == [behind.id, str(run.job_id)]
    monkeypatch.setattr(run_jobs, "NO_WORKER_SECONDS", 0.0)
    run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.FAILED
    assert "No suitable worker became available." in run.error
    assert "step 7 is kept" in run.error
    monkeypatch.setattr(run_jobs, "NO_WORKER_SECONDS", 600.0)
    resume(run=run, user=people["engineer"])
    run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.QUEUED  # it waits anew


def test_run_waits_for_a_busy_worker_with_enough_gpus(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cards(run, 2)
    monkeypatch.setattr(run_jobs, "REQUEUE_SECONDS", 0.0)
    monkeypatch.setattr(run_jobs, "NO_WORKER_SECONDS", 0.0)
    monkeypatch.setattr(live_workers, "hardware_by_worker", lambda queue: [replace(this_machine(), gpus=CARDS)])
    for _ in range(3):
        run_jobs.run_training(run.pk)
        run.refresh_from_db()
        assert (run.status, run.attempts) == (Status.QUEUED, 0)


def test_killed_launcher_process_resumes_from_the_checkpoint(run: TrainingRun) -> None:
    assert run.claim(attempts=1)
    recorder = EventRecorder(run)
    recorder({"event": "start", "total_steps": 9, "train_rows": 14})
    recorder({"event": "checkpoint", "step": 5, "path": "state/5", "bytes": 9, "sha256": "f"})
    run_jobs._conclude(run, ChildExit(ok=False, died=True, error="The process was killed."), recorder)
    run.refresh_from_db()
    assert (run.status, run.stage) == (Status.QUEUED, "process killed; resuming from step 5")


def small(memory: int = 200 << 20) -> Hardware:
    return replace(this_machine(), host="small", memory_bytes=memory, gpus=())


def test_run_too_large_for_a_machine_waits_and_for_every_machine_fails(
    run: TrainingRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = next(known.shape for known in CATALOG if known.shape and known.slug == "smollm2-135m-instruct")
    BaseModel.objects.filter(pk=run.base_model_id).update(shape=shape.as_dict())
    monkeypatch.setattr(run_jobs, "TRAINER", "tests.training.fake_trainer")
    monkeypatch.setattr(run_jobs, "REQUEUE_SECONDS", 0.0)
    monkeypatch.setattr(run_jobs, "own_machine", small)
    monkeypatch.setattr(live_workers, "hardware_by_worker", lambda queue: [small(), small(64 << 30)])
    queue = django_rq.get_queue("gpu")
    queue.empty()
    behind = queue.enqueue("training.runs.jobs.run_training", 0)
    run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert (run.status, run.attempts, run.attempts_since_restart) == (Status.QUEUED, 0, 0)
    assert run.stage == "waiting for a suitable worker"
    assert list(queue.job_ids) == [behind.id, str(run.job_id)]

    monkeypatch.setattr(run_jobs, "NO_WORKER_SECONDS", 0.0)
    monkeypatch.setattr(live_workers, "hardware_by_worker", lambda queue: [small()])
    run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert run.status == Status.FAILED
    assert "memory of small" in run.error


def test_machine_without_a_package_names_what_to_install(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run.spec = replace(RunSpec.from_yaml(run.spec), trackers=("wandb",)).to_yaml()
    run.save(update_fields=["spec"])
    monkeypatch.setattr(run_jobs, "TRAINER", "tests.training.fake_trainer")
    monkeypatch.setattr(run_jobs, "NO_WORKER_SECONDS", 0.0)
    monkeypatch.setattr(run_jobs, "own_machine", lambda: replace(this_machine(), packages=()))
    monkeypatch.setattr(live_workers, "hardware_by_worker", lambda queue: [])
    run_jobs.run_training(run.pk)
    run.refresh_from_db()
    assert (run.status, "pip install wandb" in run.error) == (Status.FAILED, True)


def test_worker_counts_its_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_reservations, "this_machine", lambda: replace(this_machine(), gpus=CARDS))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu_reservations.own_machine().gpus == CARDS[1:]
