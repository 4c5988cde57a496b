"""Tables of the training side."""

import re
from pathlib import Path
from typing import Any, ClassVar

from django.db import models
from django.db.models import OuterRef, Subquery
from django.urls import reverse
from django.utils import timezone

from labeling.models import DatasetVersion, Project, Split
from slmstudio.runs.models import BackgroundRun, RunQuerySet, Status


class BaseModel(models.Model):
    """A model that can be fine-tuned or benchmarked; known to the whole installation."""

    class Source(models.TextChoices):
        """Where its weights come from."""

        PACKAGED = "packaged", "packaged"
        FOLDER = "folder", "local folder"
        HUB = "hub", "hub"

    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=120)
    source = models.CharField(max_length=10, choices=Source.choices)
    location = models.CharField(max_length=300, help_text="package name, folder or hub id")
    reference = models.CharField(max_length=200, blank=True, help_text="the hub id it is known by")
    licence = models.CharField(max_length=80, blank=True)
    parameters = models.BigIntegerField(default=0)
    context = models.PositiveIntegerField(default=0, help_text="tokens")
    instruction_tuned = models.BooleanField(default=False)
    architecture = models.CharField(max_length=80, blank=True, help_text="the class that config.json names")
    shape = models.JSONField(
        default=dict, blank=True, help_text="layers, widths and heads; see training.estimates.estimate.Shape"
    )
    size_bytes = models.BigIntegerField(default=0, help_text="of the prepared folder")
    revision = models.CharField(max_length=64, blank=True, help_text="the commit on the hub it was taken from")
    folder = models.CharField(max_length=300, blank=True, help_text="the prepared model folder; empty until prepared")
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the prepared folder")

    def __str__(self) -> str:
        return self.name

    @property
    def ready(self) -> bool:
        """Prepared: its folder can be loaded."""
        return bool(self.folder and self.sha256)

    @property
    def here(self) -> bool:
        """Nothing has to be downloaded first: prepared, or of a package or a folder of this machine."""
        return self.source != self.Source.HUB or (self.ready and Path(self.folder).is_dir())

    @property
    def prompt(self) -> str:
        """``chat``: its own chat template; ``plain``: ours, for models that were not taught to follow instructions."""
        return "chat" if self.instruction_tuned else "plain"


class ModelPull(BackgroundRun):
    """Brings a base model into its folder, asked for on a page. One row for each model; asked again, it runs again.

    In the queue of imports: like them it brings large things in, and freezes, exports and webhooks do not wait for it.
    """

    job_name = "training.base_models.jobs.pull_model"
    former_job_names = ("training.model_jobs.pull_model",)
    queue_name = "imports"
    job_timeout = -1  # as long as the download takes

    base_model = models.OneToOneField(BaseModel, on_delete=models.CASCADE, related_name="pull")

    def __str__(self) -> str:
        return f"preparing {self.base_model}"


class LengthReport(BackgroundRun):
    """Token lengths of every row of a dataset version under a base model's tokenizer."""

    job_name = "training.runs.jobs.measure_lengths"
    former_job_names = ("training.jobs.measure_lengths",)

    dataset = models.ForeignKey(DatasetVersion, on_delete=models.CASCADE, related_name="length_reports")
    base_model = models.ForeignKey(BaseModel, on_delete=models.CASCADE, related_name="length_reports")
    model_sha256 = models.CharField(max_length=64, blank=True, help_text="of the base model it was measured with")
    longest = models.PositiveIntegerField(
        default=0, help_text="tokens of the longest prompt with its completion, hold-out left aside"
    )
    lengths = models.JSONField(default=list, help_text="[id, split, prompt tokens, completion tokens] per row")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "base_model"], name="length_report_once")]

    def __str__(self) -> str:
        return f"lengths of {self.dataset} under {self.base_model}"

    @property
    def current(self) -> bool:
        """Done, and measured with the base model as it is now."""
        return self.status == Status.DONE and self.model_sha256 == self.base_model.sha256

    @property
    def seen_key(self) -> str:
        """Where the first row of each split lies as the model reads it: split -> {id, prompt, completion}."""
        return f"lengths/{self.pk}.seen.json"

    def totals(self, split: str | None = None) -> list[tuple[str, int]]:
        """Id and tokens (prompt with completion) of each row of a split; without one, of all but the hold-out."""
        return [
            (row_id, prompt + completion)
            for row_id, its_split, prompt, completion in self.lengths
            if (its_split == split if split else its_split != Split.HOLDOUT)
        ]

    def too_long(self, limit: int, split: str | None = None) -> list[str]:
        """Ids of the rows longer than ``limit`` tokens, training and validation rows unless a split is given."""
        return [row_id for row_id, tokens in self.totals(split) if tokens > limit]


