"""Endpoints."""

from typing import Self

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from evaluation.inference.model_columns import ExternalModel
from labeling.models import Project


class EndpointQuerySet(models.QuerySet["Endpoint"]):
    """Named reads of endpoints."""

    def in_use(self, project: Project) -> Self:
        """Those of a project that were not removed, by name."""
        return self.filter(project=project, retired_at__isnull=True).order_by("name")


class Endpoint(ExternalModel):
    """An external model that a project can use."""

    tested_at = models.DateTimeField(null=True, blank=True)
    test_result = models.JSONField(default=dict, blank=True, help_text="result of the last test")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = EndpointQuerySet.as_manager()

    holdout_permitted = False  # no column: permits are in the audit log

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "name"], name="endpoint_name_once", condition=models.Q(retired_at__isnull=True)
            )
        ]

    def get_absolute_url(self) -> str:
        """Its page."""
        return reverse("endpoint", args=[self.project.slug, self.pk])
