"""Turns what a trainer says into rows: points of curves, samples, warnings, facts and, at the end, a ModelVersion."""

import hashlib
import math
import shutil
import time
from pathlib import Path
from typing import Any

from django.db import transaction
from django.db.models import Max

from labeling.models import Project
from slmstudio.runs.foreign_load import OtherProcessLoad
from slmstudio.runs.heartbeat import keep_alive
from slmstudio.storage.artifacts import local_path
from slmstudio.storage.hashing import folder_manifest, manifest_hash
from training.exports.model_card import FILES as CARD
from training.exports.model_card_facts import describe, lineage_of
from training.models import ModelVersion, TrainingEvent, TrainingRun
from training.runs.child_processes import ChildFailed
from training.spec import RunSpec

Event = dict[str, Any]
FLUSH_SECONDS = 1.0
_KINDS = set(TrainingEvent.Kind.values)
#: what the end of an attempt says that was not the last one
_OF_AN_END = ("stopped", "stopped_early", "seconds", "steps", "tokens", "best_step", "peak_memory_bytes")


def storable(value: Any) -> Any:
    """A value that ``jsonb`` takes: no NaN or infinity (null instead), no NUL, no lone surrogates in texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    return value


def go_on_from(run: TrainingRun, step: int) -> bool:
    """Forgets what an earlier attempt told of the steps after ``step``: they are taken again. 0 forgets everything.

    Where there was something, ``voided`` in the run's facts goes up, so that pages forget it, too. Done twice it does
    no more than once. False: the run is no longer this job's, and nothing was forgotten.
    """
    later = run.events.filter(step__gt=step) if step else run.events.all()
    with transaction.atomic():  # the row is held meanwhile, so that nobody takes the run away in between
        mine = run.record(progress_done=step, checkpoint_step=step)
        if mine and later.delete()[0]:
            run.record(facts={**run.facts, "voided": int(run.facts.get("voided") or 0) + 1})
    return mine


class Recorder:
    """Takes a trainer's events. Points are written in batches about once a second; the rest at once.

    An event that is told twice changes nothing: the table holds each (run, kind, step) once. When an attempt says where
    it goes on, points after that step are forgotten. Seconds and tokens are the trainer's to add up over attempts.
    A run that was swept, or is another worker's by now, takes nothing more: its points are dropped.
    """

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self.artifacts: dict[str, Event] = {}
        self.total_steps = run.progress_total
        # Until the child says where it goes on: one that is killed before has got no further than this.
        self.resumed_from = run.checkpoint_step
        self._rows: list[TrainingEvent] = []
        self._flushed_at = 0.0
        self._stage = run.stage
        self._stopping = False
        self._step = run.progress_done
        # What was told before the start, as that a checkpoint is damaged: it is of this attempt and is kept.
        self._early: list[TrainingEvent] = []
        self._started = False
        self._began = 0.0
        self._seconds_before = 0.0
        self._load = OtherProcessLoad()

    def __call__(self, event: Event) -> None:
        event = storable(event)
        name = event["event"]
        data = {key: value for key, value in event.items() if key != "event"}
        if name in _KINDS:
            self._point(name, data)
        elif name == "artifact":
            self.artifacts[str(data["kind"])] = data
            self._say("saving the model")
        elif name == "start":
            self._start(data)
        elif name == "done":
            self._note_facts(data)
        # Points may wait for the next one; anything rarer is shown as soon as it is known.
        if name != "metrics" or time.monotonic() - self._flushed_at >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what is held back."""
        self._flushed_at = time.monotonic()
        with transaction.atomic():  # the row is held meanwhile, so that nobody takes the run away in between
            if (load := self._load.read()) is not None:
                self.run.facts = {**self.run.facts, "load": load}
                self.run.record(facts=self.run.facts)
            mine = self.run.record(progress_done=self._step, progress_total=self.total_steps, stage=self._stage[:120])
            if mine and self._rows:
                TrainingEvent.objects.bulk_create(self._rows, ignore_conflicts=True)
        self._rows = []

    def idle(self) -> None:
        """Nothing has come for a moment, as while a checkpoint is written: what is held back need not wait longer."""
        if self._rows:
            self.flush()

    def stopping(self) -> None:
        """The child was asked to stop: from now on that is what the run is doing."""
        self._say("saving a checkpoint")
        self._stopping = True
        self.run.record(stage=self._stage)

    def _say(self, stage: str) -> None:
        if not self._stopping:
            self._stage = stage

    def _start(self, data: Event) -> None:
        self.resumed_from = int(data.get("resumed_from") or 0)
        self.total_steps = int(data.get("total_steps") or 0)
        self._step = self.resumed_from
        if go_on_from(self.run, self.resumed_from):
            self._rows += self._early
        self._started = True
        self._began = time.monotonic()
        self.run.facts = {name: value for name, value in self.run.facts.items() if name not in _OF_AN_END}
        if self.resumed_from:
            self._seconds_before = self.run.seconds_before
            data = {**data, "seconds_before": self._seconds_before}
        else:
            for name in ("seconds_before", "seconds_kept"):
                self.run.facts.pop(name, None)
        self._note_facts(data)
        self._say("training")

    def _point(self, kind: str, data: Event) -> None:
        step = max(0, int(data.get("step") or 0))
        key = ""
        if kind == TrainingEvent.Kind.WARNING:
            # Several warnings may fall on one step.
            key = hashlib.sha256(str(data.get("message", "")).encode()).hexdigest()[:16]
        elif kind == TrainingEvent.Kind.CHECKPOINT and step >= self.run.checkpoint_step:
            self.run.record(checkpoint_step=step, facts=self._kept())  # a resumed child tells of earlier ones again
        row = TrainingEvent(run=self.run, kind=kind, step=step, key=key, data=data)
        self._rows.append(row)
        if not self._started:
            self._early.append(row)
        self._step = max(self._step, min(step, self.total_steps or step))
        if kind != TrainingEvent.Kind.WARNING:
            self._say("training")

    def _kept(self) -> dict[str, Any]:
        """The facts with the time that went into the newest checkpoint, and the attempt that it was written in: that
        time counts, whatever becomes of the attempt.
        """
        if not self._started:
            return {**self.run.facts}
        seconds = round(self._seconds_before + time.monotonic() - self._began, 1)
        return {**self.run.facts, "seconds_kept": [self.run.attempts, seconds]}

    def _note_facts(self, data: Event) -> None:
        self.run.facts = {**self.run.facts, **data}
        self.run.record(facts=self.run.facts)


