"""The log of requests, partitioned by day: dropping a day takes no time, however many requests it had."""

from django.db import models

from serving.models.deployments import Release, Stage


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