class TrainingRunQuerySet(RunQuerySet):
    """Named reads of training runs."""

    # Any, because the stubs take the rows of a run's query set for bare BackgroundRuns.
    def of_project(self, project: Project) -> Any:
        """A project's runs, newest first, with everything a table of them shows."""
        last = TrainingEvent.objects.filter(run=OuterRef("pk")).order_by("-step")
        everything: Any = self
        return (
            everything.filter(project=project)
            .select_related("dataset", "base_model", "created_by", "model_version")
            .annotate(
                last_loss=Subquery(last.filter(kind="metrics").values("data__loss")[:1]),
                last_validation=Subquery(last.filter(kind="validation").values("data__loss")[:1]),
                last_field_exact=Subquery(last.filter(kind="samples").values("data__field_exact")[:1]),
            )
            .order_by("-number")
        )


class TrainingRun(BackgroundRun):
    """One fine-tuning from a RunSpec; gives a ModelVersion."""

    job_name = "training.runs.jobs.run_training"
    former_job_names = ("training.jobs.run_training",)
    queue_name = "gpu"
    attempts_allowed = 3

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="training_runs")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=120, blank=True)
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="training_runs")
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, related_name="training_runs")
    # Text, not jsonb: jsonb would sort the schema's properties, and the file on disk is this very text.
    spec = models.TextField(help_text="the RunSpec as YAML")
    facts = models.JSONField(default=dict, blank=True, help_text="what the trainer said at its start and its end")
    estimate = models.JSONField(
        default=dict, blank=True, help_text="foretold before the start; see training.estimates.estimate"
    )
    checkpoint_step = models.PositiveIntegerField(default=0, help_text="step of the newest checkpoint, 0 without one")
    attempts = models.PositiveSmallIntegerField(default=0, help_text="how often a worker took it up")

    objects: ClassVar[Any] = TrainingRunQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="training_number_once")]

    def __str__(self) -> str:
        return self.name or f"run {self.number}"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("training_run", args=[self.project.slug, self.number])

    @property
    def tries(self) -> int:
        """Attempts since a person looked at it, without those whose worker was told to stop."""
        return self.attempts - int(self.facts.get("forgiven") or 0)

    @property
    def seconds_before(self) -> float:
        """Seconds of the attempts before this one, as far as their work counts: up to their last checkpoint."""
        attempt, kept = self.facts.get("seconds_kept") or (0, 0.0)
        if attempt < self.attempts or self.status == Status.QUEUED:  # this one has not got as far as a checkpoint
            return float(kept)
        return float(self.facts.get("seconds_before") or 0.0)

    @property
    def seconds(self) -> float | None:
        """Seconds it has been at work, or took, over all its attempts."""
        if self.status == Status.QUEUED:
            return self.seconds_before or None
        this = super().seconds
        return None if this is None else self.seconds_before + this

    @property
    def rate(self) -> float | None:
        """Steps per second of this attempt."""
        taken, seconds = self.progress_done - int(self.facts.get("resumed_from") or 0), super().seconds
        return taken / seconds if seconds and taken > 0 else None

    @property
    def gpus(self) -> int:
        """As its spec has it."""
        found = re.search(r"^devices: (\d+)", self.spec, re.MULTILINE)
        return int(found[1]) if found else 1

    @property
    def folder_key(self) -> str:
        """Where its files lie in the artifact store: spec.yaml, log.txt, state/, adapter/, merged/."""
        return f"training/{self.pk}"


