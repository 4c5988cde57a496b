"""The answer policy of a deployment, and the calibration of a package."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from evaluation.models import Endpoint
from serving.models.deployments import Deployment
from serving.models.packages import Package

_PROBABILITY = [MinValueValidator(0), MaxValueValidator(1)]
DEFAULT_AUDIT_SHARE = 0.05


class AnswerPolicy(models.Model):
    """When a larger model is asked, and how many errors may go out without a person.

    ``budget_wrong`` of ``budget_of`` fields or documents may be wrong among those that are answered automatically;
    without ``budget_wrong`` there is no error budget. ``broken_at``: the audit showed that it is exceeded, and nothing
    is automatic until a person resumes.
    """

    class Unit(models.TextChoices):
        """What the budget counts."""

        FIELD = "field", "Fields"
        DOCUMENT = "document", "Documents"

    class Basis(models.TextChoices):
        """What the limit of the budget rests on."""

        PROVEN = "proven", "Proven with 95% confidence"
        EXPECTED = "expected", "Expected by the calibration"

    class Rest(models.TextChoices):
        """Where answers below the limit go."""

        PEOPLE = "people", "Human review"
        FALLBACK = "fallback", "The larger model"

    deployment = models.OneToOneField(Deployment, on_delete=models.CASCADE, related_name="policy")
    endpoint = models.ForeignKey(Endpoint, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    on_invalid = models.BooleanField(default=True, help_text="no output that matches the schema")
    on_invariant = models.BooleanField(default=True, help_text="the output violates an invariant of the contract")
    on_unavailable = models.BooleanField(default=True, help_text="the small model does not answer")
    min_confidence = models.FloatField(
        null=True, blank=True, validators=_PROBABILITY, help_text="of every field, for an answer of the small model"
    )
    field_confidence = models.JSONField(default=dict, blank=True, help_text="field pattern -> its own minimum")
    budget_wrong = models.PositiveIntegerField(null=True, blank=True, validators=[MinValueValidator(1)])
    budget_of = models.PositiveIntegerField(default=200, validators=[MinValueValidator(2)])
    budget_unit = models.CharField(max_length=10, choices=Unit.choices, default=Unit.FIELD)
    basis = models.CharField(max_length=10, choices=Basis.choices, default=Basis.PROVEN)
    rest = models.CharField(max_length=10, choices=Rest.choices, default=Rest.PEOPLE)
    audit_share = models.FloatField(
        default=DEFAULT_AUDIT_SHARE, validators=[MinValueValidator(0.001), MaxValueValidator(1)],
        help_text="share of the automatic answers in the audit",
    )  # fmt: skip
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
    summary = models.JSONField(default=dict, help_text="see serving.confidence.report")
    records = models.JSONField(default=list, help_text="see serving.confidence.records.DocumentRecord")
    sha256 = models.CharField(max_length=64, help_text="of its file in the folder evidence of the package")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["package", "variant"], name="calibration_once")]

    def __str__(self) -> str:
        return f"calibration of {self.package}"
