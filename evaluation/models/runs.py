"""Evaluation runs with their outputs."""

from typing import ClassVar, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.urls import reverse
from django.utils.text import capfirst

from evaluation.inference.backend import Backend, ModelKey
from evaluation.inference.backends import backend_of
from evaluation.models.benchmarks import Benchmark
from evaluation.models.classical import ClassicalModel
from evaluation.models.endpoints import Endpoint
from evaluation.models.output_queries import EvalOutputQuerySet
from evaluation.models.prompts import OptimizedPrompt
from labeling.models import DatasetVersion, Document, Project, Split, Study
from slmstudio.database.fields import ExactJSONField
from slmstudio.runs.models import RetryableRun, RunQuerySet, Status
from training.models import BaseModel, ModelExport, ModelVersion, TrainingRun

#: the model of an eval run was trained here
TRAINED_HERE = models.Q(training_run__isnull=False) | models.Q(classical__isnull=False)


def _only(column: str) -> models.Q:
    """Of the columns that name a model, this one is set and no other."""
    names = ("base_model", "training_run", "endpoint", "classical")
    return models.Q(**{f"{name}__isnull": name != column for name in names})


class EvalRunQuerySet(RunQuerySet["EvalRun"]):
    """Named reads of eval runs."""

    def with_model(self) -> Self:
        """With the rows that their labels need, in one query."""
        return self.select_related(
            "base_model",
            "training_run__base_model",
            "model_version",
            "endpoint",
            "export",
            "classical",
            "prompt",
            "dataset",
            "created_by",
        )

    def numbered(self, number: int) -> "EvalRun | None":
        """The one with this number and its model, dataset and source; read through the runs of a project."""
        return (
            self.with_model().select_related("dataset__schema_version", "rescored_from").filter(number=number).first()
        )

    def of_trained_models(self) -> Self:
        """Those of models that were trained here, on labels of the project."""
        return self.filter(TRAINED_HERE)

    def of_model(self, key: ModelKey, *, any_export: bool = False) -> Self:
        """Those whose columns name this model, or with ``any_export`` one of its GGUF files; of an external model also
        compare ``backend.key``.
        """
        columns = {name: value for name, value in key.columns().items() if name != "export" or not any_export}
        rows = self.filter(**columns)
        if key.training_run is None or key.alternative is not None:
            return rows
        return rows.exclude(model_version__is_alternative=True)

    def on_holdout(self) -> Self:
        """Hold-out evaluations."""
        return self.filter(split=Split.HOLDOUT)

    def with_visible_outputs(self) -> Self:
        """Those whose single outputs may be shown, as ``EvalRun.outputs_visible``."""
        return self.filter(~models.Q(split=Split.HOLDOUT) | models.Q(status=Status.DONE, opened_at__isnull=False))


