"""Models that propose labels: addresses of models elsewhere, runs over documents, and what became of each document."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from evaluation.inference.answers import WORDS, Outcome
from labeling.models import Document, Project, SchemaVersion
from slmstudio.runs.models import RetryableRun, RunQuerySet
from training.models import ModelVersion


class EndpointQuerySet(models.QuerySet["Endpoint"]):
    """Named reads of endpoints."""

    def in_use(self, project: Project) -> Self:
        """Those of a project that are not put aside, by name."""
        return self.filter(project=project, retired_at__isnull=True).order_by("name")


class Endpoint(models.Model):
    """A model elsewhere, behind an OpenAI-compatible address (``url`` ends where ``/chat/completions`` begins).

    Its key is no part of the row: ``key_variable`` names the environment variable that holds it.
    """

    class Structured(models.TextChoices):
        """How it is asked for JSON."""

        AUTO = "auto", "the best it can do"
        SCHEMA = "json_schema", "held to the schema"
        OBJECT = "json_object", "any JSON object"
        FREE = "free", "asked in words alone"

    class Effort(models.TextChoices):
        """How much a reasoning model is asked to think (OpenAI's ``reasoning_effort``)."""

        NONE = "none", "none"
        MINIMAL = "minimal", "minimal"
        LOW = "low", "low"
        MEDIUM = "medium", "medium"
        HIGH = "high", "high"
        XHIGH = "xhigh", "extra high"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="endpoints")
    name = models.CharField(max_length=80)
    url = models.CharField(max_length=300)
    model = models.CharField(max_length=200, help_text="the name that is sent")
    key_variable = models.CharField(max_length=80, blank=True)
    structured = models.CharField(max_length=12, choices=Structured.choices, default=Structured.AUTO)
    logprobs = models.BooleanField(default=True, help_text="ask how sure it is of each token")
    timeout_seconds = models.PositiveIntegerField(default=60)
    at_once = models.PositiveSmallIntegerField(default=4, help_text="requests under way together")
    max_tokens = models.PositiveIntegerField(default=1024, help_text="of one answer, its thinking included")
    reasoning_effort = models.CharField(max_length=10, blank=True, default="", choices=Effort.choices)
    accepts = models.JSONField(
        default=dict, blank=True, help_text="how the model at this address was found to take limit and temperature"
    )
    price_in = models.FloatField(
        null=True, blank=True, help_text="of a million tokens read, in the currency of the contract"
    )
    price_out = models.FloatField(null=True, blank=True, help_text="of a million tokens written")
    tested_at = models.DateTimeField(null=True, blank=True)
    test_result = models.JSONField(default=dict, blank=True, help_text="what the last test found")
    retired_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = EndpointQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], name="endpoint_name_once", condition=models.Q(retired_at__isnull=True)
            )
        ]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Its page."""
        return reverse("endpoint", args=[self.project.slug, self.pk])


class PrelabelRunQuerySet(RunQuerySet):
    """Named reads of runs of pre-labels."""

    # Any, because the stubs take the rows of a run's query set for bare BackgroundRuns.
    def with_subject(self) -> Any:
        """With what their names are made of, in one query."""
        rows: Any = self
        return rows.select_related("model_version", "endpoint", "schema_version", "created_by")


class PrelabelRun(RetryableRun):
    """A model proposes labels for documents that wait: a ModelVersion of this studio, or an Endpoint."""

    job_name = "evaluation.prelabels.jobs.run_prelabels"
    former_job_names = ("evaluation.prelabel_jobs.run_prelabels",)
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
    chosen = models.CharField(max_length=300, blank=True, help_text="which documents were asked for, in words")
    examples = models.JSONField(default=list, blank=True, help_text="solved documents that an endpoint is shown")
    token_budget = models.PositiveIntegerField(null=True, blank=True, help_text="an endpoint is asked no more after it")
    spec = models.TextField(blank=True, help_text="the EvalSpec as YAML, where a model of this studio ran")
    facts = models.JSONField(default=dict, blank=True, help_text="device, tokens, how it was asked")

    objects: ClassVar[Any] = PrelabelRunQuerySet.as_manager()

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
        return f"pre-labels {self.number}: {self.subject}"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("prelabel_run", args=[self.project.slug, self.number])

    @property
    def subject(self) -> str:
        """What proposes, in words; people see it beside a pre-label."""
        return str(self.model_version or self.endpoint)

    @property
    def source(self) -> str:
        """What its predictions carry."""
        return f"prelabel-{self.number}"

    @property
    def folder_key(self) -> str:
        """Where its files lie in the artifact store: spec.yaml, documents.jsonl, outputs.jsonl, log.txt."""
        return f"prelabels/{self.pk}"


class PrelabelItem(models.Model):
    """What became of one document of a run; chosen when the run was started, answered once.

    The outcomes and what they mean are in ``evaluation.inference.answers``.
    """

    run = models.ForeignKey(PrelabelRun, on_delete=models.CASCADE, related_name="items", db_index=False)
    document = models.ForeignKey(Document, null=True, on_delete=models.SET_NULL, related_name="prelabel_items")
    outcome = models.CharField(
        max_length=14, choices=[(str(one), words) for one, words in WORDS.items()], default=Outcome.WAITING.value
    )
    detail = models.CharField(max_length=300, blank=True, help_text="what was wrong, as a sentence")
    looked_for = models.PositiveSmallIntegerField(default=0, help_text="values that should stand in the text")
    found = models.PositiveSmallIntegerField(default=0, help_text="of these, those that do")
    seconds = models.FloatField(default=0)
    tokens = models.PositiveIntegerField(default=0, help_text="read and written")
    tries = models.PositiveSmallIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "document"], name="prelabel_item_once")]
        indexes = [models.Index(fields=["run", "outcome", "id"], name="prelabel_outcome")]

    def __str__(self) -> str:
        return f"{self.get_outcome_display()}, document {self.document_id}"
