"""Rollouts: the evidence about a candidate, and by what plan it is judged; comparisons of two versions on traffic."""

from typing import Any, ClassVar, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

from labeling.models import Document, Project
from serving.models.deployments import Deployment, DeploymentEvent, Release
from slmstudio.runs.models import ACTIVE, RetryableRun, RunQuerySet, Status

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


class TrafficComparisonQuerySet(RunQuerySet["TrafficComparison"]):
    """Named reads of comparisons."""

    def splits(self) -> Self:
        """Live splits that run."""
        return self.filter(kind=TrafficComparison.Kind.SPLIT, status=Status.RUNNING)

    def replays(self) -> Self:
        """Replays, ended or not."""
        return self.filter(kind=TrafficComparison.Kind.REPLAY)

    def newest_replay(self, deployment: Deployment) -> "TrafficComparison | None":
        """The newest replay for the candidate of a deployment."""
        rows = self.replays().filter(project=deployment.project_id, b=deployment.candidate_id)
        return rows.order_by("-pk").first()

    def with_versions(self) -> Self:
        """With both versions and what they are of, in one query."""
        return self.select_related(
            "project", "created_by", "a__endpoint", "a__package__eval_run__training_run", "b__endpoint",
            "b__package__eval_run__training_run",
        )  # fmt: skip


class TrafficComparison(RetryableRun):
    """Version B, the candidate, against version A, the stable one. What is compared is fixed when it starts.

    ``plan`` and ``result`` belong to the kind: see ``serving.comparisons.split``, ``labels`` and ``replay``. Only a
    replay has a job; the others run until they are stopped, or their certificate is issued. ``content`` is the
    certificate, which is filled once: see ``serving.comparisons.certificate``.
    """

    job_name = "serving.comparisons.replay.run_replay"
    job_timeout = -1  # it waits for live traffic

    class Kind(models.TextChoices):
        """On what traffic."""

        SPLIT = "split", "Live split"
        SHADOW = "shadow", "Labeled documents"
        REPLAY = "replay", "Replayed requests"

    class Verdict(models.TextChoices):
        """What is shown."""

        NONE = "", "Not shown yet"
        A = "a", "A is better"
        B = "b", "B is better"
        NON_INFERIOR = "certified", "Non-inferior"
        NOT_SHOWN = "not_shown", "Not shown"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="traffic_comparisons", db_index=False)
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=10, choices=Kind.choices)
    a = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="+", help_text="the stable version")
    b = models.ForeignKey(
        Release, on_delete=models.PROTECT, related_name="traffic_comparisons", help_text="the candidate"
    )
    plan = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    verdict = models.CharField(max_length=10, choices=Verdict.choices, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    content = models.JSONField(default=dict, blank=True, help_text="of the certificate")
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the certificate's content")
    issued_at = models.DateTimeField(null=True, blank=True)
    facts = models.JSONField(default=dict, blank=True)

    objects: ClassVar[Any] = TrafficComparisonQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="comparison_number_once"),
            models.UniqueConstraint(
                fields=["project", "kind"], name="comparison_live_once",
                condition=models.Q(kind__in=("split", "replay"), status__in=ACTIVE),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"comparison {self.number}"

    def get_absolute_url(self) -> str:
        """Its page."""
        return reverse("traffic_comparison", args=[self.project.slug, self.number])


class ComparisonPair(models.Model):
    """A document that was drawn to be labeled, with both outputs as they were answered."""

    comparison = models.ForeignKey(TrafficComparison, on_delete=models.CASCADE, related_name="pairs", db_index=False)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    request_id = models.UUIDField()
    shadow_id = models.UUIDField()
    family = models.CharField(max_length=200, blank=True)
    replayed = models.BooleanField(default=False, help_text="whether the candidate answered a replay")
    stable_output = models.TextField(blank=True)
    candidate_output = models.TextField(blank=True)
    stable_ms = models.FloatField()
    candidate_ms = models.FloatField()
    stable_tokens = models.JSONField(default=list, help_text="[prompt, output]")
    candidate_model_ms = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["comparison", "document"], name="comparison_pair_once")]

    def __str__(self) -> str:
        return f"pair of {self.comparison}"
