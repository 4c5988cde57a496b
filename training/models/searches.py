"""Hyperparameter searches and their trials. A trial is an ordinary training run."""

from typing import Any, ClassVar, Self

from django.db import models
from django.urls import reverse
from django.utils import timezone

from labeling.models import DatasetVersion, Project
from slmstudio.runs.models import BackgroundRun, RunQuerySet
from training.models.base_models import BaseModel
from training.models.runs import TrainingRun


class SearchQuerySet(RunQuerySet["Search"]):
    """Named reads of searches."""

    def of_project(self, project: Project) -> Self:
        """A project's searches, newest first, with what a list of them shows."""
        rows = self.filter(project=project).select_related("project", "dataset", "base_model", "created_by")
        return rows.order_by("-number")


class Search(BackgroundRun):
    """A search for the hyperparameters with the highest field accuracy on validation documents, within a budget.

    It has no job: each trial that ends, or is evaluated, advances it (``training.search.services``).
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="searches")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=120, blank=True)
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="searches")
    base_model = models.ForeignKey(BaseModel, on_delete=models.PROTECT, related_name="searches")
    spec = models.TextField(help_text="the SearchSpec as YAML")
    outcome = models.TextField(blank=True, help_text="why it ended, as a sentence")

    objects: ClassVar = SearchQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="search_number_once")]

    def __str__(self) -> str:
        return self.name or f"search {self.number}"

    def get_absolute_url(self) -> str:
        """The search's page."""
        return reverse("training_search", args=[self.project.slug, self.number])


class Trial(models.Model):
    """One set of hyperparameters of a search, with the run that tries it."""

    class State(models.TextChoices):
        """What became of a trial."""

        RUNNING = "running", "Running"
        COMPLETE = "complete", "Complete"
        PRUNED = "pruned", "Pruned"
        FAILED = "failed", "Failed"
        CANCELLED = "cancelled", "Cancelled"

    search = models.ForeignKey(Search, on_delete=models.CASCADE, related_name="trials")
    number = models.PositiveIntegerField()
    # Runs are never deleted alone; a trial without one was rejected before its start.
    run = models.OneToOneField(TrainingRun, null=True, blank=True, on_delete=models.CASCADE, related_name="trial")
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    parameters: Any = models.JSONField(help_text="the sampled values by name")
    values: Any = models.JSONField(default=list, help_text="field accuracy at each evaluation, in order")
    judged = models.PositiveSmallIntegerField(default=0, help_text="evaluations that the pruner has seen")
    value = models.FloatField(null=True, blank=True, help_text="field accuracy of the weights that the run kept")
    prune_requested = models.BooleanField(default=False)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["search", "number"], name="trial_number_once")]

    def __str__(self) -> str:
        return f"trial {self.number} of {self.search}"
