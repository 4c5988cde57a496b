"""Gate policies, proposals to change them, gate reports, and decisions on these."""

from typing import Self

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone

from evaluation.models.runs import EvalRun
from labeling.models import Project


class GatePolicy(models.Model):
    """A version of a project's gate policy; immutable."""

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
    """A proposal to change the gate policy, by a user who cannot set it; a manager or the owner answers."""

    class State(models.TextChoices):
        """The state of a proposal."""

        OPEN = "open", "Open"
        TAKEN = "taken", "Accepted"
        DECLINED = "declined", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="policy_proposals")
    number = models.PositiveIntegerField()
    based_on = models.ForeignKey(GatePolicy, on_delete=models.CASCADE, related_name="proposals")
    gates = models.JSONField(help_text="a whole policy; its changes to the policy that it is based on are proposed")
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


class GateReportQuerySet(models.QuerySet["GateReport"]):
    """Named reads of gate reports."""

    def for_list(self, project: Project) -> Self:
        """The reports of a project with everything that a list displays, newest first."""
        rows = self.filter(project=project).select_related(
            "project",
            "policy",
            "approval__decided_by",
            "created_by",
            "eval_run__dataset__schema_version",
            "eval_run__base_model",
            "eval_run__model_version",
            "eval_run__training_run__base_model",
            "eval_run__endpoint",
            "eval_run__export",
            "eval_run__rescored_from",
            "baseline",
        )
        return rows.order_by("-number")

    def with_content(self) -> Self:
        """With everything that the page of a report displays.

        In several queries: PostgreSQL plans one query with all 27 joins for 24 ms, these for 4 ms together.
        """
        runs = EvalRun.objects.select_related(
            "base_model", "created_by", "dataset__created_by", "dataset__schema_version", "endpoint"
        ).prefetch_related(
            "export__model_version",
            "model_version__training_run",
            "rescored_from__created_by",
            "training_run__created_by",
        )
        rows = self.select_related("project", "policy", "created_by", "measurement", "approval__decided_by")
        return rows.prefetch_related(
            models.Prefetch("eval_run", runs),
            *(models.Prefetch(name, EvalRun.objects.with_model()) for name in ("baseline", "production_run")),
        )


class GateReport(models.Model):
    """The verdicts of a policy on an evaluation run, with the manifest that an approval rests on."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="gate_reports")
    number = models.PositiveIntegerField()
    policy = models.ForeignKey(GatePolicy, on_delete=models.PROTECT, related_name="reports")
    eval_run = models.ForeignKey(EvalRun, on_delete=models.PROTECT, related_name="gate_reports")
    baseline = models.ForeignKey(EvalRun, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    production_run = models.ForeignKey(
        EvalRun,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="the evaluation of the current production model that a gate compares with",
    )
    production = models.JSONField(default=dict, blank=True, help_text="see evaluation.gates.production")
    measurement = models.ForeignKey(
        "evaluation.ResourceMeasurement",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="what gates on resources use; empty: the evaluation itself",
    )
    holdout_number = models.PositiveIntegerField(help_text="number of the hold-out evaluation, counting from 1")
    verdicts = models.JSONField()
    sentence = models.CharField(max_length=300)
    passed = models.BooleanField()
    manifest = models.JSONField(help_text="the manifest: hashes by name")
    provenance = models.JSONField(default=dict, blank=True, help_text="see evaluation.gates.provenance")
    # In the manifest of policies with a gate on the regression suite, whose answers change while outputs stay.
    suite_sha256 = models.CharField(max_length=64, blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = GateReportQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="gate_report_number_once"),
            # The same verdicts have one report.
            models.UniqueConstraint(
                fields=["policy", "eval_run", "baseline", "production_run", "suite_sha256", "measurement"],
                name="gate_report_once",
                nulls_distinct=False,
            ),
        ]

    def __str__(self) -> str:
        return f"gate report {self.number}"

    def get_absolute_url(self) -> str:
        """The report's page."""
        return reverse("gate_report", args=[self.project.slug, self.number])


class Approval(models.Model):
    """A manager's decision on a gate report."""

    class Decision(models.TextChoices):
        """The decision. The labels are the actions in the audit log, so they stay."""

        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    report = models.OneToOneField(GateReport, on_delete=models.PROTECT, related_name="approval")
    decision = models.CharField(max_length=10, choices=Decision.choices)
    reason = models.TextField()
    manifest_sha256 = models.CharField(max_length=64)
    # One for each gate that is not PASS: [{"gate", "title", "reason", "owner", "expires"}]
    waiver = models.JSONField(null=True, blank=True)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="approvals")
    decided_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.report} {self.get_decision_display().lower()}"
