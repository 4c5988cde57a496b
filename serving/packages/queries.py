"""What the page of packages shows."""

from typing import Any

from evaluation.models import Approval
from labeling.models import Project
from serving.models import Package, Replica
from serving.packages import services


def of_project(project: Project) -> list[dict[str, Any]]:
    """Every evaluation with its packages, the newest package first: what else it can be built with, the number of its
    approved gate report, and whether a package is being built. ``running``: the versions that have replicas now."""
    running = Replica.objects.ready().filter(release__project=project).values_list("release_id", flat=True)
    approved = dict(
        Approval.objects.filter(report__project=project, decision=Approval.Decision.APPROVED)
        .order_by("report__number")
        .values_list("report__eval_run_id", "report__number")
    )
    groups: dict[int, list[Package]] = {}
    rows = Package.objects.with_content().prefetch_related("releases").filter(project=project)
    for package in rows.order_by("-number"):
        groups.setdefault(package.eval_run_id, []).append(package)
    return [
        {
            "run": packages[0].eval_run, "packages": packages, "choices": services.choices(packages[0].eval_run),
            "report": approved.get(run), "is_building": any(package.is_live for package in packages),
            "running": set(running),
        }
        for run, packages in groups.items()
    ]  # fmt: skip
