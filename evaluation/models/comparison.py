"""Comparisons of two evaluation runs."""

from django.db import models
from django.urls import reverse
from django.utils import timezone

from evaluation.models.runs import EvalRun
from labeling.models import Project
from slmstudio.database.fields import ExactJSONField


class Comparison(models.Model):
    """A comparison of two evaluation runs on the same documents: what B fixed and broke."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="comparisons")
    a = models.ForeignKey(EvalRun, on_delete=models.CASCADE, related_name="+")
    b = models.ForeignKey(EvalRun, on_delete=models.CASCADE, related_name="+")
    result = ExactJSONField()
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["a", "b"], name="comparison_once")]

    def __str__(self) -> str:
        return f"{self.a.short_name} and {self.b.short_name}"

    def get_absolute_url(self) -> str:
        """The comparison's page."""
        return f"{reverse('comparison', args=[self.project.slug])}?runs={self.a.number},{self.b.number}"
