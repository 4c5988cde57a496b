"""Searches for a better prompt."""

from typing import ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.urls import reverse

from evaluation.inference.backend import Backend
from evaluation.inference.backends import backend_of
from evaluation.inference.prompted_model import AbstractPrompt
from evaluation.models.endpoints import Endpoint
from labeling.models import DatasetVersion, Project
from slmstudio.runs.models import RetryableRun, RunQuerySet, Status
from training.models import BaseModel


class PromptSearchQuerySet(RunQuerySet["PromptSearch"]):
    """Named reads of prompt searches."""

    def newest(self, project: Project) -> Self:
        """Those of a project, the newest first."""
        return self.filter(project=project).select_related("base_model", "endpoint").order_by("-number")

    def usable(self, project: Project) -> Self:
        """Those of a project that found a prompt, the newest first."""
        return self.newest(project).done().exclude(instruction="")


class PromptSearch(AbstractPrompt, RetryableRun):
    """A search over instructions and few-shot examples for a base model or an endpoint, on validation documents.

    Once it is done, its prompt is a candidate of benchmarks and can be evaluated.
    """

    job_name = "evaluation.prompts.jobs.run_search"
    queue_name = "gpu"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompt_searches")
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="prompt_searches")
    base_model = models.ForeignKey(
        BaseModel, null=True, blank=True, on_delete=models.PROTECT, related_name="prompt_searches"
    )
    endpoint = models.ForeignKey(
        Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="prompt_searches"
    )
    documents = ArrayField(models.BigIntegerField(), help_text="keys of the validation documents of every trial")
    seed = models.PositiveIntegerField()
    max_trials = models.PositiveSmallIntegerField()
    max_minutes = models.PositiveIntegerField()
    max_cost = models.FloatField(null=True, blank=True, help_text="in the currency of the contract; empty: no limit")
    trials = models.JSONField(default=list, blank=True, help_text="see evaluation.prompts.search.Trial")
    facts = models.JSONField(default=dict, blank=True)

    objects: ClassVar = PromptSearchQuerySet.as_manager()

    #: columns of an EvalRun that a search does not have
    training_run = model_version = export = classical = prompt = None
    training_run_id = export_id = classical_id = prompt_id = None

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="prompt_search_number_once"),
            models.CheckConstraint(
                name="prompt_search_has_one_model",
                condition=models.Q(base_model__isnull=False, endpoint__isnull=True)
                | models.Q(base_model__isnull=True, endpoint__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.short_label}"

    def get_absolute_url(self) -> str:
        """Its page."""
        return reverse("prompt_search", args=[self.project.slug, self.number])

    @property
    def model(self) -> BaseModel | Endpoint:
        """The model that the prompt is for."""
        found = self.base_model or self.endpoint
        assert found is not None
        return found

    @property
    def backend(self) -> Backend:
        """What answers for it."""
        return backend_of(self)

    @property
    def is_usable(self) -> bool:
        """Whether it found a prompt."""
        return self.status == Status.DONE and bool(self.instruction)

    @property
    def folder_key(self) -> str:
        """The folder of its files in the artifact store."""
        return f"prompts/{self.pk}"
