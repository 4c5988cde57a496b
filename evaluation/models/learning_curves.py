"""Learning curves and their points."""

from typing import Any, ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.urls import reverse

from evaluation.models.runs import EvalRun
from labeling.models import DatasetVersion, Project
from slmstudio.runs.models import BackgroundRun, RunQuerySet
from training.models import BaseModel, TrainingRun


class LearningCurve(BackgroundRun):
    """Models trained on nested subsets of a training split, each measured on validation.

    The classifier is trained by the job. A base model has a training run and an evaluation for each point, which
    advance it when they end (``evaluation.learning_curves.services.advance``).
    """

    job_name = "evaluation.learning_curves.jobs.run_learning_curve"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="learning_curves")
    number = models.PositiveIntegerField()
    dataset = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="learning_curves")
    base_model = models.ForeignKey(
        BaseModel, null=True, blank=True, on_delete=models.PROTECT, related_name="+", help_text="empty: the classifier"
    )
    shares = ArrayField(models.FloatField(), help_text="of the training documents")
    seeds = models.PositiveSmallIntegerField(help_text="subsets of each share below 1")
    max_hours = models.FloatField(null=True, blank=True, help_text="the budget of all training runs")

    objects: ClassVar = RunQuerySet.as_manager()
    points: Any

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="learning_curve_number_once")]

    def __str__(self) -> str:
        return f"learning curve {self.number}"

    def get_absolute_url(self) -> str:
        """The page of the curve."""
        return reverse("learning_curve", args=[self.project.slug, self.number])

    @property
    def model_label(self) -> str:
        """The name of the model."""
        return str(self.base_model) if self.base_model is not None else "classifier"


class LearningPoint(models.Model):
    """One model of a curve. ``fields``: pattern -> [right, scored] on validation; empty until it is measured."""

    curve = models.ForeignKey(LearningCurve, on_delete=models.CASCADE, related_name="points", db_index=False)
    share = models.FloatField()
    seed = models.PositiveIntegerField()
    labels = models.PositiveIntegerField(help_text="training documents")
    training_run = models.ForeignKey(TrainingRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    eval_run = models.ForeignKey(
        EvalRun, null=True, blank=True, on_delete=models.SET_NULL, related_name="learning_points"
    )
    fields = models.JSONField(default=dict, blank=True)
    seconds = models.FloatField(null=True, blank=True, help_text="of the training")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["curve", "share", "seed"], name="learning_point_once")]

    def __str__(self) -> str:
        return f"{self.labels} labels, seed {self.seed}"

    @property
    def accuracy(self) -> float | None:
        """The accuracy over all fields; None until it is measured."""
        right, scored = self.fields.get("", (0, 0))
        return right / scored if scored else None
