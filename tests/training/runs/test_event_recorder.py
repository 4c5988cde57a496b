"""Events become rows, each once; folders become a model version if their hashes match."""

import math
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from slmstudio.runs.models import Status
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_hash
from tests.shared_rows import shared_fixture
from tests.training.fakes import start_run
from training.child_processes import ChildFailed
from training.models import LengthReport, ModelVersion, TrainingRun
from training.runs.curves import curve_points, final_metrics
from training.runs.event_recorder import EventRecorder, record_artifacts
from training.runs.trackers import trackers_of


@shared_fixture
def run(lengths: LengthReport) -> TrainingRun:
    started = start_run(lengths)
    assert started.claim()
    return started


def metrics(step: int, **values: Any) -> dict[str, Any]:
    return {"event": "metrics", "step": step, "loss": 1.0 / step, "epoch": step / 10, **values}


def artifact(run: TrainingRun, kind: str) -> dict[str, Any]:
    folder = local_path(f"{run.folder_key}/{kind}/model.safetensors").parent
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return {"event": "artifact", "kind": kind, "path": str(folder), "files": [], "sha256": folder_hash(folder)}


def test_repeated_points_and_warnings_are_stored_once(run: TrainingRun) -> None:
    for _ in range(2):
        recorder = EventRecorder(run)
        for step in (1, 2, 3):
            recorder(metrics(step))
        recorder.flush()
    assert list(run.events.order_by("step").values_list("kind", "step")) == [("metrics", s) for s in (1, 2, 3)]
    for message in ("the loss jumped", "memory is short", "the loss jumped"):
        EventRecorder(run)({"event": "warning", "step": 4, "message": message})
    warnings = run.events.filter(kind="warning")
    assert sorted(event.data["message"] for event in warnings) == ["memory is short", "the loss jumped"]


def test_points_are_written_in_batches_and_flushed_at_the_end(run: TrainingRun) -> None:
    recorder = EventRecorder(run)
    recorder({"event": "start", "total_steps": 500, "train_rows": 14})
    with CaptureQueriesContext(connection) as queries:
        for step in range(1, 501):
            recorder(metrics(step))
        recorder.flush()
    assert run.events.count() == 500
    assert len(queries) < 30
    run.refresh_from_db()
    assert (run.progress_done, run.progress_total) == (500, 500)
    assert run.facts == {"total_steps": 500, "train_rows": 14}


def test_unstorable_values_and_unknown_events_do_not_stop_a_run(run: TrainingRun) -> None:
    recorder = EventRecorder(run)
    recorder(metrics(1, loss=math.nan, grad_norm=math.inf))
    recorder({"event": "samples", "step": 1, "rows": [{"id": "a\0b", "raw": "\ud800 {\0", "outcomes": {}}]})
    recorder({"event": "weather", "step": 1})
    recorder.flush()
    assert run.events.count() == 2
    assert run.events.get(kind="metrics").data["loss"] is None
    assert run.events.get(kind="metrics").data["grad_norm"] is None
    assert "\0" not in run.events.get(kind="samples").data["rows"][0]["raw"]


def test_attempt_from_the_start_deletes_earlier_points(run: TrainingRun) -> None:
    recorder = EventRecorder(run)
    recorder({"event": "start", "total_steps": 5, "train_rows": 14})
    recorder(metrics(3))
    recorder({"event": "checkpoint", "step": 3, "path": "state/3", "bytes": 9, "sha256": "f"})
    recorder({"event": "warning", "step": 0, "message": "little data"})
    EventRecorder(run)({"event": "start", "total_steps": 5, "train_rows": 14, "resumed_from": 0})
    run.refresh_from_db()
    assert (run.progress_done, run.checkpoint_step, run.events.count()) == (0, 0, 0)


def test_reaped_run_accepts_neither_progress_nor_a_model(run: TrainingRun) -> None:
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.FAILED, error="lost")
    recorder = EventRecorder(run)
    recorder(metrics(5))
    recorder.flush()
    state = local_path(f"{run.folder_key}/state/9/model.pt").parent.parent
    record_artifacts(run, {"merged": artifact(run, "merged")})
    assert not ModelVersion.objects.exists()
    assert state.exists()
    run.refresh_from_db()
    assert (run.status, run.error, run.progress_done) == (Status.FAILED, "lost", 0)


