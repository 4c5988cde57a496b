"""What the pages and the REST resource of comparisons show."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from evaluation.stats.sequential import needed
from labeling.models import Project
from serving.comparisons.certificate import claim, content_of
from serving.comparisons.labels import Labeled, LabelPlan, labeled
from serving.comparisons.split import ALPHA, Arms, Split
from serving.models import TrafficComparison
from slmstudio.runs.models import Status
from slmstudio.text.formatting import exact_percent, number

Kind, Verdict = TrafficComparison.Kind, TrafficComparison.Verdict
MAX_SHOWN = 100


@dataclass(frozen=True)
class ComparisonStatus:
    """A comparison with what it shows now."""

    comparison: TrafficComparison

    @property
    def subject(self) -> str:
        """What is compared, in a few words."""
        if self.comparison.kind == Kind.SPLIT:
            return f"{self.split.label}, {exact_percent(self.split.share)} to B"
        if self.comparison.kind == Kind.SHADOW:
            plan = LabelPlan(**self.comparison.plan)
            return f"{plan.measure} accuracy, margin {exact_percent(plan.margin)}, {number(plan.documents)} documents"
        return f"{number(self.comparison.progress_total)} requests"

    @property
    def badge(self) -> tuple[str, str]:
        """State and label."""
        comparison = self.comparison
        if comparison.kind == Kind.REPLAY:
            return comparison.status, comparison.get_status_display()
        if comparison.verdict == Verdict.NOT_SHOWN:
            return "failed", str(comparison.get_verdict_display())
        if comparison.verdict:
            return "done", str(comparison.get_verdict_display())
        if not comparison.is_live:
            return "cancelled", "ended, nothing shown"
        return "running", str(comparison.get_verdict_display())

    @cached_property
    def split(self) -> Split:
        """The plan of a live split."""
        return Split(**self.comparison.plan)

    @property
    def arms(self) -> list[tuple[str, Any, float, int, int, float, bool]]:
        """Of a live split: side, version, share, requests, events, evidence that it is better, whether it is."""
        comparison, share = self.comparison, self.split.share
        counts = Arms(**comparison.result.get("counts", {}))
        log_e = comparison.result.get("log_e", {})
        return [
            ("A", comparison.a, 1 - share, counts.a_requests, counts.a_events, log_e.get("a", 0.0),
             comparison.verdict == Verdict.A),
            ("B", comparison.b, share, counts.b_requests, counts.b_events, log_e.get("b", 0.0),
             comparison.verdict == Verdict.B),
        ]  # fmt: skip

    @property
    def needed(self) -> float:
        """The evidence that decides a live split."""
        return needed(ALPHA / 2)

    @property
    def standing(self) -> str:
        """What a live split shows so far, as a sentence."""
        if self.comparison.verdict in (Verdict.A, Verdict.B):
            return f"{self.comparison.verdict.upper()} is shown to be better."
        return "Neither version is shown to be better yet."

    @cached_property
    def labels(self) -> Labeled:
        """What the labels show."""
        return labeled(self.comparison)

    @property
    def may_issue(self) -> bool:
        """Whether its certificate can be issued."""
        comparison = self.comparison
        if comparison.sha256 or comparison.kind == Kind.REPLAY:
            return False
        if comparison.kind == Kind.SPLIT:
            return comparison.status == Status.DONE and bool(comparison.verdict)
        return bool(self.labels.verdict)

    @property
    def claim(self) -> str:
        """What it shows or is to show, as a sentence; "" for a replay, and a split without a verdict."""
        undecided = self.comparison.kind == Kind.SPLIT and not self.comparison.verdict
        return "" if undecided or self.comparison.kind == Kind.REPLAY else claim(self.comparison)

    @cached_property
    def certificate(self) -> dict[str, Any]:
        """The issued content, or what labels show so far; {} where there is none."""
        comparison = self.comparison
        if comparison.sha256:
            return {**comparison.content, "sha256": comparison.sha256}
        if comparison.kind != Kind.SHADOW:
            return {}
        return {**content_of(comparison, self.labels), "sha256": None}


def comparisons(project: Project) -> list[ComparisonStatus]:
    """The newest of a project."""
    rows = TrafficComparison.objects.with_versions().filter(project=project).order_by("-number")
    return [ComparisonStatus(comparison) for comparison in rows[:MAX_SHOWN]]


def find(project: Project, number: int) -> ComparisonStatus | None:
    """A comparison by its number."""
    comparison = TrafficComparison.objects.with_versions().filter(project=project, number=number).first()
    if comparison is None:
        return None
    comparison.project = project
    return ComparisonStatus(comparison)