def record_artifacts(run: TrainingRun, artifacts: dict[str, Event]) -> ModelVersion:
    """Ends a run well: makes its ModelVersion from the folders the trainer wrote, and the run is done. All or nothing.
    Asked again it gives the same. What a resume would need is removed: a run that is done is never resumed.

    Raises:
        ChildFailed: the folder with the merged model is missing, or is not what the trainer said it wrote.
    """
    none: tuple[str, list[Any], str] = ("", [], "")
    with keep_alive(run):  # some gigabytes are hashed
        merged_key, merged, merged_hash = _folder(run, artifacts, "merged")
        adapter_key, adapter, adapter_hash = _folder(run, artifacts, "adapter") if "adapter" in artifacts else none
    spec = RunSpec.from_yaml(run.spec)
    tokenizer = next((file["sha256"] for file in merged if file["path"] == "tokenizer.json"), "")
    model, made = _model_version(
        run,
        folder_key=merged_key,
        sha256=merged_hash,
        tokenizer_sha256=tokenizer,
        adapter_key=adapter_key,
        adapter_sha256=adapter_hash,
        files=merged,
        adapter_files=adapter,
        lineage=lineage_of(run, spec),
    )
    if made:
        shutil.rmtree(local_path(run.folder_key) / "state", ignore_errors=True)
    return model


def _model_version(run: TrainingRun, **values: Any) -> tuple[ModelVersion, bool]:
    """The run's ModelVersion, and whether it is there: not where the run was taken away from this worker."""
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=run.project_id)  # numbers are given one at a time
        found = ModelVersion.objects.filter(training_run=run).first()
        if found is not None:  # the database went away right after it had been told, before it could say so
            return found, True
        last = ModelVersion.objects.filter(project_id=run.project_id).aggregate(last=Max("number"))["last"] or 0
        model = ModelVersion.objects.create(project_id=run.project_id, number=last + 1, training_run=run, **values)
        finished = run.finish(progress_done=run.progress_total, checkpoint_step=0)
        if not finished:
            # Swept or cancelled a moment ago: that stands, and no model comes out of it.
            transaction.set_rollback(True)
    return model, finished


def _folder(run: TrainingRun, artifacts: dict[str, Event], kind: str) -> tuple[str, list[Any], str]:
    """Key, manifest and hash of one folder the trainer wrote; the hash is counted here, not believed."""
    said = artifacts.get(kind)
    if said is None:
        raise ChildFailed(f"The trainer ended without writing its {kind} model.")
    root = local_path(run.folder_key).resolve()
    path = Path(said["path"])
    path = (path if path.is_absolute() else root / path).resolve()
    if not path.is_relative_to(root) or not path.is_dir():
        raise ChildFailed(f"The trainer's {kind} model is not where it belongs: {path}.")
    # Without the card, which is there already where this is done a second time.
    written = [entry for entry in folder_manifest(path) if entry["path"] not in CARD]
    if not written or manifest_hash(written) != said["sha256"]:
        raise ChildFailed(f"The files of the {kind} model are not those the trainer wrote; the disk may be full.")
    if kind == "merged":
        describe(run, path)
    manifest = folder_manifest(path)
    key = f"{run.folder_key}/{path.relative_to(root).as_posix()}"
    return key, [dict(entry) for entry in manifest], manifest_hash(manifest)
