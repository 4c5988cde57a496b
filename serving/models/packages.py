"""Packages: an evaluated model as a folder that can be served."""

from typing import Any, ClassVar, Self

from django.db import models
from django.urls import reverse

from evaluation.models import EvalRun
from labeling.models import Project
from slmstudio.runs.models import BackgroundRun, RunQuerySet, Status
from training.models import ModelExport


class PackageQuerySet(RunQuerySet["Package"]):
    """Named reads of packages."""

    def with_content(self) -> Self:
        """With the rows that their labels and builds need, in one query."""
        return self.select_related(
            "project",
            "eval_run__base_model",
            "eval_run__dataset__schema_version",
            "eval_run__export__model_version",
            "eval_run__model_version__training_run",
            "eval_run__training_run",
            "export",
            "created_by",
        )


class Package(BackgroundRun):
    """A model as it was evaluated, with everything that is needed to serve it, in one folder with its hashes.

    It is built once: prompts, limits and grammar are those of the evaluation; a package of another engine or
    quantization passes a parity check against the outputs of the evaluation.
    """

    job_name = "serving.packages.jobs.build_package"
    queue_name = "gpu"

    class Engine(models.TextChoices):
        """What runs the model."""

        LLAMA_CPP = "llama_cpp", "llama.cpp"
        TRANSFORMERS = "transformers", "transformers"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="packages")
    number = models.PositiveIntegerField()
    eval_run = models.ForeignKey(EvalRun, on_delete=models.PROTECT, related_name="packages")
    engine = models.CharField(max_length=20, choices=Engine.choices)
    export = models.ForeignKey(
        ModelExport, null=True, blank=True, on_delete=models.PROTECT, related_name="packages", help_text="the GGUF file"
    )
    folder_key = models.CharField(
        max_length=300, blank=True, help_text="in the artifact store; empty until it is built"
    )
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the folder")
    files = models.JSONField(default=list, blank=True, help_text="{path, size, sha256} of the folder")
    parity = models.JSONField(default=dict, blank=True, help_text="see serving.packages.parity")

    objects: ClassVar[Any] = PackageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="package_number_once"),
            models.UniqueConstraint(fields=["eval_run", "engine", "export"], name="package_once", nulls_distinct=False),
        ]

    def __str__(self) -> str:
        return f"package {self.number}"

    def get_absolute_url(self) -> str:
        """The page of the deployment, which lists packages."""
        return reverse("deployment", args=[self.project.slug])

    @property
    def is_ready(self) -> bool:
        """Whether it is built and can be served."""
        return self.status == Status.DONE and bool(self.sha256)
