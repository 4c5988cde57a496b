"""Managers' decisions on gate reports."""

from django.conf import settings
from django.db import models
from django.utils import timezone

from evaluation.models.gates import GateReport


class Approval(models.Model):
    """A manager's decision on a gate report."""

    class Decision(models.TextChoices):
        """The decision. The labels are the actions in the audit log, so they stay."""

        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    report = models.OneToOneField(GateReport, on_delete=models.PROTECT, related_name="approval")
    decision = models.CharField(max_length=10, choices=Decision.choices)
    reason = models.TextField()
    packet_sha256 = models.CharField(max_length=64)
    # One for each gate that is not PASS: [{"gate", "title", "reason", "owner", "expires"}]
    waiver = models.JSONField(null=True, blank=True)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="approvals")
    decided_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.report} {self.get_decision_display().lower()}"
