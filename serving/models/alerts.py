"""Alerts: rules, their state, and what happened."""

from typing import Any, ClassVar, Self

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from labeling.models import Project

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
