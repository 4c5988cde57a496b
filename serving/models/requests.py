"""The log of requests, partitioned by day: dropping a day takes no time, however many requests it had; and batches of
them."""

from typing import Any, ClassVar

from django.contrib.auth.models import User
from django.db import models
from django.urls import reverse

from labeling.models import ApiToken, Project
from serving.models.deployments import Release, Stage
from slmstudio.access import Action
from slmstudio.runs.models import RetryableRun, RunQuerySet


class RequestLog(models.Model):
    """One answered request. Texts and outputs are empty where the project does not store them.

    ``project_id`` and ``token_id`` are no foreign keys: the log is written in bulk by the gateway, and rows leave with
    their partition.
    """

    class Source(models.TextChoices):
        """What answered."""

        STABLE = "stable", "Stable"
        CANDIDATE = "candidate", "Candidate"
        FALLBACK = "fallback", "Fallback"
        NONE = "", "Nothing"

    pk = models.CompositePrimaryKey("day", "id")
    day = models.DateField(help_text="the day of the request in UTC, by which the table is partitioned")
    id = models.UUIDField(help_text="the request ID that the client received")
    created_at = models.DateTimeField()
    project_id = models.BigIntegerField()
    release = models.ForeignKey(Release, null=True, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False)
    token_id = models.BigIntegerField(null=True)
    stage = models.CharField(max_length=10, choices=Stage.choices, blank=True, help_text="of the candidate at the time")
    source = models.CharField(max_length=10, choices=Source.choices, blank=True)
    shadow_of = models.UUIDField(null=True, help_text="the request that this one repeats in shadow")
    protocol = models.CharField(max_length=12, help_text="extract, batch, openai, capture or replay")
    status = models.PositiveSmallIntegerField(help_text="of the HTTP response; 499: the client disconnected")
    code = models.CharField(max_length=40, blank=True, help_text="of the error")
    valid = models.BooleanField(null=True, help_text="whether the output matches the schema")
    key_sha256 = models.CharField(max_length=64, help_text="of the text, or of the idempotency key")
    caller = models.CharField(max_length=80, blank=True, help_text="end user of the request, for erasure")
    prompt_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    total_ms = models.FloatField()
    queue_ms = models.FloatField(default=0)
    model_ms = models.FloatField(default=0)
    confidence = models.JSONField(
        default=dict, help_text="field -> lowest and mean token probability, and the margin of the first token if known"
    )
    calibrated = models.JSONField(default=dict, help_text="field -> probability that it is correct; {}: not calibrated")
    lowest = models.FloatField(null=True, help_text="the lowest confidence of a field, calibrated where it can be")
    needs_review = models.BooleanField(default=False, help_text="needs human review by the answer policy")
    review_reason = models.CharField(
        max_length=20, blank=True, help_text="see serving.confidence.policy.Reason; of the review"
    )
    automatic = models.BooleanField(default=False, help_text="answered without human review under an error budget")
    fallback_reason = models.CharField(
        max_length=20, blank=True, help_text="why the larger model was asked; empty: it was not"
    )
    fallback_endpoint_id = models.BigIntegerField(null=True)
    fallback_ms = models.FloatField(default=0)
    fallback_code = models.CharField(max_length=40, blank=True, help_text="why it has no valid output")
    fallback_prompt_tokens = models.PositiveIntegerField(default=0)
    fallback_output_tokens = models.PositiveIntegerField(default=0)
    cost = models.FloatField(null=True, help_text="of the larger model, in the currency of the contract")
    detail = models.TextField(blank=True)
    text = models.TextField(blank=True)
    output = models.TextField(blank=True)
    agreement = models.FloatField(
        null=True, help_text="of a request that was answered by both releases: the share of fields on which they agree"
    )
    exchange = models.TextField(
        blank=True, help_text="of a forwarded request: JSON, see serving.gateway.capture.exchange"
    )
    response = models.TextField(
        blank=True,
        help_text="of a request with an idempotency key: for the same request sent again",
    )
    first_output = models.TextField(blank=True, help_text="of the small model, where the larger one answered")

    class Meta:
        # The table is created by the migration: Django does not know partitions.
        managed = False
        db_table = "serving_requestlog"

    def __str__(self) -> str:
        return f"request {self.id}"

    def is_of(self, user: User) -> bool:
        """Whether this user sent it on the page of the deployment. A token's caller can write any name."""
        is_from_page = self.protocol == "extract" and self.token_id is None
        return is_from_page and self.caller == user.get_username()[:80]


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
    def result_address(self) -> str | None:
        """Where the REST interface has the result; None before the end."""
        return f"/api/v1/projects/{self.project.slug}/extract/batch/{self.pk}/result" if self.has_result else None

    @property
    def can_resume(self) -> bool:
        """Whether it stopped before its last line, and still has its input."""
        return not self.is_live and bool(self.input_key) and self.progress_done < self.progress_total