class TrainingEvent(models.Model):
    """One point of a run's curves, a sample generation or a warning. Each point once, whoever writes it."""

    class Kind(models.TextChoices):
        """The trainer's event names."""

        METRICS = "metrics"
        VALIDATION = "validation"
        SAMPLES = "samples"
        WARNING = "warning"
        CHECKPOINT = "checkpoint"

    run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    step = models.PositiveIntegerField()
    key = models.CharField(max_length=16, blank=True, help_text="tells several warnings at one step apart")
    data: Any = models.JSONField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "kind", "step", "key"], name="training_event_once")]

    def __str__(self) -> str:
        return f"{self.kind} at step {self.step}"


class ModelVersion(models.Model):
    """What a training run made: a folder with its hash and its lineage."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="model_versions")
    number = models.PositiveIntegerField()
    training_run = models.OneToOneField(TrainingRun, on_delete=models.PROTECT, related_name="model_version")
    folder_key = models.CharField(max_length=300, help_text="merged safetensors with tokenizer, in the artifact store")
    sha256 = models.CharField(max_length=64, help_text="of the merged folder")
    tokenizer_sha256 = models.CharField(max_length=64, blank=True, help_text="of its tokenizer.json")
    adapter_key = models.CharField(max_length=300, blank=True)
    adapter_sha256 = models.CharField(max_length=64, blank=True)
    files = models.JSONField(default=list, help_text="{path, size, sha256} of the merged folder")
    adapter_files = models.JSONField(default=list, help_text="{path, size, sha256} of the adapter's folder")
    lineage = models.JSONField(default=dict, help_text="hashes of base model, dataset, schema and spec")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="model_number_once")]

    def __str__(self) -> str:
        return f"model v{self.number}"


class Export(BackgroundRun):
    """Something to take along, made in the background: a folder of files with their hashes.

    Made again it keeps what lies there until the new one is whole; where that comes to nothing it is done, as before.
    """

    folder_key = models.CharField(max_length=300, blank=True, help_text="in the artifact store; empty until it is made")
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the folder")
    files = models.JSONField(default=list, blank=True, help_text="{path, size, sha256} of the folder")

    class Meta:
        abstract = True

    @property
    def is_made(self) -> bool:
        """Its files are there to be taken, also while it is being made again."""
        return self.status == Status.DONE or bool(self.is_live and self.folder_key)

    def _transition(self, source: tuple[Status, ...], *, owned: bool = False, **changes: Any) -> bool:
        # Failed or cancelled while it was made again, it is still what it was; only the error tells of it.
        if self.folder_key and changes.get("status") in (Status.FAILED, Status.CANCELLED):
            changes["status"] = Status.DONE
        return super()._transition(source, owned=owned, **changes)


class ModelExport(Export):
    """A model version as a GGUF file, checked on llama.cpp.

    In the queue of trainings and generations: it loads the model twice and computes on all cores, so it waits for its
    turn, and an import never waits for it.
    """

    job_name = "training.exports.jobs.export_model"
    former_job_names = ("training.export_jobs.export_model",)
    queue_name = "gpu"

    class Kind(models.TextChoices):
        """How the weights are stored."""

        F16 = "f16", "GGUF f16"
        Q8_0 = "q8_0", "GGUF q8_0"

    model_version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="exports")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    parity = models.JSONField(
        default=dict, blank=True, help_text="what the check found; see training.ml.llama_cpp.parity"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model_version", "kind"], name="model_export_once")]

    def __str__(self) -> str:
        return f"{self.model_version} as {self.get_kind_display()}"


class SpecExport(Export):
    """A run's settings and rows for another trainer."""

    job_name = "training.exports.jobs.export_spec"
    former_job_names = ("training.export_jobs.export_spec",)

    class Trainer(models.TextChoices):
        """Who is to train."""

        AXOLOTL = "axolotl", "Axolotl"
        UNSLOTH = "unsloth", "Unsloth"

    training_run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="spec_exports")
    kind = models.CharField(max_length=10, choices=Trainer.choices)
    validation = models.JSONField(default=dict, blank=True, help_text="what the trainer itself said when it loaded it")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["training_run", "kind"], name="spec_export_once")]

    def __str__(self) -> str:
        return f"{self.training_run} for {self.get_kind_display()}"
