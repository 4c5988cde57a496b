"""Benchmarks of base models on the same labeled documents."""

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.urls import reverse

from labeling.models import DatasetVersion, Project
from slmstudio.runs.models import BackgroundRun, RunQuerySet


class Benchmark(BackgroundRun):
    """Evaluation runs of several models on the same documents, and the resulting recommendation.

    It has no job: each evaluation run that ends advances it (``evaluation.benchmarks.services.advance``).
    Its documents are never in the hold-out, so it is not a hold-out evaluation.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="benchmarks")
    number = models.PositiveIntegerField()
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="benchmarks")
    seed = models.PositiveIntegerField()
    documents = ArrayField(models.BigIntegerField(), help_text="keys of the documents, in evaluation order")
    examples = ArrayField(models.BigIntegerField(), help_text="keys of the few-shot examples of base models")
    modes = ArrayField(models.CharField(max_length=12), help_text="of EvalRun.Mode")
    constraints = models.JSONField(default=dict, blank=True, help_text="constraints of the contract when it started")
    result = models.JSONField(
        default=dict, blank=True, help_text="see evaluation.benchmarks.recommendation.Recommendation"
    )

    objects: ClassVar = RunQuerySet.as_manager()
    # The manager of its eval runs; Any, because the stubs take its rows for bare BackgroundRuns.
    runs: Any

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="benchmark_number_once")]

    def __str__(self) -> str:
        return f"benchmark {self.number}"

    def get_absolute_url(self) -> str:
        """The benchmark's page."""
        return reverse("benchmark", args=[self.project.slug, self.number])
