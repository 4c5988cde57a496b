"""Figures of the request log per minute and longer, and what hosts report, for pages and alerts."""

from django.db import models
from django.utils import timezone


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
