"""Keys of the external model that callers may keep using at the gateway."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import models
from django.utils import timezone

from labeling.models import Project


class CaptureKeyQuerySet(models.QuerySet["CaptureKey"]):
    """Named reads of registered keys."""

    def in_use(self) -> Self:
        """Those that were not removed."""
        return self.filter(removed_at=None)


class CaptureKey(models.Model):
    """A registered key, as its hash. Rows of removed keys stay: requests were logged with them."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="capture_keys")
    sha256 = models.CharField(max_length=64)
    prefix = models.CharField(max_length=20, help_text="what is shown of it")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    removed_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[Any] = CaptureKeyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "sha256"], name="capture_key_once", condition=models.Q(removed_at=None)
            )
        ]

    def __str__(self) -> str:
        return f"key {self.prefix}"
