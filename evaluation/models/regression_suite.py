"""Pinned documents of the regression suite."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from labeling.models import Document, Project


class Pin(models.Model):
    """A pinned document of the regression suite; a former pin stays as history."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="pins")
    document = models.ForeignKey(Document, on_delete=models.PROTECT, related_name="pins")
    reason = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    removed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["document"], condition=models.Q(removed_at__isnull=True), name="pin_once"),
        ]

    def __str__(self) -> str:
        return f"pin of {self.document}"
