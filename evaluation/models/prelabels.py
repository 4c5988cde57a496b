"""Pre-label runs and their documents."""

from typing import ClassVar, Self

from django.db import models
from django.urls import reverse

from evaluation.inference.backend import Backend
from evaluation.inference.backends import backend_of
from evaluation.inference.completion import STATUS_LABELS, USABLE, ResponseStatus
from evaluation.models.endpoints import Endpoint
from labeling.models import Document, Project, SchemaVersion
from slmstudio.runs.models import RetryableRun, RunQuerySet
from training.models import ModelVersion, TrainingRun


class PrelabelRunQuerySet(RunQuerySet["PrelabelRun"]):
    """Named reads of pre-label runs."""

    def with_model(self) -> Self:
        """With the rows that their labels need, in one query."""
        return self.select_related(
            "model_version__training_run__base_model", "endpoint", "schema_version", "created_by"
        )


class PrelabelRun(RetryableRun):
    """Pre-labels for unlabeled documents, from a ModelVersion or an Endpoint."""

    job_name = "evaluation.prelabels.jobs.run_prelabels"
    queue_name = "gpu"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prelabel_runs")
    number = models.PositiveIntegerField()
    schema_version = models.ForeignKey(SchemaVersion, on_delete=models.PROTECT, related_name="+")
    instruction = models.TextField()
    model_version = models.ForeignKey(
        ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="prelabel_runs"
    )
    endpoint = models.ForeignKey(
        Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="prelabel_runs"
    )
    chosen = models.CharField(max_length=300, blank=True, help_text="which documents were selected, as text")
    examples = models.JSONField(default=list, blank=True, help_text="few-shot examples for an endpoint")
    token_budget = models.PositiveIntegerField(
        null=True, blank=True, help_text="an endpoint gets no more documents after it"
    )
    spec = models.TextField(blank=True, help_text="the EvalSpec as YAML, of a model on this machine")
    facts = models.JSONField(default=dict, blank=True, help_text="device, tokens, request options")

    objects: ClassVar = PrelabelRunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="prelabel_number_once"),
            models.CheckConstraint(
                name="prelabel_has_one_subject",
                condition=models.Q(model_version__isnull=False, endpoint__isnull=True)
                | models.Q(model_version__isnull=True, endpoint__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"pre-labels {self.number}: {self.model_label}"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("prelabel_run", args=[self.project.slug, self.number])

    #: columns of an EvalRun that pre-labels do not have: such models create none
    base_model = export = classical = prompt = None
    base_model_id = export_id = classical_id = prompt_id = None

    @property
    def training_run_id(self) -> int | None:
        """The key of the training run of its model version."""
        return self.model_version.training_run_id if self.model_version is not None else None

    @property
    def training_run(self) -> TrainingRun | None:
        """The training run of its model version."""
        return self.model_version.training_run if self.model_version is not None else None

    @property
    def backend(self) -> Backend:
        """What answers for it."""
        return backend_of(self)

    @property
    def model_label(self) -> str:
        """The name of the model, shown with its pre-labels."""
        return str(self.model_version or self.endpoint)

    @property
    def source(self) -> str:
        """The source of its predictions."""
        return f"prelabel-{self.number}"

    @property
    def folder_key(self) -> str:
        """The folder of its files in the artifact store: spec.yaml, documents.jsonl, outputs.jsonl, log.txt."""
        return f"prelabels/{self.pk}"


class PrelabelItem(models.Model):
    """One document of a run: selected when the run starts, processed once.

    The outcomes are in ``evaluation.inference.completion``.
    """

    run = models.ForeignKey(PrelabelRun, on_delete=models.CASCADE, related_name="items", db_index=False)
    document = models.ForeignKey(Document, null=True, on_delete=models.SET_NULL, related_name="prelabel_items")
    outcome = models.CharField(
        max_length=14,
        choices=[(str(status), label) for status, label in STATUS_LABELS.items()],
        default=ResponseStatus.WAITING.value,
    )
    detail = models.CharField(max_length=300, blank=True, help_text="the error, as a sentence")
    evidence_needed = models.PositiveSmallIntegerField(default=0, help_text="values that need evidence in the text")
    evidence_found = models.PositiveSmallIntegerField(default=0, help_text="of these, values with evidence")
    seconds = models.FloatField(default=0)
    tokens = models.PositiveIntegerField(default=0, help_text="input and output")
    tries = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "document"], name="prelabel_item_once")]
        indexes = [models.Index(fields=["run", "outcome", "id"], name="prelabel_outcome")]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()}, document {self.document_id}"

    @property
    def badge(self) -> str:
        """The style of its outcome."""
        outcome = ResponseStatus(self.outcome)
        if outcome in (*USABLE, ResponseStatus.HELD_OUT, ResponseStatus.GONE):
            return "done" if outcome == ResponseStatus.VALID else "skipped"
        return "queued" if outcome == ResponseStatus.WAITING else "failed"
