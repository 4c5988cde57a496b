"""The answer policy of a deployment, and the calibration of a package."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from evaluation.models import Endpoint
from serving.models.deployments import Deployment
from serving.models.packages import Package

_PROBABILITY = [MinValueValidator(0), MaxValueValidator(1)]


class AnswerPolicy(models.Model):
    """What happens with answers below a threshold on confidence, and how many errors may go out without a person.

    ``budget_wrong`` of ``budget_of`` documents may be wrong among those that are answered automatically; without
    ``budget_wrong`` there is no error budget. ``broken_at``: it is exceeded, and nothing is automatic until a person
    resumes.
    """

    class Rest(models.TextChoices):
        """Where answers below the threshold go."""

        PEOPLE = "people", "Human review"
        FALLBACK = "fallback", "The larger model"

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, related_name="policy")
    endpoint = models.ForeignKey(Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    on_invalid = models.BooleanField(default=True, help_text="no output that matches the schema")
    on_invariant = models.BooleanField(default=True, help_text="the output violates an invariant of the contract")
    on_unavailable = models.BooleanField(default=True, help_text="the small model does not answer")
    min_confidence = models.FloatField(
        null=True, blank=True, validators=_PROBABILITY, help_text="the threshold: of every field"
    )
    budget_wrong = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    budget_of = models.PositiveIntegerField(default=200, validators=[MinValueValidator(2)])
    rest = models.CharField(max_length=10, choices=Rest.choices, default=Rest.FALLBACK)
    audit_since = models.DateTimeField(null=True, blank=True, help_text="requests from then on count")
    broken_at = models.DateTimeField(null=True, blank=True)
    broken_reason = models.TextField(blank=True, help_text="as a sentence")

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="policy_budget_is_a_share",
                condition=models.Q(budget_wrong__isnull=True) | models.Q(budget_wrong__lt=models.F("budget_of")),
            )
        ]

    def __str__(self) -> str:
        return f"answer policy of {self.deployment_id}"

    @property
    def goes_to_people(self) -> bool:
        """Whether answers below the threshold go to people."""
        return self.endpoint_id is None or self.rest == AnswerPolicy.Rest.PEOPLE

    @property
    def destination(self) -> str:
        """Where they go, as text."""
        return "human review" if self.goes_to_people else str(self.endpoint)

    @property
    def budget(self) -> str:
        """The error budget: "1 of 200 documents"."""
        return f"{self.budget_wrong:,} of {self.budget_of:,} documents"


class PackageCalibration(models.Model):
    """How the confidence of a package on an engine is calibrated, and the records that it is from.

    Apart from ``Package``, which is read with every deployment: ``records`` can be large.
    """

    package = models.ForeignKey(Package, on_delete=models.CASCADE, related_name="calibrations")
    variant = models.CharField(max_length=40, blank=True, help_text="engine and quantization; empty: the first")
    split = models.CharField(max_length=10, help_text="of the dataset, whose documents were answered")
    is_evaluated = models.BooleanField(
        default=False, help_text="whether the evaluation was on the same documents, for want of others"
    )
    documents = models.PositiveIntegerField()
    fits = models.JSONField(default=dict, help_text="see serving.confidence.calibration.Calibration")
    summary = models.JSONField(default=dict, help_text="see serving.confidence.calibration.summary")
    records = models.JSONField(default=list, help_text="see serving.confidence.calibration.DocumentRecord")
    sha256 = models.CharField(max_length=64, help_text="of its file in the folder evidence of the package")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["package", "variant"], name="calibration_once")]

    def __str__(self) -> str:
        return f"calibration of {self.package}"
