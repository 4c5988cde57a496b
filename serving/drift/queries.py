"""What pages and alerts show of drift."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from labeling.models import Project
from serving.drift import messages
from serving.drift.comparison import Finding
from serving.models import DriftCheck

MAX_CHECKS = 90


@dataclass(frozen=True)
class FindingLine:
    """A metric of the newest check."""

    finding: Finding
    title: str
    reference: str
    live: str
    sentence: str


@dataclass(frozen=True)
class DriftView:
    """The newest check, and those before it."""

    check: DriftCheck
    lines: list[FindingLine]
    checks: list[DriftCheck]

    @property
    def changed(self) -> list[FindingLine]:
        return [line for line in self.lines if line.finding.changed]

    @property
    def problem(self) -> str:
        return messages.PROBLEMS.get(self.check.problem, "")


def view(project: Project) -> DriftView | None:
    """The newest checks of a project; None before the first one."""
    rows = DriftCheck.objects.filter(project=project).select_related("release").order_by("-day")
    checks = list(rows.defer("findings")[:MAX_CHECKS])
    if not checks:
        return None
    return DriftView(checks[0], [_line(Finding(**one)) for one in checks[0].findings], checks)


def newest_changes(project: Project, now: datetime) -> tuple[int, list[str]] | None:
    """How many metrics the newest check found changed, and what; None without a comparison in the last three days."""
    since = (now - timedelta(days=3)).date()
    check = DriftCheck.objects.filter(project=project, day__gte=since, problem="").order_by("-day").first()
    if check is None:
        return None
    lines = [_line(Finding(**one)) for one in check.findings]
    return check.changed, [line.sentence for line in lines if line.finding.changed]


def _line(one: Finding) -> FindingLine:
    return FindingLine(one, messages.title(one.metric), *messages.figures(one), messages.sentence(one))
