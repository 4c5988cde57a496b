"""Training runs with their events, and the model versions they produce."""

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import FloatField, OuterRef, Subquery
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils import timezone

from labeling.models import DatasetVersion, Project, Study
from slmstudio.runs.models import BackgroundRun, RunQuerySet, Status
from training.models.base_models import BaseModel


class TrainingRunQuerySet(RunQuerySet["TrainingRun"]):
    """Named reads of training runs."""

    def of_project(self, project: Project) -> Self:
        """A project's runs, newest first."""
        return self.filter(project=project).order_by("-number")

    def for_table(self, project: Project, metrics: Iterable[str] = ("loss", "validation_loss", "field_exact")) -> Self:
        """A project's runs, newest first, with all that a table of them shows.

        ``metrics``: names of ``RUN_METRICS``; each is an annotation of that name.
        """
        rows = self.of_project(project).select_related("dataset", "base_model", "created_by")
        rows = rows.prefetch_related("model_versions")
        return rows.annotate(**{name: _metric(*RUN_METRICS[name]) for name in metrics})


#: metric of a run -> kind of event, value, and which event: the newest, or that with the lowest or highest value
RUN_METRICS = {
    "loss": ("metrics", "loss", "newest"),
    "tokens_per_second": ("metrics", "tokens_per_second", "newest"),
    "validation_loss": ("validation", "loss", "newest"),
    "best_validation_loss": ("validation", "loss", "lowest"),
    "field_exact": ("samples", "field_exact", "newest"),
    "best_field_exact": ("samples", "field_exact", "highest"),
    "schema_valid": ("samples", "schema_valid", "newest"),
}


def _metric(kind: str, key: str, which: str) -> Subquery:
    """A metric of a run in one index lookup; null where the run has no such event."""
    value = Cast(KT(f"data__{key}"), FloatField())
    order = {"newest": "-step", "lowest": "value", "highest": "-value"}[which]
    events = TrainingEvent.objects.filter(run=OuterRef("pk"), kind=kind).annotate(value=value)
    known = events if which == "newest" else events.filter(value__isnull=False)
    return Subquery(known.order_by(order).values("value")[:1])


class TrainingRun(BackgroundRun):
    """One fine-tuning from a RunSpec. Its result is a model version."""

    job_name = "training.runs.jobs.run_training"
    queue_name = "gpu"
    gpu_columns = ("spec",)
    attempts_allowed = 3

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="training_runs")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=120, blank=True)
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="training_runs")
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, related_name="training_runs")
    study = models.ForeignKey(Study, null=True, blank=True, on_delete=models.SET_NULL, related_name="training_runs")
    # Text, not jsonb: jsonb would sort the schema's properties, and the file on disk is this very text.
    spec = models.TextField(help_text="the RunSpec as YAML")
    hyperparameters: Any = models.JSONField(
        default=dict, blank=True, help_text="those of the spec, to sort and filter by"
    )
    tags = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    notes = models.TextField(blank=True)
    archived_at = models.DateTimeField(null=True, blank=True, help_text="hidden in lists since; null: not archived")
    facts = models.JSONField(default=dict, blank=True, help_text="values of the trainer's events start and done")
    estimate = models.JSONField(
        default=dict, blank=True, help_text="estimate before the start; see training.estimates.estimate"
    )
    checkpoint_step = models.PositiveIntegerField(default=0, help_text="step of the newest checkpoint, 0 without one")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="how often a worker has claimed it")

    objects: ClassVar = TrainingRunQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="training_number_once")]

    def __str__(self) -> str:
        return self.name or f"run {self.number}"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("training_run", args=[self.project.slug, self.number])

    @property
    def attempts_since_restart(self) -> int:
        """Attempts since a user last started it, without those whose worker was stopped."""
        return self.attempts - int(self.facts.get("forgiven") or 0)

    @property
    def earlier_seconds(self) -> float:
        """Seconds of earlier attempts up to their last checkpoint: the time whose work was kept."""
        attempt, kept = self.facts.get("seconds_kept") or (0, 0.0)
        if attempt < self.attempts or self.status == Status.QUEUED:  # this attempt has no checkpoint yet
            return float(kept)
        return float(self.facts.get("seconds_before") or 0.0)

    @property
    def seconds(self) -> float | None:
        """Seconds of training so far, over all attempts."""
        if self.status == Status.QUEUED:
            return self.earlier_seconds or None
        current = super().seconds
        return None if current is None else self.earlier_seconds + current

    @property
    def rate(self) -> float | None:
        """Steps per second of this attempt."""
        steps, seconds = self.progress_done - int(self.facts.get("resumed_from") or 0), super().seconds
        return steps / seconds if seconds and steps > 0 else None

    @property
    def gpus(self) -> int:
        """The devices in its spec."""
        match = re.search(r"^devices: (\d+)", self.spec, re.MULTILINE)
        return int(match[1]) if match else 1

    @property
    def model_version(self) -> "ModelVersion | None":
        """The version with the weights that the run chose; None before it is done. For several runs, prefetch
        ``model_versions``.
        """
        return next((version for version in self.model_versions.all() if not version.is_alternative), None)

    @property
    def folder_key(self) -> str:
        """Key of its folder in the artifact store: spec.yaml, log.txt, state/, adapter/, merged/, other/."""
        return f"training/{self.pk}"