def test_folders_become_a_model_version_and_the_run_is_done(run: TrainingRun) -> None:
    model = record_artifacts(run, {kind: artifact(run, kind) for kind in ("merged", "adapter")})
    run.refresh_from_db()
    assert run.status == Status.DONE
    assert (model.number, model.folder_key) == (1, f"{run.folder_key}/merged")
    assert model.sha256 == folder_hash(local_path(model.folder_key))
    assert {entry["path"] for entry in model.adapter_files} == {"model.safetensors", "tokenizer.json"}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"best_step": 4, "steps": 9, "other_step": 9}, [("best", 4, False), ("last", 9, True)]),
        ({"best_step": None, "steps": 9, "other_step": 4}, [("last", 9, False), ("best", 4, True)]),
    ],
)
def test_best_and_last_become_two_versions(
    run: TrainingRun, facts: dict[str, Any], expected: list[tuple[str, int, bool]]
) -> None:
    recorder = EventRecorder(run)
    recorder({"event": "done", **facts})
    other = {**artifact(run, "other/merged"), "kind": "other_merged"}
    artifacts = {"merged": artifact(run, "merged"), "other_merged": other}
    model = record_artifacts(run, artifacts)
    versions = run.model_versions.order_by("number")
    assert list(versions.values_list("checkpoint", "step", "is_alternative")) == expected
    assert list(versions.values_list("number", "folder_key")) == [
        (1, f"{run.folder_key}/merged"),
        (2, f"{run.folder_key}/other/merged"),
    ]
    assert TrainingRun.objects.get(pk=run.pk).model_version == model == versions[0]
    assert record_artifacts(run, artifacts) == model
    assert versions.count() == 2


def test_full_fine_tuning_has_no_adapter_and_its_checkpoints_are_deleted(run: TrainingRun) -> None:
    EventRecorder(run)({"event": "checkpoint", "step": 9, "path": "state/9", "bytes": 9, "sha256": "f"})
    state = local_path(f"{run.folder_key}/state/9/model.pt").parent.parent
    model = record_artifacts(run, {"merged": artifact(run, "merged")})
    assert (model.adapter_key, model.adapter_sha256, model.adapter_files) == ("", "", [])
    run.refresh_from_db()
    assert (run.status, run.checkpoint_step) == (Status.DONE, 0)
    assert not state.exists()


def test_changed_files_and_a_folder_outside_the_run_are_rejected(run: TrainingRun, tmp_path: Any) -> None:
    reported = artifact(run, "merged")
    (local_path(f"{run.folder_key}/merged") / "model.safetensors").write_bytes(b"half")
    (tmp_path / "x").write_text("x")
    elsewhere = {"kind": "merged", "path": str(tmp_path), "sha256": folder_hash(tmp_path)}
    for merged, reason in ((reported, "differ from what the trainer reported"), (elsewhere, "outside the run")):
        with pytest.raises(ChildFailed, match=reason):
            record_artifacts(run, {"merged": merged})
    assert not ModelVersion.objects.exists()
    run.refresh_from_db()
    assert run.status == Status.RUNNING


def test_worker_of_a_claimed_run_changes_nothing(run: TrainingRun) -> None:
    old = TrainingRun.objects.get(pk=run.pk)
    recorder = EventRecorder(old)
    recorder({"event": "start", "total_steps": 9, "train_rows": 14})
    recorder(metrics(1))
    TrainingRun.objects.filter(pk=run.pk).update(job_id=uuid.uuid4())
    run.refresh_from_db()
    new = EventRecorder(run)
    new({"event": "start", "total_steps": 9, "train_rows": 14})
    new(metrics(5))
    new.flush()
    recorder(metrics(2))
    recorder.flush()
    recorder({"event": "checkpoint", "step": 2, "path": "state/2", "bytes": 9, "sha256": "f"})
    EventRecorder(old)({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 0})
    run.refresh_from_db()
    assert list(run.events.values_list("kind", "step")) == [("metrics", 5)]
    assert (run.progress_done, run.checkpoint_step) == (5, 0)


def test_progress_of_an_attempt_begins_at_its_newest_checkpoint(run: TrainingRun) -> None:
    run.checkpoint_step = 5
    assert EventRecorder(run).resumed_from == 5, "it was killed while it loaded"
    recorder = EventRecorder(run)
    recorder({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 6})
    recorder({"event": "checkpoint", "step": 3, "path": "state/3", "bytes": 9, "sha256": "f"})
    run.refresh_from_db()
    assert run.checkpoint_step == 6
    assert run.events.filter(kind="checkpoint", step=3).exists()


def test_resumed_attempt_deletes_only_later_points(run: TrainingRun) -> None:
    first = EventRecorder(run)
    first({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 0})
    for step in range(1, 8):
        first(metrics(step))
        if step in (4, 6):
            first({"event": "checkpoint", "step": step, "path": f"state/{step}", "bytes": 9, "sha256": "f"})
    first({"event": "warning", "step": 6, "message": "the loss jumped"})
    again = EventRecorder(run)
    again({"event": "warning", "step": 7, "message": "the checkpoint of step 7 is damaged"})
    again({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 4})
    run.refresh_from_db()
    assert (run.progress_done, run.checkpoint_step, run.facts["resumed_from"]) == (4, 4, 4)
    assert list(run.events.filter(kind="metrics").order_by("step").values_list("step", flat=True)) == [1, 2, 3, 4]
    assert [event.data["message"] for event in run.events.filter(kind="warning")] == [
        "the checkpoint of step 7 is damaged"
    ]
    for step in range(5, 10):
        again(metrics(step))
    again.flush()
    assert run.events.filter(kind="metrics").count() == 9


