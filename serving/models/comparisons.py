"""Comparisons of two versions on traffic: a live split, labeled documents of shadow, or replayed requests."""

from typing import Any, ClassVar, Self

from django.db import models
from django.urls import reverse

from labeling.models import Document, Project
from serving.models.deployments import Deployment, Release
from slmstudio.runs.models import ACTIVE, RetryableRun, RunQuerySet, Status


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
