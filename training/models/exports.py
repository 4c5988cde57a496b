"""Exports of models and runs."""

from typing import Any

from django.db import models

from labeling.models import Project
from slmstudio.runs.models import BackgroundRun, Status
from training.models.runs import ModelVersion, TrainingRun


class Export(BackgroundRun):
    """A folder of files with their hashes, created in the background.

    A repeated export keeps the previous files until the new ones are complete; if it fails, the row stays done.
    """

    folder_key = models.CharField(max_length=300, blank=True, help_text="in the artifact store; empty until created")
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the folder")
    files = models.JSONField(default=list, blank=True, help_text="{path, size, sha256} of the folder")

    class Meta:
        abstract = True

    @property
    def is_available(self) -> bool:
        """Whether its files can be downloaded, also while it is exported again."""
        return self.status == Status.DONE or bool(self.is_live and self.folder_key)

    def _transition(self, source: tuple[Status, ...], *, owned: bool = False, **changes: Any) -> bool:
        # A repeated export that fails or is cancelled leaves the previous one done; only ``error`` shows the failure.
        if self.folder_key and changes.get("status") in (Status.FAILED, Status.CANCELLED):
            changes["status"] = Status.DONE
        return super()._transition(source, owned=owned, **changes)


class ModelExport(Export):
    """A model version as a GGUF file, checked on llama.cpp.

    It runs in the queue of trainings and evaluations: it loads the model twice and computes on all cores.
    """

    job_name = "training.exports.jobs.export_model"
    queue_name = "gpu"

    class Kind(models.TextChoices):
        """How the weights are stored."""

        F16 = "f16", "GGUF f16"
        Q8_0 = "q8_0", "GGUF q8_0"

    model_version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="exports")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    parity = models.JSONField(
        default=dict, blank=True, help_text="result of the parity check; see training.ml.llama_cpp.parity"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model_version", "kind"], name="model_export_once")]

    @property
    def project(self) -> Project:
        """The project of the model."""
        return self.model_version.project

    def __str__(self) -> str:
        return f"{self.model_version} as {self.get_kind_display()}"


class SpecExport(Export):
    """A run's settings and rows for another trainer."""

    job_name = "training.exports.jobs.export_spec"

    class Trainer(models.TextChoices):
        """The other trainer."""

        AXOLOTL = "axolotl", "Axolotl"
        UNSLOTH = "unsloth", "Unsloth"

    training_run = models.ForeignKey(TrainingRun, on_delete=models.CASCADE, related_name="spec_exports")
    kind = models.CharField(max_length=10, choices=Trainer.choices)
    validation = models.JSONField(default=dict, blank=True, help_text="result of loading it with the trainer itself")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["training_run", "kind"], name="spec_export_once")]

    @property
    def project(self) -> Project:
        """The project of the run."""
        return self.training_run.project

    def __str__(self) -> str:
        return f"{self.training_run} for {self.get_kind_display()}"
