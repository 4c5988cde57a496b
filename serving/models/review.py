"""Judgments: whether the output of a request is right; the sample of requests that people review, and retraining."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils import timezone

from labeling.models import AnnotationRevision, Document, Project
from serving.models.deployments import Deployment, Release


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


DEFAULT_SHARE = 0.05


class SamplePlan(models.Model):
    """The sampling rate of a deployment, what is redacted, and when retraining is proposed."""

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, related_name="sample_plan")
    share = models.FloatField(
        default=DEFAULT_SHARE, validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="of the answered requests that are drawn at random",
    )  # fmt: skip
    redact = ArrayField(
        models.CharField(max_length=12), default=list, blank=True,
        help_text="kinds of values that the queue and documents do not show; see serving.review.redaction",
    )  # fmt: skip
    drawn_until = models.DateTimeField(null=True, blank=True, help_text="requests before it were considered")
    retrain_labels = models.PositiveIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1)],
        help_text="new gold labels after which a training run is proposed; empty: never",
    )  # fmt: skip
    retrain_tag = models.CharField(max_length=40, blank=True, help_text="only documents with this failure tag count")
    retrain_below = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="a training run is proposed once live accuracy is below it, with confidence; empty: never",
    )  # fmt: skip

    def __str__(self) -> str:
        return f"sample plan of {self.deployment_id}"

    @classmethod
    def for_deployment(cls, deployment: Deployment) -> "SamplePlan":
        """The plan of a deployment; one with the defaults, not stored, where it has none."""
        return cls.objects.filter(deployment=deployment).first() or cls(deployment=deployment)


class SampleDay(models.Model):
    """What one release answered on one day, counted when requests were drawn. It stays when the log is erased."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField(help_text="in UTC")
    requests = models.PositiveIntegerField(default=0)
    answered = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "day", "release"], name="sample_day_once")]

    def __str__(self) -> str:
        return f"{self.requests} requests to {self.release_id} on {self.day}"


class Reason(models.TextChoices):
    """Why a request is in the queue, the most urgent first."""

    FEEDBACK = "feedback", "Negative feedback"
    FAILURE = "failure", "Invalid output"
    REVIEW = "review", "Needs review"
    SHADOW = "shadow", "Shadow disagrees"
    FALLBACK = "fallback", "Fallback"
    LOW_CONFIDENCE = "confidence", "Low confidence"
    UNIFORM = "uniform", "Uniform sample"


class ReviewItemQuerySet(models.QuerySet["ReviewItem"]):
    """Named reads of the queue."""

    def open(self, project: Project, reason: str = "") -> Self:
        """What waits for a decision, near-duplicates once."""
        rows = self.filter(project=project, status=ReviewItem.Status.OPEN, leader=None)
        return rows.filter(reasons__contains=[reason]) if reason else rows


class ReviewItem(models.Model):
    """One text in the queue, with all the drawn requests that sent it.

    ``leader``: of near-duplicates the first one; only it is listed. Requests of the uniform sample have no leader, as
    each of them counts.
    """

    class Status(models.TextChoices):
        """What was decided."""

        OPEN = "open", "Open"
        SENT = "sent", "Sent to labeling"
        RIGHT = "right", "Marked correct"
        DISMISSED = "dismissed", "Dismissed"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="review_items", db_index=False)
    text_sha256 = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.OPEN)
    reason = models.CharField(max_length=10, choices=Reason.choices, help_text="the most urgent one")
    reasons = ArrayField(models.CharField(max_length=10), default=list)
    severity = models.FloatField(default=0, help_text="0 to 1; the order of the queue, worst first")
    draws_count = models.PositiveIntegerField(default=0)
    leader = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="members")
    members_count = models.PositiveIntegerField(default=0, help_text="near-duplicates that it leads")
    signature = models.BinaryField(null=True, help_text="MinHash of the text, a byte each, of leaders")
    request_id = models.UUIDField(help_text="the request that is shown")
    day = models.DateField(help_text="of that request")
    release = models.ForeignKey(Release, null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    document = models.ForeignKey(
        Document, null=True, blank=True, on_delete=models.SET_NULL, related_name="review_items"
    )
    judged_by = models.ForeignKey(
        AnnotationRevision, null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="the gold label that judged its requests",
    )  # fmt: skip
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[Any] = ReviewItemQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "text_sha256"], name="review_item_once")]
        indexes = [
            models.Index(
                fields=["project", "-id"], name="review_newest_open",
                condition=models.Q(status="open", leader__isnull=True),
            ),
            models.Index(
                fields=["project", "-severity", "-id"], name="review_worst_open",
                condition=models.Q(status="open", leader__isnull=True),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"review item {self.pk}"


class Draw(models.Model):
    """A request that was drawn for review. Whether it is in the uniform sample depends only on a hash of its id."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+", db_index=False)
    item = models.ForeignKey(ReviewItem, null=True, blank=True, on_delete=models.SET_NULL, related_name="draws")
    request_id = models.UUIDField(unique=True)
    day = models.DateField(help_text="of the request in UTC")
    created_at = models.DateTimeField(help_text="of the request")
    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="+", db_index=False)
    reasons = ArrayField(models.CharField(max_length=10), default=list)
    uniform_probability = models.FloatField(null=True, help_text="where it is in the uniform sample")
    is_audited = models.BooleanField(
        default=False, help_text="an automatic answer that was drawn at random: it counts for the error budget"
    )

    class Meta:
        indexes = [
            models.Index(
                fields=["project", "release", "day"], name="draw_uniform",
                condition=models.Q(uniform_probability__isnull=False),
            )
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"draw of request {self.request_id}"


class RetrainingProposal(models.Model):
    """A training run that a rule proposes; a person starts it.

    ``key``: what it depends on, so that a rule proposes once: the dataset version or the release.
    """

    class Rule(models.TextChoices):
        """Which rule."""

        LABELS = "labels", "New labels"
        ACCURACY = "accuracy", "Live accuracy"

    class State(models.TextChoices):
        """What became of it."""

        OPEN = "open", "Open"
        STARTED = "started", "Training started"
        DISMISSED = "dismissed", "Dismissed"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="retraining_proposals")
    rule = models.CharField(max_length=10, choices=Rule.choices)
    key = models.CharField(max_length=40)
    facts = models.JSONField(default=dict, help_text="the figures at the time")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "rule", "key"], name="retraining_proposed_once")]

    def __str__(self) -> str:
        return f"retraining by {self.get_rule_display().lower()}"
