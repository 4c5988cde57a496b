"""A/B tests of two approved versions."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone

from serving.models.deployments import Deployment, Release


class ExperimentQuerySet(models.QuerySet["Experiment"]):
    """Named reads of experiments."""

    def running(self) -> Self:
        """That have not ended."""
        return self.filter(ended_at=None)


class Experiment(models.Model):
    """Two versions share the requests for one question that was chosen before.

    ``verdict`` is set once, by the evidence, and the split goes on until the experiment is stopped.
    """

    class Question(models.TextChoices):
        """What is compared."""

        FAILURES = "failures", "failure rate"
        LATENCY = "latency", "latency"
        ACCURACY = "accuracy", "accuracy judged by feedback"

    class Verdict(models.TextChoices):
        """Which version is better."""

        NONE = "", "no difference shown yet"
        A = "a", "A is better"
        B = "b", "B is better"

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="experiments", db_index=False)
    a = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="+", help_text="the stable version")
    b = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="+", help_text="the candidate")
    share = models.FloatField(help_text="of the requests that B answers")
    question = models.CharField(max_length=10, choices=Question.choices)
    limit_ms = models.FloatField(null=True, blank=True, help_text="slow: longer than A's median before the start")
    counts = models.JSONField(default=dict, blank=True, help_text="see serving.experiments.verdicts.Arms")
    log_e = models.JSONField(default=dict, blank=True, help_text="a: that A is better, b: that B is")
    verdict = models.CharField(max_length=1, choices=Verdict.choices, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    started_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = ExperimentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["deployment"], name="experiment_running_once", condition=models.Q(ended_at__isnull=True)
            )
        ]
        indexes = [models.Index(fields=["deployment", "-id"], name="experiment_history")]

    def __str__(self) -> str:
        return f"A/B test of {self.a} and {self.b}"

    @property
    def a_share(self) -> float:
        """Of the requests that A answers."""
        return 1 - self.share
