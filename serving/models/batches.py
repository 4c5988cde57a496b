"""Batches: a file of documents that is answered in the background."""

from typing import Any, ClassVar

from django.db import models
from django.urls import reverse

from labeling.models import ApiToken, Project
from slmstudio.access import Action
from slmstudio.runs.models import RetryableRun, RunQuerySet


class BatchQuerySet(RunQuerySet["BatchRun"]):
    """Named reads of batches."""


class BatchRun(RetryableRun):
    """Every line of the input becomes one line of the result: an output, or an error.

    ``facts`` has the attempts; one that made progress counts as the first.
    """

    job_name = "serving.batches.jobs.run_batch"
    required_action = Action.DEPLOY
    job_timeout = -1  # it returns to the queue by itself after some seconds

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="batches")
    token = models.ForeignKey(ApiToken, null=True, blank=True, on_delete=models.SET_NULL, related_name="batches")
    name = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64, help_text="of the input as it was sent")
    idempotency_key = models.CharField(max_length=200, blank=True)
    evidence = models.BooleanField(default=True)
    input_key = models.CharField(max_length=300, blank=True, help_text="in the artifact store; empty once erased")
    result_key = models.CharField(max_length=300, blank=True)
    answered = models.PositiveIntegerField(default=0, help_text="lines with a valid output")
    failed = models.PositiveIntegerField(default=0, help_text="lines with an error")
    code = models.CharField(max_length=40, blank=True, help_text="why it stopped, for programs")
    facts = models.JSONField(default=dict, blank=True)
    erased_at = models.DateTimeField(null=True, blank=True, help_text="when the files were deleted")

    objects: ClassVar[Any] = BatchQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "idempotency_key"], name="batch_key_once", condition=~models.Q(idempotency_key="")
            )
        ]
        indexes = [models.Index(fields=["project", "-id"], name="batch_history")]

    def __str__(self) -> str:
        return f"batch {self.name}"

    def get_absolute_url(self) -> str:
        """The page of batches."""
        return reverse("batches", args=[self.project.slug])

    @property
    def has_result(self) -> bool:
        """Whether its result can be downloaded."""
        return bool(self.result_key) and not self.is_live

    @property
    def can_resume(self) -> bool:
        """Whether it stopped before its last line, and still has its input."""
        return not self.is_live and bool(self.input_key) and self.progress_done < self.progress_total
