"""The audit log."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from labeling.models import Project


class AuditEntry(models.Model):
    """An entry of the audit log. The database rejects changes and deletions, and sets the position of each entry in the
    project's chain: see ``evaluation.audit.hash_chain``.
    """

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="audit_entries")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    action = models.CharField(max_length=60)
    about = models.CharField(max_length=200)
    details = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    # Set by the database on insert.
    position = models.PositiveIntegerField(default=0, editable=False)
    previous_sha256 = models.CharField(max_length=64, default="", blank=True, editable=False)
    sha256 = models.CharField(max_length=64, default="", blank=True, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "position"], name="audit_position_once")]

    def __str__(self) -> str:
        return f"{self.action} {self.about}"