class EvalRun(RetryableRun):
    """A model over a split of a dataset version, or over a benchmark's documents: outputs, scores, latency, tokens.

    The model is a BaseModel, a ModelVersion, a ClassicalModel or an Endpoint; a run queued behind a training names
    the TrainingRun and takes its ModelVersion when it starts.
    """

    #: the split of runs over a benchmark's documents
    BENCHMARK = "benchmark"
    #: the columns that name its model, which only its backend reads
    MODEL_COLUMNS = ("base_model", "training_run", "model_version", "endpoint", "export", "classical", "prompt")

    class Mode(models.TextChoices):
        """The decoding mode."""

        CONSTRAINED = "constrained", "Constrained"
        GROUNDED = "grounded", "Grounded"
        FREE = "free", "Unconstrained"

    job_name = "evaluation.runs.jobs.run_evaluation"
    queue_name = "gpu"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="eval_runs")
    number = models.PositiveIntegerField()
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="eval_runs")
    split = models.CharField(
        max_length=10, choices=[*Split.choices, (BENCHMARK, "benchmark")], default=Split.VALIDATION
    )
    benchmark = models.ForeignKey(Benchmark, null=True, blank=True, on_delete=models.CASCADE, related_name="runs")
    mode = models.CharField(max_length=12, choices=Mode.choices, default=Mode.CONSTRAINED)
    base_model = models.ForeignKey(BaseModel, null=True, blank=True, on_delete=models.PROTECT, related_name="eval_runs")
    training_run = models.ForeignKey(
        TrainingRun, null=True, blank=True, on_delete=models.PROTECT, related_name="eval_runs"
    )
    model_version = models.ForeignKey(
        ModelVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="eval_runs"
    )
    endpoint = models.ForeignKey(Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="eval_runs")
    export = models.ForeignKey(
        ModelExport,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="eval_runs",
        help_text="the GGUF file for llama.cpp; empty: the weights, with transformers",
    )
    classical = models.ForeignKey(
        ClassicalModel, null=True, blank=True, on_delete=models.PROTECT, related_name="eval_runs"
    )
    prompt = models.ForeignKey(
        OptimizedPrompt,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="eval_runs",
        help_text="the optimized prompt; empty: the instruction of the dataset and the usual examples",
    )
    study = models.ForeignKey(Study, null=True, blank=True, on_delete=models.SET_NULL, related_name="eval_runs")
    idempotency_key = models.CharField(max_length=200, blank=True, help_text="of the request that started it")
    concurrency = models.PositiveSmallIntegerField(default=1, help_text="concurrent documents")
    rescored_from = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="rescorings",
        help_text="the run whose outputs are re-scored with this run's dataset version",
    )
    spec = models.TextField(blank=True, help_text="the EvalSpec as YAML, written when the run starts")
    scores = models.JSONField(default=dict, blank=True, help_text="see evaluation.runs.summary.summarize_outputs")
    latency = models.JSONField(default=dict, blank=True, help_text="p50, p95, p99 in ms, one document at a time")
    facts = models.JSONField(default=dict, blank=True, help_text="documents per second, peak memory, seconds")
    scorer_version = models.CharField(max_length=20, blank=True)
    outputs_sha256 = models.CharField(max_length=64, blank=True, help_text="of the file of raw outputs")
    opened_at = models.DateTimeField(null=True, blank=True, help_text="when its outputs on the hold-out were opened")
    opened_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    opened_reason = models.CharField(max_length=300, blank=True)

    objects: ClassVar = EvalRunQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="eval_number_once"),
            models.UniqueConstraint(
                fields=["project", "idempotency_key"], name="eval_key_once", condition=~models.Q(idempotency_key="")
            ),
            models.CheckConstraint(
                name="eval_has_one_subject",
                condition=_only("base_model") | _only("training_run") | _only("endpoint") | _only("classical"),
            ),
            models.CheckConstraint(
                name="eval_export_is_of_a_training",
                condition=models.Q(export__isnull=True) | models.Q(training_run__isnull=False),
            ),
            models.CheckConstraint(
                name="eval_prompt_is_of_a_prompted_model",
                condition=models.Q(prompt__isnull=True)
                | models.Q(base_model__isnull=False)
                | models.Q(endpoint__isnull=False),
            ),
            models.CheckConstraint(
                name="eval_benchmark_is_no_split",
                condition=models.Q(benchmark__isnull=False, split="benchmark")
                | (models.Q(benchmark__isnull=True) & ~models.Q(split="benchmark")),
            ),
        ]

    def __str__(self) -> str:
        return f"evaluation {self.number}: {self.model_label}, {self.mode_label.lower()}"

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("eval_run", args=[self.project.slug, self.number])

    def queue(self) -> str:
        """Re-scoring needs no device, so it does not wait behind a training."""
        return self.queue_name if self.rescored_from_id is None else "default"

    @property
    def backend(self) -> Backend:
        """What answers for it: the only way to ask which model it is of."""
        return backend_of(self)

    @property
    def model_label(self) -> str:
        """The name of the model under test."""
        return self.backend.label

    @property
    def mode_label(self) -> str:
        """Its decoding mode; the kind of a model that has none, such as "Encoder"."""
        return str(self.get_mode_display() if self.backend.decodes else capfirst(self.backend.kind))

    @property
    def short_name(self) -> str:
        """Its number and model, where the mode is clear."""
        return f"#{self.number} {self.model_label}"

    @property
    def outputs_visible(self) -> bool:
        """Whether its single outputs may be shown: on the hold-out only once they were opened, because what is known
        of single documents can be trained on (``evaluation.gates.holdout.disclosure``).
        """
        return self.split != Split.HOLDOUT or (self.status == Status.DONE and self.opened_at is not None)

    @property
    def can_resume(self) -> bool:
        """Whether it failed and its backend keeps outputs: they were paid for."""
        own = self.benchmark_id is None and self.rescored_from_id is None
        return own and self.status == Status.FAILED and self.backend.resumes and self.backend.is_available

    @property
    def folder_key(self) -> str:
        """The folder of its files in the artifact store: spec.yaml, outputs.jsonl, log.txt."""
        return f"evaluation/{self.pk}"

    @property
    def spec_key(self) -> str:
        """The artifact with its EvalSpec."""
        return f"{self.folder_key}/spec.yaml"

    @property
    def is_combinable(self) -> bool:
        """Whether its model can be the encoder of a hybrid model: it is evaluated on validation, with its weights."""
        is_encoder = self.training_run is not None and self.training_run.base_model.is_encoder
        is_on_validation = self.split == Split.VALIDATION and self.benchmark_id is None
        return is_encoder and is_on_validation and self.status == Status.DONE and self.model_version_id is not None

    @property
    def outputs_key(self) -> str:
        """The artifact with every raw output, one JSON row per document."""
        return f"{self.folder_key}/outputs.jsonl"


class EvalOutput(models.Model):
    """The output for one document. Kept permanently, so that it can be re-scored."""

    eval_run = models.ForeignKey(EvalRun, on_delete=models.CASCADE, related_name="outputs")
    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="eval_outputs")
    gold = ExactJSONField(help_text="the gold of the dataset version it was scored against")
    raw = models.TextField(blank=True)
    finish_reason = models.CharField(max_length=10)
    error = models.TextField(blank=True)
    score = ExactJSONField(null=True, help_text="the DocumentScore; see slmstudio.contract.scoring.scorer")
    valid = models.BooleanField(default=False)
    exact = models.BooleanField(default=False)
    # Read off the score when it is stored, so that lists can be filtered by the database.
    wrong_fields = ArrayField(models.CharField(max_length=300), default=list, help_text="patterns of wrong fields")
    errors = ArrayField(models.CharField(max_length=40), default=list, help_text="error types that occur")
    tags = ArrayField(models.CharField(max_length=40), default=list, help_text="failure tags in the dataset version")
    latency_ms = models.FloatField(default=0)
    prompt_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    windows = models.PositiveSmallIntegerField(default=1, help_text="parts in which a long document was read")

    objects = EvalOutputQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["eval_run", "document"], name="eval_output_once")]

    def __str__(self) -> str:
        return f"output for {self.document}"

    @property
    def state(self) -> str:
        """``exact``, ``valid``, ``invalid``, or ``failed`` where there was no response."""
        if self.finish_reason == "error":
            return "failed"
        return "exact" if self.exact else "valid" if self.valid else "invalid"
