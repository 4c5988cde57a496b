"""Rollouts: the evidence about a candidate, and by what plan it is judged."""

from typing import Any, ClassVar, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from serving.models.deployments import Deployment, DeploymentEvent, Release

DEFAULT_MARGIN = 2.0
DEFAULT_MAX_FAILURE_RATE = 0.02
DEFAULT_MIN_REQUESTS = 200
DEFAULT_MAX_DISAGREEMENT = 0.5


class RolloutPlan(models.Model):
    """What a candidate of a deployment has to show, and whether it then goes on by itself."""

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, related_name="plan")
    auto_promote = models.BooleanField(default=False)
    margin = models.FloatField(
        default=DEFAULT_MARGIN, validators=[MinValueValidator(1.05), MaxValueValidator(10)],
        help_text="a candidate is non-inferior that fails less than so many times as often as the stable version",
    )  # fmt: skip
    max_failure_rate = models.FloatField(
        null=True, blank=True, default=DEFAULT_MAX_FAILURE_RATE,
        validators=[MinValueValidator(0.0001), MaxValueValidator(0.5)], help_text="of the candidate; empty: no limit",
    )  # fmt: skip
    p95_ms = models.PositiveIntegerField(null=True, blank=True, help_text="of the candidate; empty: no limit")
    max_disagreement = models.FloatField(
        null=True, blank=True, default=DEFAULT_MAX_DISAGREEMENT,
        validators=[MinValueValidator(0.05), MaxValueValidator(0.99)],
        help_text="share of the documents on which fewer than half of the fields agree; empty: no limit",
    )  # fmt: skip
    min_requests = models.PositiveIntegerField(
        default=DEFAULT_MIN_REQUESTS, help_text="that the candidate answers at each share"
    )

    def __str__(self) -> str:
        return f"rollout plan of {self.deployment_id}"


class RolloutQuerySet(models.QuerySet["Rollout"]):
    """Named reads of rollouts."""

    def running(self) -> Self:
        """That have not ended."""
        return self.filter(ended_at=None)


class Rollout(models.Model):
    """One candidate from its first stage to its end, with everything that was counted.

    ``steps``: see ``serving.rollouts.counts.Step``. A package that is deployed again after its approval, as another
    release, goes on with its evidence.
    """

    class Outcome(models.TextChoices):
        """How it ended."""

        RUNNING = "", "Running"
        PROMOTED = "promoted", "Promoted"
        ABORTED = "aborted", "Aborted"

    deployment = models.ForeignKey(Deployment, on_delete=models.CASCADE, related_name="rollouts", db_index=False)
    candidate = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="rollouts")
    event = models.OneToOneField(
        DeploymentEvent, on_delete=models.CASCADE, related_name="rollout", help_text="that began it"
    )
    began_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True)
    steps = models.JSONField(default=list, blank=True)
    log_e = models.JSONField(default=dict, blank=True, help_text="question -> logarithm of the e-value")
    verdict = models.CharField(max_length=10, blank=True, help_text="see serving.rollouts.verdicts")
    code = models.CharField(max_length=20, blank=True, help_text="why, in one word")
    reason = models.TextField(blank=True, help_text="why, as a sentence")
    checked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = RolloutQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["deployment"], name="rollout_running_once", condition=models.Q(ended_at__isnull=True)
            )
        ]
        indexes = [models.Index(fields=["deployment", "-id"], name="rollout_history")]

    def __str__(self) -> str:
        return f"rollout of {self.candidate}"
