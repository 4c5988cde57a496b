"""Certificates of non-inferiority: a candidate against what answers today, on documents with human gold."""

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.urls import reverse
from django.utils import timezone

from labeling.models import Document, Project
from serving.models.deployments import Release


class Certificate(models.Model):
    """A comparison that was planned before its documents were labeled.

    ``attempt``: the number of this candidate among all that were compared with the same release, which sets ``alpha``.
    ``content`` is filled once, when it is issued; see ``serving.certificates.content``.
    """

    class Measure(models.TextChoices):
        """What is compared."""

        DOCUMENT = "document", "document accuracy: every field is right"
        FIELD = "field", "field accuracy: the share of fields that are right"

    class Method(models.TextChoices):
        """When it may be read."""

        ANYTIME = "anytime", "at any time: may be read after every label"
        FIXED = "fixed", "once: when the planned documents are labeled"

    class Outcome(models.TextChoices):
        """How it ended."""

        OPEN = "", "not shown yet"
        CERTIFIED = "certified", "non-inferior"
        NOT_SHOWN = "not_shown", "not shown"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="certificates")
    number = models.PositiveIntegerField()
    stable = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="+")
    candidate = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="certificates")
    attempt = models.PositiveSmallIntegerField()
    measure = models.CharField(max_length=10, choices=Measure.choices, default=Measure.DOCUMENT)
    method = models.CharField(max_length=10, choices=Method.choices, default=Method.ANYTIME)
    margin = models.FloatField(validators=[MinValueValidator(0.001), MaxValueValidator(0.5)])
    alpha = models.FloatField()
    family = models.CharField(max_length=100, blank=True, help_text="source, metadata.<key>, caller, or empty")
    wanted = models.PositiveIntegerField(help_text="documents that were planned")
    outcome = models.CharField(max_length=10, choices=Outcome.choices, blank=True)
    content = models.JSONField(default=dict, blank=True)
    sha256 = models.CharField(max_length=64, blank=True, help_text="of the content")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)
    issued_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="certificate_number_once")]

    def __str__(self) -> str:
        return f"certificate {self.number}"

    def get_absolute_url(self) -> str:
        """Its page."""
        return reverse("certificate", args=[self.project.slug, self.number])


class CertificatePair(models.Model):
    """A document that was drawn for a certificate, with both outputs as they were answered."""

    certificate = models.ForeignKey(Certificate, on_delete=models.CASCADE, related_name="pairs", db_index=False)
    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="+")
    request_id = models.UUIDField()
    shadow_id = models.UUIDField()
    family = models.CharField(max_length=200, blank=True)
    replayed = models.BooleanField(default=False, help_text="whether the candidate answered a replay")
    stable_output = models.TextField(blank=True)
    candidate_output = models.TextField(blank=True)
    stable_ms = models.FloatField()
    candidate_ms = models.FloatField()
    stable_tokens = models.JSONField(default=list, help_text="[prompt, output]")
    candidate_model_ms = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["certificate", "document"], name="certificate_pair_once")]

    def __str__(self) -> str:
        return f"pair of {self.certificate}"
