"""Optimized prompts: the results of prompt searches, which are evaluated and benchmarked like models."""

from typing import Any, ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from evaluation.inference.backend import Backend
from evaluation.inference.backends import backend_of
from evaluation.inference.model_columns import AbstractPrompt
from evaluation.models.endpoints import Endpoint
from labeling.models import DatasetVersion, Project, Study
from training.models import BaseModel


class OptimizedPromptQuerySet(models.QuerySet["OptimizedPrompt"]):
    """Named reads of optimized prompts."""

    def usable(self, project: Project) -> Self:
        """Those of a project whose search has found a prompt, the newest first."""
        rows = self.filter(project=project).exclude(instruction="")
        return rows.select_related("base_model", "endpoint", "study").order_by("-number")


class OptimizedPrompt(AbstractPrompt):
    """The prompt of a base model or an endpoint that a study searches for; empty until the study is done.

    ``documents`` chose it, and so must not score it.
    """

    study = models.OneToOneField(Study, on_delete=models.CASCADE, related_name="prompt")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="optimized_prompts")
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="+")
    base_model = models.ForeignKey(BaseModel, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    endpoint = models.ForeignKey(Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    documents = ArrayField(models.BigIntegerField(), help_text="keys of the validation documents of every trial")

    objects: ClassVar = OptimizedPromptQuerySet.as_manager()

    #: columns of an EvalRun that a prompt does not have
    training_run = model_version = export = classical = prompt = None
    training_run_id = export_id = classical_id = prompt_id = None

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="prompt_number_once"),
            models.CheckConstraint(
                name="prompt_has_one_model",
                condition=models.Q(base_model__isnull=False, endpoint__isnull=True)
                | models.Q(base_model__isnull=True, endpoint__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model}, {self.short_label}"

    def get_absolute_url(self) -> str:
        """The page of its search."""
        return self.study.get_absolute_url()

    @property
    def model(self) -> BaseModel | Endpoint:
        """The model that the prompt is for."""
        model = self.base_model or self.endpoint
        assert model is not None
        return model

    @property
    def backend(self) -> Backend:
        """What answers with it."""
        return backend_of(self)

    @property
    def facts(self) -> dict[str, Any]:
        """Those of its search."""
        return dict(self.study.facts)

    @property
    def is_usable(self) -> bool:
        """Whether its search has found it."""
        return bool(self.instruction)
