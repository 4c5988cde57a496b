"""Reports of erasures."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from labeling.models.projects import Project


class Erasure(models.Model):
    """What an erasure of a text found and erased. The text itself is not stored.

    ``counts``: place -> number; ``kept``: the same, of what nothing can be erased from. ``trained``: the models that
    were trained on an erased document. ``files``: key in the artifact store -> its SHA-256 before any erasure and after
    this one; what was approved has that of before.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="erasures")
    sha256 = models.CharField(max_length=64, help_text="see labeling.documents.erasure.text_sha256")
    counts = models.JSONField(default=dict)
    kept = models.JSONField(default=dict, blank=True)
    trained = models.JSONField(default=list, blank=True)
    files = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"erasure {self.pk}"
