"""Packages: an evaluated model as a folder that can be served."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from django.db import models
from django.urls import reverse

from evaluation.models import EvalRun
from labeling.models import Project
from serving.engines import ENGINES, PROGRAM, PROMPT
from slmstudio.runs.models import BackgroundRun, RunQuerySet, Status
from training.models import ModelExport


@dataclass(frozen=True)
class Variant:
    """An engine with the file that it loads.

    ``kind``: quantization of a GGUF file; "" for weights. ``export``: id of the ModelExport. ``gguf``: name of the file
    in the package. ``problem``: why it cannot be deployed, as a sentence; "" where it passed its parity check.
    """

    key: str
    engine: str
    kind: str = ""
    export: int | None = None
    gguf: str = ""
    parity: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def label(self) -> str:
        """For people."""
        engine = ENGINES[self.engine].label
        return f"{engine}, GGUF {self.kind}" if self.kind else engine

    @property
    def difference(self) -> float | None:
        """Field accuracy less that of the evaluation, on the documents of the parity check."""
        if "accuracy" not in self.parity:
            return None
        return float(self.parity["accuracy"]) - float(self.parity["evaluated_accuracy"])


class PackageQuerySet(RunQuerySet["Package"]):
    """Named reads of packages."""

    def with_content(self) -> Self:
        """With the rows that their labels and builds need, in one query."""
        return self.select_related(
            "project",
            "eval_run__base_model",
            "eval_run__classical",
            "eval_run__dataset__schema_version",
            "eval_run__export__model_version",
            "eval_run__model_version__training_run",
            "eval_run__training_run",
            "export",
            "created_by",
        )


class Package(BackgroundRun):
    """A model as it was evaluated, with everything that is needed to serve it, in one folder with its hashes.

    A row is built once; *Build again* adds another. Prompts, limits and grammar are those of the evaluation. Each
    variant (an engine with the file that it loads) passes a parity check against the outputs of the evaluation;
    ``engine``, ``export`` and ``parity`` are of the first one.
    """

    job_name = "serving.packages.jobs.build_package"
    queue_name = "gpu"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="packages")
    number = models.PositiveIntegerField()
    eval_run = models.ForeignKey(EvalRun, on_delete=models.PROTECT, related_name="packages")
    engine = models.CharField(max_length=20, choices=[(name, engine.label) for name, engine in ENGINES.items()])
    export = models.ForeignKey(
        ModelExport, null=True, blank=True, on_delete=models.PROTECT, related_name="packages", help_text="the GGUF file"
    )
    folder_key = models.CharField(
        max_length=300, blank=True, help_text="in the artifact store; empty until it is built"
    )
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the folder")
    files = models.JSONField(default=list, blank=True, help_text="{path, size, sha256} of the folder")
    parity = models.JSONField(default=dict, blank=True, help_text="see serving.packages.parity")
    variants = models.JSONField(
        default=list,
        blank=True,
        help_text="{key, engine, kind, export, gguf, parity, problem} of each",
    )

    deleted_at = models.DateTimeField(null=True, blank=True, help_text="when its files were deleted")

    objects: ClassVar[Any] = PackageQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="package_number_once"),
        ]

    def __str__(self) -> str:
        return f"package {self.number}"

    def get_absolute_url(self) -> str:
        """The page of the deployment, opened at its packages."""
        return f"{reverse('deployment', args=[self.project.slug])}?show=packages#packages"

    @property
    def is_ready(self) -> bool:
        """Whether it is built and can be served."""
        return self.status == Status.DONE and bool(self.sha256) and self.deleted_at is None

    @property
    def all_variants(self) -> "list[Variant]":
        """Its variants, the first one first."""
        if not self.variants:  # built before a package could have several
            return [Variant(key=self.engine, engine=self.engine, export=self.export_id, parity=self.parity)]
        return [Variant(**values) for values in self.variants]

    def variant(self, wanted: str) -> "Variant | None":
        """The variant with this key, or the first one of this engine; "": the first one."""
        variants = self.all_variants
        exact = [variant for variant in variants if variant.key == wanted or not wanted]
        return next(iter(exact or [variant for variant in variants if variant.engine == wanted]), None)

    @property
    def has_bundle(self) -> bool:
        """Whether it can be downloaded for use without the studio."""
        return self.is_ready and any(entry["path"] == PROGRAM for entry in self.files)

    @property
    def runs_in_browsers(self) -> bool:
        """Whether it can be written as a folder whose page answers in the browser, by its files."""
        names = {str(entry["path"]) for entry in self.files}
        decodes = PROMPT in names and any(name.endswith(".gguf") for name in names)
        return self.is_ready and (decodes or ENGINES[self.engine].family == "encoder")

    @property
    def is_signed(self) -> bool:
        """Whether it has a signature."""
        return any(entry["path"] == "package.json.sig" for entry in self.files)

    @property
    def is_deleted(self) -> bool:
        """Whether its files were deleted."""
        return self.deleted_at is not None

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(int(entry["size"]) for entry in self.files)
