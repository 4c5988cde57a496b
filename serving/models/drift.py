"""Daily checks of live requests against the documents of the evaluation."""

from django.db import models
from django.utils import timezone

from labeling.models import Project
from serving.models.deployments import Release


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
