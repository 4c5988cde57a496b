"""Gate policies, proposals to change them, and gate reports."""

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from evaluation.models.runs import EvalRun
from labeling.models import Project


class GatePolicy(models.Model):
    """A version of a project's set of gates; never changed once it is there."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="gate_policies")
    number = models.PositiveIntegerField()
    gates = models.JSONField()
    sha256 = models.CharField(max_length=64)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="policy_number_once")]

    def __str__(self) -> str:
        return f"gate policy {self.number}"


class PolicyProposal(models.Model):
    """Gates that somebody who may not set them wants to be the project's; a manager or the owner answers."""

    class State(models.TextChoices):
        """How it stands."""

        OPEN = "open", "waits for an answer"
        TAKEN = "taken", "taken"
        DECLINED = "declined", "declined"
        WITHDRAWN = "withdrawn", "taken back"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="policy_proposals")
    number = models.PositiveIntegerField()
    based_on = models.ForeignKey(GatePolicy, on_delete=models.CASCADE, related_name="proposals")
    gates = models.JSONField(help_text="a whole policy; proposed is what it changes about the one it is based on")
    reason = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    answer = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    answered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="policy_proposal_number_once"),
            models.UniqueConstraint(
                fields=["project", "created_by"], condition=models.Q(state="open"), name="policy_proposal_one_open"
            ),
        ]

    def __str__(self) -> str:
        return f"policy proposal {self.number}"


class GateReport(models.Model):
    """Verdicts of a policy on an eval run, with the packet of hashes an approval would rest on."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="gate_reports")
    number = models.PositiveIntegerField()
    policy = models.ForeignKey(GatePolicy, on_delete=models.PROTECT, related_name="reports")
    eval_run = models.ForeignKey(EvalRun, on_delete=models.PROTECT, related_name="gate_reports")
    baseline = models.ForeignKey(EvalRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    measurement = models.ForeignKey(
        "evaluation.ResourceMeasurement",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="what gates on latency, cost and memory judge; empty: the evaluation itself",
    )
    look = models.PositiveIntegerField(help_text="which look at this hold-out this is, counting from 1")
    verdicts = models.JSONField()
    sentence = models.CharField(max_length=300)
    passed = models.BooleanField()
    packet = models.JSONField(help_text="hashes by name")
    # Of the packet, where a gate asks about pinned documents: they change while the outputs stay.
    pins_sha256 = models.CharField(max_length=64, blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="gate_report_number_once"),
            # Judging the same outputs by the same gates again is the same look.
            models.UniqueConstraint(
                fields=["policy", "eval_run", "baseline", "pins_sha256", "measurement"],
                name="gate_report_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"gate report {self.number}"

    def get_absolute_url(self) -> str:
        """The report's page."""
        return reverse("gate_report", args=[self.project.slug, self.number])
