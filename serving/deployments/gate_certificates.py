"""Certificates from gate reports: the gates that compare a model with the current production model on the hold-out."""

from dataclasses import dataclass
from typing import Any

from evaluation.gates.display import in_unit, measured
from evaluation.gates.metrics.metric import COMPARED_WITH_PRODUCTION
from evaluation.models import GateReport
from labeling.models import Project
from serving.models import Release
from slmstudio.text.formatting import exact_percent

#: reports that the page of certificates lists
MAX_REPORTS = 20


@dataclass(frozen=True)
class GateCertificate:
    """The verdict of one gate on non-inferiority."""

    report: GateReport
    verdict: dict[str, Any]

    @property
    def title(self) -> str:
        """What was to be shown."""
        return str(self.verdict["gate"]["title"])

    @property
    def status(self) -> str:
        """PASS, FAIL or NOT PROVEN."""
        return str(self.verdict["status"])

    @property
    def finding(self) -> str:
        """The difference with its bound: "+0.3 points, at worst −1.2 points at 97.5% ..."."""
        low = self.verdict["low"]
        if low is None:
            return "not measured"
        worst = in_unit(self.verdict["gate"], float(low))
        level, n = exact_percent(float(self.verdict["confidence"])), f"{self.verdict['n']:,.0f}"
        return f"{measured(self.verdict)}, at worst {worst} at {level} confidence, on {n} documents"


def of_project(project: Project) -> list[GateCertificate]:
    """Those of the newest gate reports of a project that compare with a production model."""
    rows = GateReport.objects.filter(project=project, production_run__isnull=False).order_by("-number")
    rows = rows.select_related("eval_run__training_run__base_model", "eval_run__model_version", "eval_run__export")
    rows = rows.select_related("eval_run__base_model", "eval_run__endpoint", "eval_run__classical")
    certificates = []
    for report in rows[:MAX_REPORTS]:
        report.project = project
        certificates += _certificates(report)
    return certificates


def of_release(release: Release) -> list[GateCertificate]:
    """Those of the report that a release rests on; before its approval, of the newest report on its evaluation."""
    report = release.report
    if report is None and release.package is not None:
        report = GateReport.objects.filter(eval_run=release.package.eval_run_id).order_by("-number").first()
    if report is None:
        return []
    report.project = release.project
    return _certificates(report)


def _certificates(report: GateReport) -> list[GateCertificate]:
    own = [row for row in report.verdicts if row["gate"]["compared_with"] == COMPARED_WITH_PRODUCTION]
    return [GateCertificate(report, row) for row in own] if report.production else []