class TrainingEvent(models.Model):
    """One point of a run's curves, a sample generation, a warning or a sample of the system. Each is stored once."""

    class Kind(models.TextChoices):
        """The trainer's event names."""

        METRICS = "metrics"
        VALIDATION = "validation"
        SAMPLES = "samples"
        WARNING = "warning"
        CHECKPOINT = "checkpoint"
        SYSTEM = "system"

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    step = models.PositiveIntegerField()
    key = models.CharField(max_length=16, blank=True, help_text="distinguishes several events at one step")
    data: Any = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "kind", "step", "key"], name="training_event_once")]

    def __str__(self) -> str:
        return f"{self.kind} at step {self.step}"


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    """Named reads of model versions."""

    def chosen(self) -> Self:
        """Those with the weights that their run chose, one for each run."""
        return self.filter(is_alternative=False)

    def with_weights(self) -> Self:
        """Those whose weights are not deleted."""
        return self.filter(weights_deleted_at__isnull=True)


class ModelVersion(models.Model):
    """The result of a training run: a folder with its hash and its lineage.

    A run that keeps best and last has a second version, the alternative, where they differ.
    """

    class Checkpoint(models.TextChoices):
        """Which of the two checkpoints that its run kept."""

        BEST = "best", "Best"
        LAST = "last", "Last"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="model_versions")
    number = models.PositiveIntegerField()
    training_run = models.ForeignKey(TrainingRun, on_delete=models.PROTECT, related_name="model_versions")
    is_alternative = models.BooleanField(default=False, help_text="the weights that the run did not choose")
    checkpoint = models.CharField(
        max_length=4, choices=Checkpoint.choices, blank=True, help_text="of a run that kept two; empty: the only one"
    )
    step = models.PositiveIntegerField(null=True, blank=True, help_text="of its weights; null: not recorded")
    folder_key = models.CharField(max_length=300, help_text="merged safetensors with tokenizer, in the artifact store")
    sha256 = models.CharField(max_length=64, help_text="of the merged folder")
    tokenizer_sha256 = models.CharField(max_length=64, blank=True, help_text="of its tokenizer.json")
    adapter_key = models.CharField(max_length=300, blank=True)
    adapter_sha256 = models.CharField(max_length=64, blank=True)
    files = models.JSONField(default=list, help_text="{path, size, sha256} of the merged folder")
    adapter_files = models.JSONField(default=list, help_text="{path, size, sha256} of the adapter's folder")
    lineage = models.JSONField(default=dict, help_text="hashes of base model, dataset, schema and spec")
    weights_deleted_at = models.DateTimeField(null=True, blank=True, help_text="its files are deleted since")
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar = ModelVersionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="model_number_once"),
            models.UniqueConstraint(fields=["training_run", "is_alternative"], name="model_once_per_run"),
        ]

    def __str__(self) -> str:
        return f"model v{self.number}"

    @property
    def choice_key(self) -> str:
        """Its key in the form of evaluations."""
        return f"version-{self.number}" if self.is_alternative else f"run-{self.training_run.number}"

    @property
    def origin(self) -> str:
        """Its run, and which checkpoint of it where the run kept two: ``run 2, best, step 40``."""
        step = f", {self.get_checkpoint_display().lower()}, step {self.step:,}" if self.checkpoint and self.step else ""
        return f"{self.training_run}{step}"

    @property
    def size_bytes(self) -> int:
        """Size of its files; 0 once they are deleted."""
        if self.weights_deleted_at is not None:
            return 0
        return sum(int(file["size"]) for file in (*self.files, *self.adapter_files))
