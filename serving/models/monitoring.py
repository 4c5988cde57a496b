"""Figures of the request log per minute and longer, what hosts report, alerts, and daily checks of drift."""

from typing import Any, ClassVar, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from labeling.models import Project
from serving.models.deployments import Release


class TrafficMark(models.Model):
    """A minute with new rows in the request log, written by a trigger in their transaction; deleted once counted."""

    project_id = models.BigIntegerField()
    minute = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["minute", "project_id"], name="traffic_mark")]

    def __str__(self) -> str:
        return f"{self.minute} of project {self.project_id}"


class Traffic(models.Model):
    """What one version answered in one span of time. Counted again from the log whenever the log gets rows of it.

    ``project_id`` and ``release_id`` are no foreign keys, as in the log. Histograms contain answered requests: see
    ``serving.monitoring.figures``.
    """

    project_id = models.BigIntegerField()
    seconds = models.PositiveIntegerField(help_text="the length of the span")
    start = models.DateTimeField()
    release_id = models.BigIntegerField(default=0, help_text="0: no version was chosen")
    stage = models.CharField(max_length=10, blank=True, help_text="of the candidate at the time")
    source = models.CharField(max_length=10, blank=True, help_text="as in the log, or shadow")
    requests = models.PositiveIntegerField(default=0)
    answered = models.PositiveIntegerField(default=0)
    invalid = models.PositiveIntegerField(default=0, help_text="outputs that do not match the schema")
    validated = models.PositiveIntegerField(default=0, help_text="outputs that were compared with the schema")
    errors = models.JSONField(default=dict, blank=True, help_text='"STATUS CODE" -> number')
    prompt_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    model_ms = models.FloatField(default=0, help_text="time of the model, summed")
    fallback_cost = models.FloatField(default=0, help_text="of the larger model, in the currency of the contract")
    total = models.JSONField(default=dict, blank=True)
    queue = models.JSONField(default=dict, blank=True)
    model = models.JSONField(default=dict, blank=True)
    fallback = models.JSONField(default=dict, blank=True, help_text="of requests for which it was asked")
    gateway = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project_id", "seconds", "start", "release_id", "stage", "source"], name="traffic_once"
            )
        ]
        indexes = [models.Index(fields=["seconds", "start"], name="traffic_age")]

    def __str__(self) -> str:
        return f"{self.requests} requests of project {self.project_id} at {self.start}"


class HostSample(models.Model):
    """GPUs and replicas of a host that runs ``manage.py serve``, once a minute."""

    host = models.CharField(max_length=200)
    minute = models.DateTimeField(default=timezone.now)
    gpus = models.JSONField(default=list, help_text="{name, load, memory_bytes, used_bytes}; load: 0 to 1 or null")
    replicas = models.JSONField(default=list, help_text="{project, release, slot, memory_bytes}")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["host", "minute"], name="host_sample_once")]
        indexes = [models.Index(fields=["minute"], name="host_sample_age")]

    def __str__(self) -> str:
        return f"{self.host} at {self.minute}"


_DAY = 86_400


class AlertRuleQuerySet(models.QuerySet["AlertRule"]):
    """Named reads of rules."""

    def firing(self) -> Self:
        """That fire now."""
        return self.filter(enabled=True, state=AlertRule.State.FIRING)


class AlertRule(models.Model):
    """A limit of one metric of a project, and where it stands. See ``serving.monitoring.alerts``."""

    class State(models.TextChoices):
        """Where it stands."""

        OK = "ok", "OK"
        PENDING = "pending", "Pending"
        FIRING = "firing", "Firing"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="alert_rules")
    metric = models.CharField(max_length=20)
    limit = models.FloatField(validators=[MinValueValidator(0)])
    window_seconds = models.PositiveIntegerField(
        default=600, validators=[MinValueValidator(60), MaxValueValidator(_DAY)], help_text="of which the metric is"
    )
    for_seconds = models.PositiveIntegerField(
        default=300, validators=[MaxValueValidator(_DAY)], help_text="that the limit has to be exceeded"
    )
    min_requests = models.PositiveIntegerField(default=20, help_text="minimum number in the window for a conclusion")
    missing_fires = models.BooleanField(default=False, help_text="no requests at all count as exceeding the limit")
    enabled = models.BooleanField(default=True)

    state = models.CharField(max_length=8, choices=State.choices, default=State.OK)
    since = models.DateTimeField(default=timezone.now, help_text="of the state")
    clear_since = models.DateTimeField(null=True, blank=True, help_text="firing, and below the limit since then")
    checked_at = models.DateTimeField(null=True, blank=True)
    measured_at = models.DateTimeField(null=True, blank=True, help_text="the last check with enough requests")
    value = models.FloatField(null=True, blank=True, help_text="when it was checked; empty: not enough requests")
    note = models.CharField(max_length=300, blank=True, help_text="more about the value")

    objects: ClassVar[Any] = AlertRuleQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "metric"], name="alert_rule_once")]

    def __str__(self) -> str:
        return f"alert on {self.metric}"


class AlertEvent(models.Model):
    """An alert began to fire or was resolved. ``mail``: what became of the message."""

    class Kind(models.TextChoices):
        """What happened."""

        FIRING = "firing", "Firing"
        RESOLVED = "resolved", "Resolved"

    class Mail(models.TextChoices):
        """What became of the message."""

        NONE = "none", "Not sent (no recipients)"
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="alert_events", db_index=False)
    metric = models.CharField(max_length=20)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    value = models.FloatField(null=True, blank=True)
    limit = models.FloatField()
    sentence = models.TextField()
    created_at = models.DateTimeField(default=timezone.now)
    mail = models.CharField(max_length=8, choices=Mail.choices, default=Mail.NONE)
    mail_attempts = models.PositiveSmallIntegerField(default=0)
    mail_error = models.CharField(max_length=300, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["project", "-id"], name="alert_history"),
            models.Index(fields=["created_at"], name="alert_mail", condition=models.Q(mail="waiting")),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.metric}"


class AlertRecipients(models.Model):
    """Who gets mail about the alerts of a project."""

    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="alert_recipients")
    addresses = models.JSONField(default=list, blank=True)

    def __str__(self) -> str:
        return f"recipients of {self.project_id}"


class DriftCheck(models.Model):
    """The check of one day; rows are only added. ``findings``: see ``serving.monitoring.drift.Finding``."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="drift_checks", db_index=False)
    release = models.ForeignKey(Release, on_delete=models.CASCADE, related_name="drift_checks")
    day = models.DateField(help_text="in UTC")
    days = models.PositiveSmallIntegerField(default=1, help_text="up to this day, that requests are from")
    reference_count = models.PositiveIntegerField(default=0)
    live_count = models.PositiveIntegerField(default=0)
    findings = models.JSONField(default=list)
    changed = models.PositiveSmallIntegerField(default=0, help_text="metrics that changed")
    problem = models.CharField(max_length=30, blank=True, help_text="why nothing was compared, as a code")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "day"], name="drift_check_once")]

    def __str__(self) -> str:
        return f"drift of {self.project_id} on {self.day}"
