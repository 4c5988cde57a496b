"""Judgments: whether the output of a request is right."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from labeling.models import Project
from serving.models.deployments import Release


class JudgmentQuerySet(models.QuerySet["Judgment"]):
    """Named reads of judgments."""

    def of(self, project: Project) -> Self:
        """Of a project's requests."""
        return self.filter(project=project)

    def by_people_of_the_project(self) -> Self:
        """Of reviewers and gold labels: callers choose what they judge."""
        return self.filter(source__in=(Judgment.Source.REVIEWER, Judgment.Source.GOLD))

    def most_reliable(self, requests: Any) -> "dict[Any, Judgment]":
        """Request -> its judgment by people of the project; a gold label counts before a reviewer."""
        rows = self.by_people_of_the_project().filter(request_id__in=requests)  # "gold" is before "reviewer"
        return {judgment.request_id: judgment for judgment in rows.order_by("-source", "updated_at")}


class Judgment(models.Model):
    """What one source knows about the output of a request; at most one a source, the newest replaces the former.

    ``request_id`` is no foreign key: rows of the log leave with their day, judgments stay without the correction.
    """

    class Source(models.TextChoices):
        """Who judged, the least reliable first."""

        CALLER = "caller", "Client"
        REVIEWER = "reviewer", "Reviewer"
        GOLD = "gold", "Gold label"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judgments", db_index=False)
    request_id = models.UUIDField()
    day = models.DateField(help_text="of the request in UTC")
    requested_at = models.DateTimeField(help_text="when the request began")
    release = models.ForeignKey(Release, null=True, blank=True, on_delete=models.CASCADE, related_name="judgments")
    source = models.CharField(max_length=8, choices=Source.choices)
    right = models.BooleanField(help_text="whether all fields are right")
    fields = models.JSONField(
        default=dict, blank=True, help_text="path in the output -> right; empty where the output is no longer stored"
    )
    correct_fields = models.PositiveIntegerField(default=0, help_text="of counted_fields")
    counted_fields = models.PositiveIntegerField(default=0, help_text="fields that the output or the correction has")
    correction = models.TextField(
        blank=True, help_text="the corrected object, with all digits; erased with the request"
    )
    token_id = models.BigIntegerField(null=True, blank=True, help_text="the token of a caller")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="who reviewed or labeled",
    )  # fmt: skip
    created_at = models.DateTimeField(default=timezone.now, db_default=Now())
    updated_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = JudgmentQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["request_id", "source"], name="judgment_once")]
        indexes = [models.Index(fields=["project", "day"], name="judgment_day")]

    def __str__(self) -> str:
        return f"judgment of request {self.request_id} by {self.get_source_display().lower()}"
