"""What the page of packages shows."""

from dataclasses import dataclass, field

from evaluation.models import Approval, EvalRun
from labeling.models import Project
from serving.models import Package, Release, Replica, Variant
from serving.packages import services
from serving.packages.services import Choice


@dataclass(frozen=True)
class PackageStatus:
    """A package with the versions that are of it. ``running``: those that have replicas now."""

    package: Package
    releases: list[Release] = field(default_factory=list)
    running: list[int] = field(default_factory=list)

    @property
    def variants(self) -> list[Variant]:
        """Its engines and files."""
        return self.package.all_variants


@dataclass(frozen=True)
class EvaluationPackages:
    """The packages of an evaluation, the newest first. ``report``: the number of its approved gate report."""

    run: EvalRun
    packages: list[PackageStatus]
    choices: list[Choice]
    report: int | None

    @property
    def is_building(self) -> bool:
        """Whether a package is queued or being built."""
        return any(status.package.is_live for status in self.packages)


def of_project(project: Project) -> list[EvaluationPackages]:
    """Every evaluation with a package, the newest package first."""
    releases: dict[int, list[Release]] = {}
    for release in Release.objects.filter(project=project, package__isnull=False).order_by("number"):
        releases.setdefault(release.package_id or 0, []).append(release)
    running = set(Replica.objects.ready().filter(release__project=project).values_list("release_id", flat=True))
    groups: dict[int, list[PackageStatus]] = {}
    for package in Package.objects.with_content().filter(project=project).order_by("-number"):
        own = releases.get(package.pk, [])
        status = PackageStatus(package, own, [release.number for release in own if release.pk in running])
        groups.setdefault(package.eval_run_id, []).append(status)
    approved = dict(
        Approval.objects.filter(report__project=project, decision=Approval.Decision.APPROVED)
        .order_by("report__number")
        .values_list("report__eval_run_id", "report__number")
    )
    return [
        EvaluationPackages(
            statuses[0].package.eval_run, statuses, services.choices(statuses[0].package.eval_run), approved.get(run)
        )
        for run, statuses in groups.items()
    ]