def test_voided_points_are_counted(run: TrainingRun) -> None:
    first = EventRecorder(run)
    first({"event": "start", "total_steps": 9, "train_rows": 14})
    for step in range(1, 7):
        first(metrics(step))
    first.flush()
    before = curve_points(run)
    assert before["attempt"] == 0
    run.record(attempts=2)
    assert curve_points(run)["attempt"] == 0, "taken up again, and nothing is void yet"
    EventRecorder(run)({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 4})
    run.refresh_from_db()
    points = curve_points(run)
    assert (points["attempt"], [row[0] for row in points["metrics"]]) == (1, [1, 2, 3, 4])
    EventRecorder(run)({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 4})
    run.refresh_from_db()
    assert curve_points(run)["attempt"] == 1, "nothing was void this time"


def test_seconds_add_up_over_attempts(run: TrainingRun) -> None:
    run.record(attempts=1)
    first = EventRecorder(run)
    first({"event": "start", "total_steps": 9, "train_rows": 14})
    first._began -= 3600  # it has trained for an hour
    first({"event": "checkpoint", "step": 4, "path": "state/4", "bytes": 9, "sha256": "f"})
    run.refresh_from_db()
    assert run.facts["seconds_kept"] == [1, pytest.approx(3600, abs=30)]
    assert (run.seconds or 0) < 60, "this attempt's own time is in its own clock"
    TrainingRun.objects.filter(pk=run.pk).update(status=Status.QUEUED, job_id=uuid.uuid4())
    run.refresh_from_db()
    assert run.seconds == pytest.approx(3600, abs=30), "queued time does not count"
    assert run.claim(attempts=2)
    assert 3500 < (run.seconds or 0) < 3700
    EventRecorder(run)({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 4})
    run.refresh_from_db()
    assert 3500 < (run.seconds or 0) < 3700
    assert run.started_at is not None
    run.progress_done, run.started_at = 5, run.started_at - timedelta(seconds=100)
    assert run.rate == pytest.approx(0.01, rel=0.5), "of this attempt alone"
    EventRecorder(run)({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 0})
    run.refresh_from_db()
    assert (run.seconds or 0) < 60, "restarted from the beginning"


def test_end_facts_are_removed_on_resume(run: TrainingRun) -> None:
    recorder = EventRecorder(run)
    recorder({"event": "start", "total_steps": 9, "train_rows": 14})
    recorder({"event": "done", "seconds": 9.0, "tokens": 900, "steps": 4, "stopped": True, "peak_memory_bytes": 5})
    assert final_metrics([run])[0]["seconds"] == 9.0
    EventRecorder(run)({"event": "start", "total_steps": 9, "train_rows": 14, "resumed_from": 4})
    run.refresh_from_db()
    assert not {"seconds", "tokens", "steps", "stopped", "peak_memory_bytes"} & set(run.facts)
    assert final_metrics([run])[0]["seconds"] != 9.0


def test_idle_recorder_writes_pending_points_and_a_stopping_one_says_what_it_does(run: TrainingRun) -> None:
    recorder = EventRecorder(run)
    recorder({"event": "start", "total_steps": 9, "train_rows": 14})
    recorder(metrics(1))
    assert not run.events.exists()
    recorder.on_idle()
    assert run.events.count() == 1
    recorder.on_stop()
    recorder({"event": "validation", "step": 1, "loss": 1.0})
    run.refresh_from_db()
    assert run.stage == "saving a checkpoint"


def test_system_is_sampled_while_it_trains(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    first = {"cpu": 1.5, "others": 0.1, "cores": 2, "memory_bytes": 9}
    samples = [first, None, {**first, "cpu": 1.0, "others": 0.6}]
    recorder = EventRecorder(run)
    monkeypatch.setattr(recorder._usage, "read", lambda: samples.pop(0) if samples else None)
    recorder(metrics(1))
    assert len(samples) == 3, "the model is still loading"
    recorder({"event": "start", "total_steps": 10})
    for step in (1, 2):
        recorder(metrics(step))
    recorder.on_idle()
    recorder.flush()
    rows = curve_points(run)["system"]
    assert [row[3] for row in rows] == [1.5, 1.0]
    assert run.facts["load"] == {"others": 0.6, "cores": 2}
    assert all(row[0] >= 0 and row[11] is None for row in rows)


def test_address_at_a_tracker_is_kept_if_it_is_https(run: TrainingRun) -> None:
    recorder = EventRecorder(run)
    recorder({"event": "tracker", "name": "wandb", "url": "https://wandb.ai/team/slm-studio/runs/1"})
    recorder({"event": "tracker", "name": "tensorboard", "url": "javascript:alert(1)"})
    assert run.facts["tracker_urls"] == {"wandb": "https://wandb.ai/team/slm-studio/runs/1"}
    [tracker] = trackers_of(run, ("wandb",))
    assert tracker["url"] == "https://wandb.ai/team/slm-studio/runs/1"
