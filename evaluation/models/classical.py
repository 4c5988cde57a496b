"""Classical models."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from evaluation.inference.model_columns import AbstractClassicalModel


class ClassicalModel(AbstractClassicalModel):
    """A classical model of a project."""

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="classical_number_once")]
