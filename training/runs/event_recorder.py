"""Stores a trainer's events: points of curves, samples, warnings, facts and, at the end, a model version."""

import hashlib
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.db import transaction

from slmstudio.database.fields import storable
from slmstudio.hooks import Hook
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_manifest, manifest_hash
from slmstudio.workers.run_usage import SystemUsage
from training.child_processes import ChildFailed
from training.model_cards import card
from training.models import ModelVersion, TrainingEvent, TrainingRun
from training.spec import CARD_FILES, RunSpec

logger = logging.getLogger(__name__)
Event = dict[str, Any]
#: an evaluation of a run was stored
run_evaluated: Hook[[TrainingRun], object] = Hook()
FLUSH_SECONDS = 1.0
#: events of the trainer that are points; samples of the system are the recorder's own
_KINDS = set(TrainingEvent.Kind.values) - {TrainingEvent.Kind.SYSTEM}
#: facts of the event ``done``, removed when another attempt starts
END_FACTS = ("stopped", "stopped_early", "seconds", "steps", "tokens", "best_step", "other_step", "peak_memory_bytes")
#: what precedes the kinds of the artifacts that a run did not choose
_OTHER = "other_"


def truncate_events(run: TrainingRun, step: int) -> bool:
    """Deletes the events of an earlier attempt after ``step``, which are trained again; 0 deletes all.

    If any were deleted, ``voided`` in the run's facts increases, so that pages drop them, too. Idempotent. Returns
    False where the run is no longer this job's; nothing is deleted then.
    """
    later = run.events.filter(step__gt=step) if step else run.events.all()
    with transaction.atomic():  # locks the row, so that no other worker claims the run in between
        mine = run.record(progress_done=step, checkpoint_step=step)
        if mine and later.delete()[0]:
            run.record(facts={**run.facts, "voided": int(run.facts.get("voided") or 0) + 1})
    return mine


