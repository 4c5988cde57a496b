"""What the pages of certificates show."""

from dataclasses import dataclass
from typing import Any

from evaluation.stats import alpha_level
from labeling.models import Project
from serving.certificates import services, traffic
from serving.certificates.content import Comparison, compare, content_of
from serving.models import Certificate, Deployment

#: margins of the planner's table
MARGINS = (0.01, 0.02, 0.03, 0.05)


@dataclass(frozen=True)
class Plan:
    """How many documents have to be labeled, before any is. ``differing``: None where no pair can be compared."""

    available: int
    differing: float | None
    attempt: int
    alpha: float
    needed: list[tuple[float, int | None]]


def plan_of(deployment: Deployment) -> Plan | None:
    """The plan of a certificate of the candidate; None without one."""
    if deployment.stable is None or deployment.candidate is None:
        return None
    found = traffic.pairs(deployment.project, deployment.stable, deployment.candidate)
    differing = traffic.differing_share(deployment.project, found)
    attempt = services.attempt_of(deployment)
    assumed = services.DEFAULT_DISCORDANCE if differing is None else differing
    needed = [(margin, services.needed(deployment, margin=margin, discordance=assumed)) for margin in MARGINS]
    return Plan(len(found), differing, attempt, alpha_level(attempt), needed)


def certificates(project: Project) -> list[Certificate]:
    """All of a project, the newest first."""
    rows = Certificate.objects.filter(project=project).select_related(
        "stable__endpoint", "stable__package__eval_run", "candidate__endpoint", "candidate__package__eval_run"
    )
    return list(rows.order_by("-number"))


def find(project: Project, number: int) -> Certificate | None:
    """One of them."""
    found: Certificate | None = (
        Certificate.objects.select_related(
            "project", "stable__endpoint", "stable__package__eval_run__training_run", "candidate__endpoint",
            "candidate__package__eval_run__training_run", "created_by",
        )
        .filter(project=project, number=number)
        .first()
    )  # fmt: skip
    if found is not None:
        found.project = project
    return found


@dataclass(frozen=True)
class CertificateStatus:
    """A certificate with what its labels show now."""

    certificate: Certificate
    comparison: Comparison

    @property
    def badge(self) -> tuple[str, str]:
        """State and label."""
        states = {"certified": "done", "not_shown": "failed", "": "running"}
        return states[self.certificate.outcome], str(self.certificate.get_outcome_display())

    @property
    def may_issue(self) -> bool:
        """Whether the verdict is there."""
        return not self.certificate.outcome and bool(services.outcome_of(self.certificate, self.comparison))

    @property
    def unlabeled(self) -> int:
        """Documents that people still have to label."""
        return self.comparison.drawn - self.comparison.result.pairs


def status_of(certificate: Certificate) -> CertificateStatus:
    """With the comparison as it is now."""
    return CertificateStatus(certificate, compare(certificate))


def export(certificate: Certificate, found: Comparison | None = None) -> dict[str, Any]:
    """The issued content, or what is known so far. ``found``: the comparison, where it was made already."""
    if certificate.outcome:
        return {**certificate.content, "sha256": certificate.sha256}
    return {**content_of(certificate, found or compare(certificate)), "sha256": None}