class EventRecorder:
    """Stores a trainer's events. Metrics are written in batches, about once a second; the rest immediately.

    An event that arrives twice changes nothing: the table holds each (run, kind, step) once. When an attempt starts,
    points after the step it resumes from are deleted. The trainer adds up seconds and tokens over attempts. Events of a
    run that was reaped or claimed by another worker are dropped.
    """

    def __init__(self, run: TrainingRun, devices: Sequence[int] | None = None) -> None:
        """``devices``: indexes of the run's GPUs, whose usage is sampled; None for all."""
        self.run = run
        self.artifacts: dict[str, Event] = {}
        self.total_steps = run.progress_total
        # Until the child reports its start: one that is killed before then has not progressed further.
        self.resumed_from = run.checkpoint_step
        self._rows: list[TrainingEvent] = []
        self._flushed_at = 0.0
        self._stage = run.stage
        self._stopping = False
        self._step = run.progress_done
        # Events before the start, for example that a checkpoint is damaged, belong to this attempt and are kept.
        self._early: list[TrainingEvent] = []
        self._started = False
        self._began = 0.0
        self._seconds_before = 0.0
        self._usage = SystemUsage(devices)

    def __call__(self, event: Event) -> None:
        event = storable(event)
        name = event["event"]
        data = {key: value for key, value in event.items() if key != "event"}
        self._sample_system()
        if name in _KINDS:
            self._add_point(name, data)
        elif name == "artifact":
            self.artifacts[str(data["kind"])] = data
            self._set_stage("saving the model")
        elif name == "start":
            self._start(data)
        elif name == "done":
            self._store_facts(data)
        elif name == "tracker" and str(data.get("url", "")).startswith("https://"):
            self._store_facts({"tracker_urls": {**self.run.facts.get("tracker_urls", {}), data["name"]: data["url"]}})
        # Metrics wait for the next batch; rarer events are written immediately.
        if name != "metrics" or time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the pending events."""
        self._flushed_at = time.monotonic()
        with transaction.atomic():  # locks the row, so that no other worker claims the run in between
            mine = self.run.record(progress_done=self._step, progress_total=self.total_steps, stage=self._stage[:120])
            if mine and self._rows:
                TrainingEvent.objects.bulk_create(self._rows, ignore_conflicts=True)
        evaluated = mine and any(row.kind == TrainingEvent.Kind.SAMPLES for row in self._rows)
        self._rows = []
        if evaluated:
            try:
                run_evaluated.call(self.run)
            except Exception:  # the run goes on; a periodic task calls again what depends on it
                logger.exception("after the evaluation of run %s", self.run.pk)

    def on_idle(self) -> None:
        """Writes pending events when no event arrives, for example while a checkpoint is saved."""
        self._sample_system()
        if self._rows:
            self.flush()

    def on_stop(self) -> None:
        """Shows that the child is stopping."""
        self._set_stage("saving a checkpoint")
        self._stopping = True
        self.run.record(stage=self._stage)

    def _sample_system(self) -> None:
        if not self._started or (usage := self._usage.read()) is None:
            return
        self.run.facts = {**self.run.facts, "load": {name: usage[name] for name in ("others", "cores")}}
        self.run.record(facts=self.run.facts)
        seconds = round(self._seconds_before + time.monotonic() - self._began, 1)
        kind, data = TrainingEvent.Kind.SYSTEM, {"seconds": seconds, **usage}
        self._rows.append(TrainingEvent(run=self.run, kind=kind, step=self._step, key=f"{seconds}", data=data))

    def _set_stage(self, stage: str) -> None:
        if not self._stopping:
            self._stage = stage

    def _start(self, data: Event) -> None:
        self.resumed_from = int(data.get("resumed_from") or 0)
        self.total_steps = int(data.get("total_steps") or 0)
        self._step = self.resumed_from
        if truncate_events(self.run, self.resumed_from):
            self._rows += self._early
        self._started = True
        self._began = time.monotonic()
        self.run.facts = {name: value for name, value in self.run.facts.items() if name not in END_FACTS}
        if self.resumed_from:
            self._seconds_before = self.run.earlier_seconds
            data = {**data, "seconds_before": self._seconds_before}
        else:
            for name in ("seconds_before", "seconds_kept"):
                self.run.facts.pop(name, None)
        self._store_facts(data)
        self._set_stage("training")

    def _add_point(self, kind: str, data: Event) -> None:
        step = max(0, int(data.get("step") or 0))
        key = ""
        if kind == TrainingEvent.Kind.WARNING:
            # There can be several warnings at one step.
            key = hashlib.sha256(str(data.get("message", "")).encode()).hexdigest()[:16]
        elif kind == TrainingEvent.Kind.CHECKPOINT and step >= self.run.checkpoint_step:
            self.run.record(
                checkpoint_step=step, facts=self._checkpoint_facts()
            )  # a resumed child repeats earlier ones
        row = TrainingEvent(run=self.run, kind=kind, step=step, key=key, data=data)
        self._rows.append(row)
        if not self._started:
            self._early.append(row)
        self._step = max(self._step, min(step, self.total_steps or step))
        if kind != TrainingEvent.Kind.WARNING:
            self._set_stage("training")

    def _checkpoint_facts(self) -> dict[str, Any]:
        """The facts with the training time up to the newest checkpoint, and the attempt that saved it: that time counts
        whatever happens to the attempt.
        """
        if not self._started:
            return {**self.run.facts}
        seconds = round(self._seconds_before + time.monotonic() - self._began, 1)
        return {**self.run.facts, "seconds_kept": [self.run.attempts, seconds]}

    def _store_facts(self, data: Event) -> None:
        self.run.facts = {**self.run.facts, **data}
        self.run.record(facts=self.run.facts)


def record_artifacts(run: TrainingRun, artifacts: dict[str, Event]) -> ModelVersion:
    """Finishes a run: creates its ModelVersion from the trainer's folders and marks the run as done, atomically.

    Where the trainer saved the weights that the run did not choose, they become the alternative version. Idempotent.
    Removes the checkpoints: a run that is done is never resumed.

    Raises:
        ChildFailed: the folder of the merged model is missing, or its files differ from what the trainer reported.
    """
    facts = run.facts
    best, other = facts.get("best_step"), f"{_OTHER}merged" in artifacts
    step = facts.get("steps") if best is None else best
    names = ModelVersion.Checkpoint
    chosen, rest = (names.LAST, names.BEST) if best is None else (names.BEST, names.LAST)
    with keep_alive(run):  # some gigabytes are hashed
        versions = [{**_files(run, artifacts), "step": step, "checkpoint": chosen if other else ""}]
        if other:
            place = {"is_alternative": True, "step": facts.get("other_step"), "checkpoint": rest}
            versions.append({**_files(run, artifacts, _OTHER), **place})
    model, created = _model_version(run, versions)
    if created:
        shutil.rmtree(local_path(run.folder_key) / "state", ignore_errors=True)
    return model


def _files(run: TrainingRun, artifacts: dict[str, Event], prefix: str = "") -> dict[str, Any]:
    """The columns of a ModelVersion that name its files; ``prefix``: of the kinds of its artifacts."""
    none: tuple[str, list[Any], str] = ("", [], "")
    merged_key, merged, merged_hash = _folder(run, artifacts, f"{prefix}merged")
    kind = f"{prefix}adapter"
    adapter_key, adapter, adapter_hash = _folder(run, artifacts, kind) if kind in artifacts else none
    return {
        "folder_key": merged_key,
        "sha256": merged_hash,
        "tokenizer_sha256": next((file["sha256"] for file in merged if file["path"] == "tokenizer.json"), ""),
        "adapter_key": adapter_key,
        "adapter_sha256": adapter_hash,
        "files": merged,
        "adapter_files": adapter,
        "lineage": card.lineage_of(run, RunSpec.from_yaml(run.spec)),
    }


def _model_version(run: TrainingRun, versions: list[dict[str, Any]]) -> tuple[ModelVersion, bool]:
    """The run's ModelVersion, the first of ``versions``, and whether it exists: not where another worker has claimed
    the run.
    """
    with transaction.atomic():
        first = run.project.next_number(ModelVersion)  # locks the project: one number at a time
        existing = ModelVersion.objects.chosen().filter(training_run=run).first()
        if existing is not None:  # the database failed right after the commit, before its response arrived
            return existing, True
        model, *_ = [
            ModelVersion.objects.create(project_id=run.project_id, number=number, training_run=run, **values)
            for number, values in enumerate(versions, start=first)
        ]
        finished = run.finish(progress_done=run.progress_total, checkpoint_step=0)
        if not finished:
            # Reaped or cancelled in the meantime: no model version is created.
            transaction.set_rollback(True)
    return model, finished


def _folder(run: TrainingRun, artifacts: dict[str, Event], kind: str) -> tuple[str, list[Any], str]:
    """Key, manifest and hash of one of the trainer's folders; the hash is recomputed."""
    artifact = artifacts.get(kind)
    if artifact is None:
        raise ChildFailed(f"The trainer ended without saving its {kind} model.")
    root = local_path(run.folder_key).resolve()
    path = Path(artifact["path"])
    path = (path if path.is_absolute() else root / path).resolve()
    if not path.is_relative_to(root) or not path.is_dir():
        raise ChildFailed(f"The trainer's {kind} model is outside the run's folder: {path}.")
    # Without the model card, which exists already if this is repeated.
    written = [entry for entry in folder_manifest(path) if entry["path"] not in CARD_FILES]
    if not written or manifest_hash(written) != artifact["sha256"]:
        raise ChildFailed(f"The files of the {kind} model differ from what the trainer reported; the disk may be full.")
    if kind == "merged":  # the card is of the chosen weights
        card.write(run, path)
    manifest = folder_manifest(path)
    key = f"{run.folder_key}/{path.relative_to(root).as_posix()}"
    return key, [dict(entry) for entry in manifest], manifest_hash(manifest)
